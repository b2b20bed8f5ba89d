//! What rewriting makes of small nets.

mod golden;
mod net;
mod rules;
