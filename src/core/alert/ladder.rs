//! The ladder from alert to action: when an alert that goes on is answered by more than words.
//!
//! A step is taken after its own count of breaches in a row, and no step of one kind again before the cool-down has passed,
//! so that it cannot flap. An alert that resolves leaves the ladder.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::machine::Key;

/// After how many breaches in a row each step is taken; 0: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// New requests are refused while the alert fires.
    pub shed: u32,
    /// The model gets a fresh session.
    pub recycle: u32,
    /// The daemon leaves, for the service manager to start it again.
    pub exit: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Refuse new requests.
    Shed,
    /// Take them again.
    Admit,
    /// Load the model again, beside the session that serves.
    Recycle,
    /// Leave with an exit code that is no success.
    Exit,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 4] = [Action::Shed, Action::Admit, Action::Recycle, Action::Exit];

    /// The word for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Action::Shed => "shed",
            Action::Admit => "admit",
            Action::Recycle => "recycle",
            Action::Exit => "exit",
        }
    }
}

/// How far each alert has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The start counts as the last exit.
    last: BTreeMap<Action, Instant>,
    shedding: BTreeSet<Key>,
    /// Breaches at the last recycling: the next one counts from there.
    recycled_at: BTreeMap<Key, u32>,
}

impl Ladder {
    /// A ladder that nobody stands on; `started` is the daemon's start.
    pub fn new(started: Instant) -> Ladder {
        Ladder {
            last: BTreeMap::from([(Action::Exit, started)]),
            shedding: BTreeSet::new(),
            recycled_at: BTreeMap::new(),
        }
    }

    /// Whether requests are refused for this alert.
    pub fn sheds(&self, key: &Key) -> bool {
        self.shedding.contains(key)
    }

    /// The alerts for which requests are refused.
    pub fn shedding(&self) -> Vec<Key> {
        self.shedding.iter().cloned().collect()
    }

    /// What follows from a sample: `breaches` in a row of an alert that fires, or `None` where it does not fire.
    pub fn climb(
        &mut self,
        key: &Key,
        steps: Steps,
        breaches: Option<u32>,
        now: Instant,
        cooldown: Duration,
    ) -> Vec<Action> {
        let Some(breaches) = breaches else {
            self.recycled_at.remove(key);
            return if self.end_shedding(key, now) { vec![Action::Admit] } else { Vec::new() };
        };
        let mut actions = Vec::new();
        let due = |count: u32, after: u32| after > 0 && count >= after;
        let rested = |last: &BTreeMap<Action, Instant>, action| {
            last.get(&action).is_none_or(|at| now.saturating_duration_since(*at) >= cooldown)
        };
        if due(breaches, steps.shed) && !self.shedding.contains(key) && rested(&self.last, Action::Admit) {
            self.shedding.insert(key.clone());
            actions.push(Action::Shed);
        }
        let since = breaches.saturating_sub(self.recycled_at.get(key).copied().unwrap_or(0));
        if due(since, steps.recycle) && rested(&self.last, Action::Recycle) {
            self.last.insert(Action::Recycle, now);
            self.recycled_at.insert(key.clone(), breaches);
            actions.push(Action::Recycle);
        }
        if due(breaches, steps.exit) && rested(&self.last, Action::Exit) {
            self.last.insert(Action::Exit, now);
            actions.push(Action::Exit);
        }
        actions
    }

    /// Whether that ended the shedding altogether: another alert may still want it.
    fn end_shedding(&mut self, key: &Key, now: Instant) -> bool {
        let ended = self.shedding.remove(key) && self.shedding.is_empty();
        if ended {
            self.last.insert(Action::Admit, now);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::alert::RuleName;

    const COOLDOWN: Duration = Duration::from_secs(300);

    fn key(rule: RuleName) -> Key {
        Key { rule, instance: String::new() }
    }

    #[test]
    fn each_step_has_its_own_count() {
        let start = Instant::now();
        let late = start + Duration::from_secs(1000);
        let steps = Steps { shed: 4, recycle: 6, exit: 9 };
        let mut ladder = Ladder::new(start);
        let climbed: Vec<Vec<Action>> =
            (3..=9).map(|n| ladder.climb(&key(RuleName::Memory), steps, Some(n), late, COOLDOWN)).collect();
        assert_eq!(climbed[1], [Action::Shed]);
        assert_eq!(climbed[3], [Action::Recycle]);
        assert_eq!(climbed[6], [Action::Exit]);
        assert_eq!(climbed.concat().len(), 3);
        assert_eq!(ladder.climb(&key(RuleName::Memory), steps, None, late, COOLDOWN), [Action::Admit]);
    }

    #[test]
    fn nothing_is_done_where_nothing_is_asked_for() {
        let mut ladder = Ladder::new(Instant::now());
        for n in 1..100 {
            assert!(ladder.climb(&key(RuleName::Cpu), Steps::default(), Some(n), Instant::now(), COOLDOWN).is_empty());
        }
    }

    #[test]
    fn shedding_ends_with_the_last_alert_that_wants_it_and_rests_before_it_begins_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let steps = Steps { shed: 1, ..Steps::default() };
        let (cpu, memory) = (key(RuleName::Cpu), key(RuleName::Memory));
        let mut ladder = Ladder::new(start);
        assert_eq!(ladder.climb(&cpu, steps, Some(1), at(0), COOLDOWN), [Action::Shed]);
        assert_eq!(ladder.climb(&memory, steps, Some(1), at(0), COOLDOWN), [Action::Shed]);
        assert!(ladder.climb(&cpu, steps, None, at(1), COOLDOWN).is_empty());
        assert_eq!(ladder.climb(&memory, steps, None, at(2), COOLDOWN), [Action::Admit]);
        assert!(ladder.climb(&cpu, steps, Some(1), at(3), COOLDOWN).is_empty());
        assert_eq!(ladder.climb(&cpu, steps, Some(300), at(302), COOLDOWN), [Action::Shed]);
    }

    #[test]
    fn a_session_is_recycled_once_a_cool_down_and_only_after_its_count_anew() {
        let start = Instant::now();
        let steps = Steps { recycle: 5, ..Steps::default() };
        let mut ladder = Ladder::new(start);
        let mut recycled = Vec::new();
        for second in 1..=700 {
            let now = start + Duration::from_secs(u64::from(second));
            if !ladder.climb(&key(RuleName::Latency), steps, Some(second), now, COOLDOWN).is_empty() {
                recycled.push(second);
            }
        }
        assert_eq!(recycled, [5, 305, 605]);
    }

    #[test]
    fn the_daemon_does_not_leave_again_right_after_it_has_started() {
        let start = Instant::now();
        let steps = Steps { exit: 3, ..Steps::default() };
        let mut ladder = Ladder::new(start);
        assert!(ladder.climb(&key(RuleName::Disk), steps, Some(50), start + COOLDOWN / 2, COOLDOWN).is_empty());
        assert_eq!(ladder.climb(&key(RuleName::Disk), steps, Some(51), start + COOLDOWN, COOLDOWN), [Action::Exit]);
    }
}
