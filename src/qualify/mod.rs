//! Qualification: a quantised form of a model held against the original, on this box, before it is preferred.

pub mod race;
