//! Qualification: a quantised form of a model held against the original, on this box, before it is preferred.
//!
//! ```text
//! golden (real frames, made-up inputs) ─▶ race (both sessions by turns) ─▶ measure ─▶ core::qualify::judge ─▶ receipt
//! ```
//!
//! Nothing in here knows how a session is made, nor who asks.

pub mod attempt;
pub mod golden;
pub mod measure;
pub mod race;
pub mod receipt;

pub use golden::Golden;
pub use measure::measure;
pub use receipt::Receipts;
