//! Pure decisions: no actor, no runtime, no clock. Whatever depends on the time takes `now` as an argument.

pub mod admission;
pub mod agreement;
pub mod alert;
pub mod canary;
pub mod observe;
pub mod qualify;
pub mod recorder;
pub mod restart;
pub mod rollback;
pub mod sample;
pub mod standing;
pub mod status;
pub mod tensor;
pub mod throttle;
pub mod watchdog;
