//! The alert room: feeds samples to the breach machine and tells what changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::prelude::*;

use super::webhook::Webhook;
use super::{AlertsView, Observe, SetRules, Told, tell};
use crate::actors::obituary::Obituary;
use crate::actors::supervisor::{Act, AlertChanged};
use crate::config::Config;
use crate::core::alert::{Alert, Change, Key, Ladder, Machine, Moment, RuleName};
use crate::metrics::Metrics;

/// The alert room.
pub struct Alerts {
    machine: Machine,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    webhook: Option<Webhook>,
    host: String,
    changes: VecDeque<Told>,
    ladder: Ladder,
    supervisor: Recipient<AlertChanged>,
    actions: Recipient<Act>,
    /// What fired when the room before this one died.
    before: Vec<Alert>,
    _obituary: Obituary,
}

/// What an alert room is built from.
pub struct AlertsParts {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// The daemon's start, from which a grace counts.
    pub started: Instant,
    /// What the room before this one, if there was one, said last: it is gone on with.
    pub before: Arc<AlertsView>,
}

impl Alerts {
    /// A room that has seen nothing yet, and knows what the one before it has said.
    pub fn new(
        parts: AlertsParts,
        supervisor: Recipient<AlertChanged>,
        actions: Recipient<Act>,
        obituary: Obituary,
    ) -> Alerts {
        let AlertsParts { config, metrics, started, before } = parts;
        let alerts = &config.alerts;
        Alerts {
            machine: Machine::new(started, alerts.rules(), alerts.pace(&config.monitor)),
            webhook: Webhook::start(&alerts.webhook, alerts.repeat_seconds, Arc::clone(&metrics)),
            host: tell::host_name(),
            changes: before.changes.iter().cloned().collect(),
            ladder: before.ladder.clone().unwrap_or_else(|| Ladder::new(started)),
            before: before.firing.clone(),
            actions,
            config,
            metrics,
            supervisor,
            _obituary: obituary,
        }
    }

    fn tell(&mut self, change: Change, at: SystemTime) {
        let (alert, firing, is_new) = match change {
            Change::Fired(alert) => (alert, true, true),
            Change::Repeated(alert) => (alert, true, false),
            Change::Resolved(alert) => (alert, false, true),
        };
        tell::log(&alert, firing, &self.host);
        if let Some(webhook) = &self.webhook {
            webhook.post(&alert, (!firing).then_some(at), &self.host);
        }
        if is_new {
            let state = if firing { "firing" } else { "resolved" };
            self.metrics.alert_transitions.with_label_values(&[alert.key.rule.name(), state]).inc();
            if self.changes.len() >= self.config.alerts.history {
                self.changes.pop_front();
            }
            self.changes.push_back(Told { firing, alert, at });
        }
    }

    /// Takes one value, says what it changes and does what the ladder asks for; whether anything changed.
    fn take(&mut self, key: &Key, value: Option<f64>, is_gone: bool, at: Moment) -> bool {
        let change = if is_gone { self.machine.gone(key, at) } else { self.machine.observe(key, value, at) };
        let changed = change.is_some();
        if let Some(change) = change {
            self.tell(change, at.wall);
        }
        // A sample without a value is no further breach.
        if value.is_some() || is_gone {
            self.climb(key, at.monotonic);
        }
        changed
    }

    /// Does what the ladder asks for.
    fn climb(&mut self, key: &Key, now: Instant) {
        let steps = self.machine.rules().get(&key.rule).map(|rule| rule.steps).unwrap_or_default();
        let cooldown = Duration::from_secs_f64(self.config.alerts.cooldown_seconds);
        for action in self.ladder.climb(key, steps, self.machine.row(key), now, cooldown) {
            self.metrics.alert_actions.with_label_values(&[key.rule.name(), action.name()]).inc();
            self.actions.do_send(Act { action, alert: key.rule });
        }
    }

    /// Tells what has changed without a sample, and sheds no more for what fires no more.
    fn follow(&mut self, changes: Vec<Change>, now: Moment) {
        changes.into_iter().for_each(|change| self.tell(change, now.wall));
        for key in self.ladder.shedding() {
            if self.machine.row(&key).is_none() {
                self.climb(&key, now.monotonic);
            }
        }
        self.announce();
    }

    /// Tells the supervisor and the metrics what fires now.
    fn announce(&self) {
        let firing = self.machine.firing();
        for rule in RuleName::ALL {
            let severity = self.machine.rules().get(&rule).map_or("warning", |rule| rule.severity.name());
            let count = firing.iter().filter(|alert| alert.key.rule == rule).count();
            let active = self.metrics.alert_active.with_label_values(&[rule.name(), severity]);
            active.set(i64::from(count > 0));
        }
        let changes = self.changes.iter().cloned().collect();
        let view = AlertsView { firing, changes, ladder: Some(self.ladder.clone()) };
        self.supervisor.do_send(AlertChanged(Arc::new(view)));
    }
}

impl Actor for Alerts {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let now = Moment { monotonic: Instant::now(), wall: SystemTime::now() };
        let changes = self.machine.resume(&std::mem::take(&mut self.before), now);
        self.follow(changes, now);
    }
}

impl Handler<Observe> for Alerts {
    type Result = ();

    fn handle(&mut self, observe: Observe, _: &mut Self::Context) {
        let mut changed = false;
        for rule in RuleName::ALL {
            let seen: Vec<&str> = observe
                .values
                .iter()
                .filter(|(key, _)| key.rule == rule)
                .map(|(key, _)| key.instance.as_str())
                .collect();
            // A mount or a sensor is gone where its probe has looked and not found it.
            let is_gone = !observe.silent.contains(&rule);
            for key in self.machine.unseen(rule, &seen) {
                changed |= self.take(&key, None, is_gone, observe.at);
            }
        }
        for (key, value) in &observe.values {
            // While its requests are refused, none is slow: having no value is being well.
            let is_gone = value.is_none() && self.ladder.sheds(key);
            changed |= self.take(key, *value, is_gone, observe.at);
        }
        // What fires is shown with the value of this sample.
        if changed || self.machine.fires() {
            self.announce();
        }
    }
}

impl Handler<SetRules> for Alerts {
    type Result = ();

    fn handle(&mut self, rules: SetRules, _: &mut Self::Context) {
        let alerts = &rules.0.alerts;
        let now = (&alerts.webhook, alerts.repeat_seconds);
        if now != (&self.config.alerts.webhook, self.config.alerts.repeat_seconds) {
            self.webhook = Webhook::start(&alerts.webhook, alerts.repeat_seconds, Arc::clone(&self.metrics));
        }
        let changes = self.machine.reload(alerts.rules(), alerts.pace(&rules.0.monitor));
        self.config = rules.0;
        self.follow(changes, Moment { monotonic: Instant::now(), wall: SystemTime::now() });
    }
}

#[cfg(feature = "test-hooks")]
impl Handler<super::PanicNow> for Alerts {
    type Result = ();

    #[allow(clippy::panic)]
    fn handle(&mut self, _: super::PanicNow, _: &mut Self::Context) {
        panic!("a test asked the alert room to panic")
    }
}
