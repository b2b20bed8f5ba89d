//! What rewriting makes of small nets.

mod golden;
pub mod net;
mod rules;
