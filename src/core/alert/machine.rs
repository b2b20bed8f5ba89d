//! The machine: counts in, changes out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::rule::{Missing, Rule, RuleName, Rules, Severity};

/// What an alert is about: a rule, and the mount, GPU or sensor where there are several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The rule.
    pub rule: RuleName,
    /// The instance; empty where there is only one.
    pub instance: String,
}

/// One instant on both clocks: counting goes by the first, telling by the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Never steps back.
    pub monotonic: Instant,
    /// What people and logs read.
    pub wall: SystemTime,
}

/// How samples follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Samples closer to the one before than this are of the same moment and do not count again.
    pub least_gap: Duration,
    /// After a gap longer than this the row is broken and counting begins anew.
    pub longest_gap: Duration,
    /// The time after which a firing alert is said again; zero: never.
    pub repeat: Duration,
}

impl Pace {
    /// The pace of samples every `interval`.
    pub fn of(interval: Duration, repeat: Duration) -> Pace {
        Pace { least_gap: interval / 2, longest_gap: interval.saturating_mul(3), repeat }
    }
}

/// Whether it is said to be trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No.
    Well,
    /// Yes.
    Firing,
}

/// An alert as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What it is about.
    pub key: Key,
    /// How bad it is.
    pub severity: Severity,
    /// The value that decided, where there is one.
    pub value: Option<f64>,
    /// The threshold that it passed: to fire, `raise_above`; to resolve, `clear_below`.
    pub threshold: f64,
    /// Breaches in a row up to now, or good values in a row when it resolves.
    pub consecutive: u32,
    /// When it began to fire.
    pub since: SystemTime,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It fires from now on.
    Fired(Alert),
    /// It still fires, and is said again.
    Repeated(Alert),
    /// It is over.
    Resolved(Alert),
}

#[derive(Clone, Debug, Default)]
struct Watch {
    last_sample: Option<Instant>,
    breaches: u32,
    goods: u32,
    firing: Option<Firing>,
}

#[derive(Clone, Copy, Debug)]
struct Firing {
    since: SystemTime,
    said: Instant,
    severity: Severity,
    value: Option<f64>,
    breaches: u32,
}

/// The breach machine of one daemon.
#[derive(Clone, Debug)]
pub struct Machine {
    started: Instant,
    rules: Rules,
    pace: Pace,
    watches: BTreeMap<Key, Watch>,
}

impl Machine {
    /// A machine that has seen nothing yet.
    pub fn new(started: Instant, rules: Rules, pace: Pace) -> Machine {
        Machine { started, rules, pace, watches: BTreeMap::new() }
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes one value of one instance, or that there is none now, and says what follows.
    pub fn observe(&mut self, key: &Key, value: Option<f64>, now: Moment) -> Option<Change> {
        let rule = *self.rules.get(&key.rule).filter(|rule| rule.enabled)?;
        self.observe_by(&rule, key, value, now)
    }

    fn observe_by(&mut self, rule: &Rule, key: &Key, value: Option<f64>, now: Moment) -> Option<Change> {
        if now.monotonic.saturating_duration_since(self.started) < rule.grace {
            return None;
        }
        let pace = self.pace;
        let watch = self.watches.entry(key.clone()).or_default();
        if let Some(last) = watch.last_sample {
            let gap = now.monotonic.saturating_duration_since(last);
            if gap < pace.least_gap {
                return None;
            }
            if gap > pace.longest_gap {
                (watch.breaches, watch.goods) = (0, 0);
            }
        }
        watch.last_sample = Some(now.monotonic);
        watch.count(rule, value);
        watch.decide(key, rule, &pace, value, now)
    }

    /// Takes that an instance has gone: a mount, a sensor. Unless missing data means trouble, that is well, and once it was
    /// well for long enough the instance is forgotten.
    pub fn gone(&mut self, key: &Key, now: Moment) -> Option<Change> {
        let rule = *self.rules.get(&key.rule).filter(|rule| rule.enabled)?;
        if rule.missing == Missing::Breach {
            return self.observe(key, None, now);
        }
        let change = self.observe_by(&Rule { missing: Missing::Clear, ..rule }, key, None, now);
        if self.watches.get(key).is_some_and(|watch| watch.firing.is_none() && watch.goods >= rule.clear_consecutive) {
            self.watches.remove(key);
        }
        change
    }

    /// Instances of `rule` that are watched and not among `seen`: a mount that has gone, a sensor that was unplugged.
    pub fn unseen(&self, rule: RuleName, seen: &[&str]) -> Vec<Key> {
        let watched = self.watches.keys().filter(|key| key.rule == rule);
        watched.filter(|key| !seen.contains(&key.instance.as_str())).cloned().collect()
    }

    /// Takes over what fired in a machine before this one, so that nothing fires twice. What its rule no longer watches is
    /// over. How long the row was is not known: at least what made it fire.
    pub fn resume(&mut self, firing: &[Alert], now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        for alert in firing {
            let Some(rule) = self.rules.get(&alert.key.rule).filter(|rule| rule.enabled) else {
                changes.push(Change::Resolved(Alert { value: None, consecutive: 0, ..alert.clone() }));
                continue;
            };
            let Alert { key, severity, value, consecutive, since, .. } = alert.clone();
            let fires = Firing { since, said: now.monotonic, severity, value, breaches: consecutive };
            let breaches = consecutive.min(rule.consecutive);
            self.watches.insert(key, Watch { breaches, firing: Some(fires), ..Watch::default() });
        }
        changes
    }

    /// Breaches in a row of what fires; `None` where it does not.
    pub fn row(&self, key: &Key) -> Option<u32> {
        self.watches.get(key).filter(|watch| watch.firing.is_some()).map(|watch| watch.breaches)
    }

    /// Whether anything fires now.
    pub fn fires(&self) -> bool {
        self.watches.values().any(|watch| watch.firing.is_some())
    }

    /// What fires now.
    pub fn firing(&self) -> Vec<Alert> {
        let firing = self.watches.iter().filter_map(|(key, watch)| Some((key, watch.firing?)));
        firing
            .map(|(key, firing)| Alert {
                key: key.clone(),
                severity: firing.severity,
                value: firing.value,
                threshold: self.rules.get(&key.rule).map_or(f64::NAN, |rule| rule.raise_above),
                consecutive: firing.breaches,
                since: firing.since,
            })
            .collect()
    }

    /// Puts other rules in force. What an unchanged rule has counted stays; a changed one begins anew, and what it said is over.
    pub fn reload(&mut self, rules: Rules, pace: Pace) -> Vec<Change> {
        let changed = |key: &Key| self.rules.get(&key.rule) != rules.get(&key.rule);
        let gone: Vec<Key> = self.watches.keys().filter(|key| changed(key)).cloned().collect();
        let mut changes = Vec::new();
        for key in gone {
            let firing = self.watches.remove(&key).and_then(|watch| watch.firing);
            if let (Some(firing), Some(rule)) = (firing, self.rules.get(&key.rule)) {
                changes.push(Change::Resolved(Alert {
                    threshold: rule.clear_below,
                    key,
                    severity: firing.severity,
                    value: None,
                    consecutive: 0,
                    since: firing.since,
                }));
            }
        }
        self.rules = rules;
        self.pace = pace;
        changes
    }
}

impl Watch {
    fn count(&mut self, rule: &Rule, value: Option<f64>) {
        // What is not a number is no value.
        let (bad, good) = match (value.filter(|value| !value.is_nan()), rule.missing) {
            (Some(value), _) => (value > rule.raise_above, value < rule.clear_below),
            (None, Missing::Ignore) => return,
            (None, Missing::Clear) => (false, true),
            (None, Missing::Breach) => (true, false),
        };
        self.breaches = if bad { self.breaches.saturating_add(1) } else { 0 };
        self.goods = if good { self.goods.saturating_add(1) } else { 0 };
    }

    fn decide(&mut self, key: &Key, rule: &Rule, pace: &Pace, value: Option<f64>, now: Moment) -> Option<Change> {
        let alert = |threshold, consecutive, since| Alert {
            key: key.clone(),
            severity: rule.severity,
            value,
            threshold,
            consecutive,
            since,
        };
        match &mut self.firing {
            None if self.breaches >= rule.consecutive.max(1) => {
                self.firing = Some(Firing {
                    since: now.wall,
                    said: now.monotonic,
                    severity: rule.severity,
                    value,
                    breaches: self.breaches,
                });
                Some(Change::Fired(alert(rule.raise_above, self.breaches, now.wall)))
            }
            Some(firing) if self.goods >= rule.clear_consecutive.max(1) => {
                let since = firing.since;
                self.firing = None;
                Some(Change::Resolved(alert(rule.clear_below, self.goods, since)))
            }
            Some(firing) => {
                firing.value = value.or(firing.value);
                firing.breaches = firing.breaches.max(self.breaches);
                let due = now.monotonic.saturating_duration_since(firing.said) >= pace.repeat;
                if pace.repeat.is_zero() || !due {
                    return None;
                }
                firing.said = now.monotonic;
                // A sample without a value has nothing newer to tell.
                let (consecutive, since, value) = (firing.breaches, firing.since, firing.value);
                Some(Change::Repeated(Alert { value, ..alert(rule.raise_above, consecutive, since) }))
            }
            None => None,
        }
    }
}
