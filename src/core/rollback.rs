//! After a swap: whether the new form does worse than the one before, and is to be taken back.

use std::fmt;
use std::time::{Duration, Instant};

use super::recorder::Conduct;
use super::status::CanaryState;

/// Looks in a row that must find errors or long runs: one may fall into a moment when the box does something else.
const LOOKS: u32 = 3;

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
    /// Looks in a row that found errors or long runs.
    pub breaches: u32,
}

impl Watch {
    /// A swap that was done just now.
    pub fn new(begun: Instant, seen: u64, before: Option<Conduct>) -> Watch {
        Watch { begun, seen, before, breaches: 0 }
    }
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
        /// The 95th percentile in milliseconds an entry of the batch, before.
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
                write!(
                    formatter,
                    "95 of 100 runs took up to {since:.2} ms an entry since the swap, {before:.2} ms before"
                )
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
pub fn look(watch: &mut Watch, bounds: &Bounds, now: Instant, canary: &CanaryState, since: &Conduct) -> Decision {
    if let CanaryState::Failing { reason } = canary {
        return Decision::Back(Relapsed::Canary(reason.clone()));
    }
    match breach(watch.before.as_ref(), bounds, since) {
        Some(relapsed) if watch.breaches + 1 >= LOOKS => return Decision::Back(relapsed),
        Some(_) => watch.breaches += 1,
        None => watch.breaches = 0,
    }
    let is_over = now.saturating_duration_since(watch.begun) >= bounds.watch;
    // What is in doubt is looked at to the end.
    if is_over && watch.breaches == 0 { Decision::Stays } else { Decision::GoOn }
}

/// What stands against the form that serves since the swap, where there are enough requests to tell.
fn breach(before: Option<&Conduct>, bounds: &Bounds, since: &Conduct) -> Option<Relapsed> {
    if since.counted() < bounds.min_requests {
        return None;
    }
    // Where the form before did not serve long enough to compare with, none of its requests is taken to have failed.
    let before = before.filter(|before| before.counted() >= bounds.min_requests);
    let (failed_before, failed_since) = (before.map_or(0.0, Conduct::failed_percent), since.failed_percent());
    if failed_since - failed_before > bounds.max_errors_percent {
        return Some(Relapsed::Errors { before: failed_before, since: failed_since });
    }
    let (before, since) = (before?.run_p95_ms?, since.run_p95_ms?);
    (since > before * bounds.max_p95_ratio).then_some(Relapsed::Latency { before, since })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { watch: Duration::from_secs(300), min_requests: 50, max_errors_percent: 5.0, max_p95_ratio: 1.5 };

    fn conduct(answered: u64, failed: u64, p95: f64) -> Conduct {
        Conduct { answered, failed, run_p95_ms: Some(p95) }
    }

    /// The last of so many looks at the same.
    fn decide(before: Option<Conduct>, since: Conduct, seconds: u64, canary: &CanaryState, looks: u32) -> Decision {
        let begun = Instant::now();
        let mut watch = Watch::new(begun, 0, before);
        let mut look = || look(&mut watch, &BOUNDS, begun + Duration::from_secs(seconds), canary, &since);
        (1..looks).for_each(|_| assert_eq!(look(), Decision::GoOn));
        look()
    }

    fn told(before: Option<Conduct>, since: Conduct) -> String {
        match decide(before, since, 1, &CanaryState::Well, LOOKS) {
            Decision::Back(relapsed) => relapsed.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_that_does_as_well_is_watched_and_then_stays() {
        let before = Some(conduct(100, 0, 10.0));
        for (since, seconds, want) in [
            (conduct(100, 5, 15.0), 299, Decision::GoOn),
            (conduct(100, 5, 15.0), 300, Decision::Stays),
            (conduct(0, 0, 0.0), 300, Decision::Stays),
        ] {
            assert_eq!(decide(before, since, seconds, &CanaryState::Well, 1), want);
        }
    }

    #[test]
    fn a_failing_canary_is_enough_at_once_also_right_after_a_start() {
        let failing = CanaryState::Failing { reason: "off".to_owned() };
        let decision = decide(None, Conduct::default(), 0, &failing, 1);
        assert_eq!(decision, Decision::Back(Relapsed::Canary("off".to_owned())));
    }

    #[test]
    fn more_failures_or_longer_runs_than_before_take_it_back() {
        let before = Some(conduct(100, 2, 10.0));
        let (failing, slow) = (conduct(80, 20, 5.0), conduct(100, 0, 15.1));
        assert_eq!(told(before, failing), "20.0 % of the requests failed since the swap, 2.0 % before");
        assert_eq!(told(before, slow), "95 of 100 runs took up to 15.10 ms an entry since the swap, 10.00 ms before");
    }

    #[test]
    fn a_breach_counts_only_where_one_look_after_another_finds_it() {
        let begun = Instant::now();
        let mut watch = Watch::new(begun, 0, Some(conduct(100, 0, 10.0)));
        let mut decisions = Vec::new();
        for slow in [true, true, false, true, true, true] {
            let since = conduct(100, 0, if slow { 20.0 } else { 10.0 });
            // Also past the end: what is in doubt is looked at on.
            let now = begun + BOUNDS.watch * u32::from(slow);
            decisions.push(look(&mut watch, &BOUNDS, now, &CanaryState::Well, &since));
        }
        assert!(decisions[..5].iter().all(|decision| *decision == Decision::GoOn), "{decisions:?}");
        assert!(matches!(decisions[5], Decision::Back(Relapsed::Latency { .. })), "{decisions:?}");
    }

    #[test]
    fn what_a_few_requests_say_is_not_believed_nor_a_time_with_nothing_to_compare() {
        let well = |before, since| assert_eq!(decide(before, since, 1, &CanaryState::Well, 9), Decision::GoOn);
        well(Some(conduct(100, 0, 1.0)), conduct(0, 49, 1e3));
        well(Some(conduct(49, 0, 1.0)), conduct(100, 0, 1e3));
        well(None, conduct(100, 0, 1e3));
    }

    #[test]
    fn without_a_reference_a_form_that_fails_is_taken_back_all_the_same() {
        let words = "50.0 % of the requests failed since the swap, 0.0 % before";
        assert_eq!(told(None, conduct(50, 50, 1e3)), words);
        assert_eq!(told(Some(conduct(0, 49, 1.0)), conduct(50, 50, 1.0)), words);
    }
}
