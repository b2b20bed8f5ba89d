//! A warning that repeats is written once a period, with the count of those that were not.

use std::time::{Duration, Instant};

/// Remembers when a warning was last written.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// Counts an occurrence at `now`: `Some(n)` when it is to be written, n of its kind having been held back
    /// since the last that was.
    pub fn occurred(&mut self, now: Instant, period: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < period) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_warnings_in_a_minute_are_one_line_and_the_next_minute_tells_how_many() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut throttle = Throttle::default();
        assert_eq!(throttle.occurred(start, minute), Some(0));
        for second in 0..59 {
            assert_eq!(throttle.occurred(start + Duration::from_secs(second), minute), None);
        }
        assert_eq!(throttle.occurred(start + minute, minute), Some(59));
        assert_eq!(throttle.occurred(start + 2 * minute, minute), Some(0));
    }
}
