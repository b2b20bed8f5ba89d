//! After a swap: whether the new form does worse than the one before, and is to be taken back.

use std::fmt;
use std::time::{Duration, Instant};

use super::recorder::Conduct;
use super::status::CanaryState;

/// When a swap is taken back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// For how long it is watched; zero: not at all.
    pub watch: Duration,
    /// Requests, before as after, from which on errors and times are compared.
    pub min_requests: u64,
    /// How much larger the share of failed requests may be than before, in points of a hundred.
    pub max_errors_percent: f64,
    /// How many times as long as before 95 of 100 runs may take.
    pub max_p95_ratio: f64,
}

/// A swap that is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watch {
    /// When it was done.
    pub begun: Instant,
    /// The number of the last request before it.
    pub seen: u64,
    /// How the form before did, where it has served in this process.
    pub before: Option<Conduct>,
}

/// Why a swap is taken back.
#[derive(Clone, Debug, PartialEq)]
pub enum Relapsed {
    /// The canary's answer is wrong or does not come.
    Canary(String),
    /// More requests fail than before.
    Errors {
        /// In percent, before.
        before: f64,
        /// In percent, since.
        since: f64,
    },
    /// Runs take longer than before.
    Latency {
        /// The 95th percentile in milliseconds, before.
        before: f64,
        /// The same since.
        since: f64,
    },
}

impl fmt::Display for Relapsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Relapsed::Canary(reason) => write!(formatter, "canary: {reason}"),
            Relapsed::Errors { before, since } => {
                write!(formatter, "{since:.1} % of the requests failed since the swap, {before:.1} % before")
            }
            Relapsed::Latency { before, since } => {
                write!(formatter, "95 of 100 runs took up to {since:.2} ms since the swap, {before:.2} ms before")
            }
        }
    }
}

/// What follows of a look at a swap.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is watched on.
    GoOn,
    /// Its time is over, and it stays.
    Stays,
    /// The form before takes its place again.
    Back(Relapsed),
}

/// Looks at a swap, by what the canary says and how the requests since went.
pub fn look(watch: &Watch, bounds: &Bounds, now: Instant, canary: &CanaryState, since: &Conduct) -> Decision {
    if let CanaryState::Failing { reason } = canary {
        return Decision::Back(Relapsed::Canary(reason.clone()));
    }
    // Without what was before there is nothing to compare with; nor with a handful of requests.
    if let Some(before) = watch.before.filter(|before| before.counted() >= bounds.min_requests)
        && since.counted() >= bounds.min_requests
    {
        let (failed_before, failed_since) = (before.failed_percent(), since.failed_percent());
        if failed_since - failed_before > bounds.max_errors_percent {
            return Decision::Back(Relapsed::Errors { before: failed_before, since: failed_since });
        }
        if let (Some(before), Some(since)) = (before.run_p95_ms, since.run_p95_ms)
            && since > before * bounds.max_p95_ratio
        {
            return Decision::Back(Relapsed::Latency { before, since });
        }
    }
    if now.saturating_duration_since(watch.begun) >= bounds.watch { Decision::Stays } else { Decision::GoOn }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { watch: Duration::from_secs(300), min_requests: 50, max_errors_percent: 5.0, max_p95_ratio: 1.5 };

    fn conduct(answered: u64, failed: u64, p95: f64) -> Conduct {
        Conduct { answered, failed, run_p95_ms: Some(p95) }
    }

    fn decide(before: Option<Conduct>, since: Conduct, seconds: u64, canary: &CanaryState) -> Decision {
        let begun = Instant::now();
        let watch = Watch { begun, seen: 0, before };
        look(&watch, &BOUNDS, begun + Duration::from_secs(seconds), canary, &since)
    }

    #[test]
    fn one_that_does_as_well_is_watched_and_then_stays() {
        let before = Some(conduct(100, 0, 10.0));
        for (since, seconds, want) in [
            (conduct(100, 5, 15.0), 299, Decision::GoOn),
            (conduct(100, 5, 15.0), 300, Decision::Stays),
            (conduct(0, 0, 0.0), 300, Decision::Stays),
        ] {
            assert_eq!(decide(before, since, seconds, &CanaryState::Well), want);
        }
    }

    #[test]
    fn a_failing_canary_is_enough_at_once_also_right_after_a_start() {
        let failing = CanaryState::Failing { reason: "off".to_owned() };
        let decision = decide(None, Conduct::default(), 0, &failing);
        assert_eq!(decision, Decision::Back(Relapsed::Canary("off".to_owned())));
    }

    #[test]
    fn more_failures_or_longer_runs_than_before_take_it_back() {
        let before = Some(conduct(100, 2, 10.0));
        let told = |since| match decide(before, since, 1, &CanaryState::Well) {
            Decision::Back(relapsed) => relapsed.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(conduct(80, 20, 5.0)), "20.0 % of the requests failed since the swap, 2.0 % before");
        assert_eq!(told(conduct(100, 0, 15.1)), "95 of 100 runs took up to 15.10 ms since the swap, 10.00 ms before");
    }

    #[test]
    fn what_a_few_requests_say_is_not_believed_nor_what_cannot_be_compared() {
        let bad = conduct(0, 49, 1e3);
        assert_eq!(decide(Some(conduct(100, 0, 1.0)), bad, 1, &CanaryState::Well), Decision::GoOn);
        let bad = conduct(50, 50, 1e3);
        assert_eq!(decide(Some(conduct(49, 0, 1.0)), bad, 1, &CanaryState::Well), Decision::GoOn);
        assert_eq!(decide(None, bad, 1, &CanaryState::Well), Decision::GoOn);
    }
}
