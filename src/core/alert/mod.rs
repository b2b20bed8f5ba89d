//! When trouble is said, and when it is over: the breach machine.
//!
//! It is fed one observation a rule and instance at every sample, counts consecutive breaches, and gives back what has
//! changed. It never looks at a clock: `now` comes with the observation, monotonic for counting and of the wall for telling.

mod ladder;
mod machine;
mod rule;
#[cfg(test)]
mod tests;

pub use ladder::{Action, Ladder, Steps};
pub use machine::{Alert, Change, Key, Machine, Moment, Pace, State};
pub use rule::{Missing, Rule, RuleName, Rules, Severity};
