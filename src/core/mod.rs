//! Pure decisions: no actor, no runtime, no clock. Whatever depends on the time takes `now` as an argument.

pub mod admission;
pub mod canary;
pub mod restart;
pub mod status;
pub mod tensor;
pub mod throttle;
pub mod watchdog;
