//! The life of an alert, as a table and as properties.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn rule() -> Rule {
    Rule {
        enabled: true,
        raise_above: 85.0,
        clear_below: 80.0,
        consecutive: 3,
        clear_consecutive: 2,
        severity: Severity::Warning,
        grace: Duration::ZERO,
        missing: Missing::Ignore,
        steps: Steps::default(),
    }
}

fn key() -> Key {
    Key { rule: RuleName::Memory, instance: String::new() }
}

struct Box_ {
    machine: Machine,
    start: Instant,
    seconds: u64,
}

impl Box_ {
    fn with(rule: Rule) -> Box_ {
        let start = Instant::now();
        let pace = Pace::of(INTERVAL, Duration::from_secs(3600));
        Box_ { machine: Machine::new(start, Rules::from([(RuleName::Memory, rule)]), pace), start, seconds: 0 }
    }

    fn moment(&self) -> Moment {
        let wall: SystemTime = UNIX_EPOCH + Duration::from_secs(1_000_000 + self.seconds);
        Moment { monotonic: self.start + Duration::from_secs(self.seconds), wall }
    }

    fn at(&mut self, value: impl Into<Option<f64>>) -> &'static str {
        self.after(10, value)
    }

    fn after(&mut self, seconds: u64, value: impl Into<Option<f64>>) -> &'static str {
        self.seconds += seconds;
        let now = self.moment();
        match self.machine.observe(&key(), value.into(), now) {
            None => "-",
            Some(Change::Fired(_)) => "fired",
            Some(Change::Repeated(_)) => "repeated",
            Some(Change::Resolved(_)) => "resolved",
        }
    }
}

#[test]
fn a_box_at_91_percent_for_three_samples_fires_once_and_clears_once() {
    let mut memory = Box_::with(rule());
    let life: Vec<&str> =
        [91.0, 91.0, 91.0, 92.0, 84.0, 79.0, 81.0, 79.0, 79.0, 70.0].map(|value| memory.at(value)).to_vec();
    assert_eq!(life, ["-", "-", "fired", "-", "-", "-", "-", "-", "resolved", "-"]);
}

#[test]
fn the_alert_tells_value_threshold_count_and_since_when() {
    let mut memory = Box_::with(rule());
    memory.at(91.0);
    memory.at(91.0);
    memory.seconds += 10;
    let now = memory.moment();
    let Some(Change::Fired(alert)) = memory.machine.observe(&key(), Some(93.0), now) else { panic!("did not fire") };
    assert_eq!((alert.value, alert.threshold, alert.consecutive), (Some(93.0), 85.0, 3));
    assert_eq!(alert.since, now.wall);
    assert_eq!(memory.machine.firing(), [alert]);
}

#[test]
fn a_firing_alert_is_said_again_after_the_repeat_interval_only() {
    let mut memory = Box_::with(rule());
    let said: Vec<u64> = (1..=1000u64).filter(|_| memory.at(91.0) != "-").map(|sample| sample * 10).collect();
    assert_eq!(said, [30, 3630, 7230]);
}

#[test]
fn a_burst_after_a_stall_counts_as_one_sample_and_a_stall_breaks_the_row() {
    let mut memory = Box_::with(rule());
    assert_eq!(memory.at(91.0), "-");
    assert_eq!(memory.at(91.0), "-");
    assert_eq!(memory.after(300, 91.0), "-", "five minutes of nothing are no third sample");
    for _ in 0..50 {
        assert_eq!(memory.after(0, 91.0), "-", "fifty at once are one");
    }
    assert_eq!(memory.at(91.0), "-");
    assert_eq!(memory.at(91.0), "fired");
}

#[test]
fn missing_data_means_what_the_rule_says() {
    let mut ignore = Box_::with(rule());
    assert_eq!([Some(91.0), None, Some(91.0), Some(91.0)].map(|value| ignore.at(value)), ["-", "-", "-", "fired"]);
    let mut breach = Box_::with(Rule { missing: Missing::Breach, ..rule() });
    assert_eq!([None, None, None].map(|value: Option<f64>| breach.at(value)), ["-", "-", "fired"]);
    let mut clear = Box_::with(Rule { missing: Missing::Clear, consecutive: 1, ..rule() });
    assert_eq!([Some(91.0), None, None].map(|value| clear.at(value)), ["fired", "-", "resolved"]);
    let mut nan = Box_::with(Rule { consecutive: 1, ..rule() });
    assert_eq!(nan.at(f64::NAN), "-");
}

#[test]
fn nothing_counts_before_the_grace_is_over_or_while_the_rule_is_off() {
    let mut graceful = Box_::with(Rule { grace: Duration::from_secs(60), consecutive: 1, ..rule() });
    let life: Vec<&str> = (0..7).map(|_| graceful.at(91.0)).collect();
    assert_eq!(life, ["-", "-", "-", "-", "-", "fired", "-"]);
    let mut off = Box_::with(Rule { enabled: false, consecutive: 1, ..rule() });
    assert_eq!(off.at(100.0), "-");
}

#[test]
fn a_reload_keeps_what_an_unchanged_rule_counted_and_ends_what_a_changed_one_said() {
    let mut memory = Box_::with(rule());
    memory.at(91.0);
    memory.at(91.0);
    let same = memory.machine.rules().clone();
    let pace = Pace::of(INTERVAL, Duration::from_secs(60));
    assert!(memory.machine.reload(same, pace).is_empty());
    assert_eq!(memory.at(91.0), "fired");
    let other = Rules::from([(RuleName::Memory, Rule { raise_above: 95.0, ..rule() })]);
    assert!(matches!(memory.machine.reload(other, pace).as_slice(), [Change::Resolved(_)]));
    assert!(memory.machine.firing().is_empty());
    assert_eq!([91.0, 91.0, 91.0].map(|value| memory.at(value)), ["-", "-", "-"]);
}

#[test]
fn a_wall_clock_that_steps_back_changes_no_duration() {
    let mut memory = Box_::with(rule());
    memory.at(91.0);
    memory.at(91.0);
    memory.seconds += 10;
    let back = Moment { wall: UNIX_EPOCH, ..memory.moment() };
    assert!(matches!(memory.machine.observe(&key(), Some(91.0), back), Some(Change::Fired(_))));
}

#[test]
fn an_instance_that_is_gone_is_told() {
    let mut memory = Box_::with(rule());
    memory.at(50.0);
    assert_eq!(memory.machine.unseen(RuleName::Memory, &[]), [key()]);
    assert!(memory.machine.unseen(RuleName::Memory, &[""]).is_empty());
    assert!(memory.machine.unseen(RuleName::Cpu, &[]).is_empty());
}

#[test]
fn an_instance_that_is_gone_for_good_resolves_and_is_forgotten() {
    let mut memory = Box_::with(Rule { consecutive: 1, ..rule() });
    assert_eq!(memory.at(91.0), "fired");
    let mut gone = || {
        memory.seconds += 10;
        let now = memory.moment();
        memory.machine.gone(&key(), now)
    };
    assert_eq!(gone(), None);
    assert!(matches!(gone(), Some(Change::Resolved(_))));
    assert!(memory.machine.unseen(RuleName::Memory, &[]).is_empty());
}

proptest! {
    #[test]
    fn it_never_fires_on_fewer_and_never_twice_without_resolving(
        values in prop::collection::vec(prop::option::of(0.0f64..100.0), 0..200),
        consecutive in 1u32..6,
        clear_consecutive in 1u32..6,
    ) {
        let mut memory = Box_::with(Rule { consecutive, clear_consecutive, ..rule() });
        let (mut row, mut good_row, mut firing) = (0, 0, false);
        for value in values {
            if let Some(value) = value {
                row = if value > 85.0 { row + 1 } else { 0 };
                good_row = if value < 80.0 { good_row + 1 } else { 0 };
            }
            match memory.at(value) {
                "fired" => {
                    prop_assert!(!firing && row == consecutive);
                    firing = true;
                }
                "resolved" => {
                    prop_assert!(firing && good_row == clear_consecutive);
                    firing = false;
                }
                _ => prop_assert!(firing || row < consecutive),
            }
            prop_assert_eq!(memory.machine.firing().len(), usize::from(firing));
        }
    }
}
