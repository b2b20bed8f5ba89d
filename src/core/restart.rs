//! When a room that died comes back, and when the daemon gives up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The limits under which a room is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts allowed within the window.
    pub budget: u32,
    /// The window in which restarts count.
    pub window: Duration,
    /// The wait before the first restart; it doubles with every further one in the window.
    pub backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Build the room again after this wait.
    After(Duration),
    /// The budget is spent: leave, and let the service manager decide.
    GiveUp,
}

/// The deaths of one room that still count.
#[derive(Clone, Debug, Default)]
pub struct RestartHistory {
    deaths: VecDeque<Instant>,
}

impl RestartHistory {
    /// Counts a death at `now` and says what follows from it.
    pub fn died(&mut self, now: Instant, policy: &RestartPolicy) -> Restart {
        while self.deaths.front().is_some_and(|death| now.duration_since(*death) >= policy.window) {
            self.deaths.pop_front();
        }
        let earlier = u32::try_from(self.deaths.len()).unwrap_or(u32::MAX);
        if earlier >= policy.budget {
            return Restart::GiveUp;
        }
        self.deaths.push_back(now);
        let wait = policy.backoff.saturating_mul(1u32.checked_shl(earlier).unwrap_or(u32::MAX));
        Restart::After(wait.min(policy.max_backoff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        budget: 3,
        window: Duration::from_secs(60),
        backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(150),
    };

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_then_the_budget_is_spent() {
        let mut history = RestartHistory::default();
        let now = Instant::now();
        assert_eq!(history.died(now, &POLICY), Restart::After(Duration::from_millis(50)));
        assert_eq!(history.died(now, &POLICY), Restart::After(Duration::from_millis(100)));
        assert_eq!(history.died(now, &POLICY), Restart::After(Duration::from_millis(150)));
        assert_eq!(history.died(now, &POLICY), Restart::GiveUp);
    }

    #[test]
    fn a_death_out_of_the_window_is_forgotten() {
        let mut history = RestartHistory::default();
        let now = Instant::now();
        for minute in 0..100 {
            let then = now + Duration::from_secs(61 * minute);
            assert_eq!(history.died(then, &POLICY), Restart::After(Duration::from_millis(50)));
        }
    }

    #[test]
    fn no_budget_means_no_restart() {
        let policy = RestartPolicy { budget: 0, ..POLICY };
        assert_eq!(RestartHistory::default().died(Instant::now(), &policy), Restart::GiveUp);
    }
}
