//! The alert room: feeds samples to the breach machine and tells what changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::webhook::Webhook;
use super::{AlertsView, Observe, SetRules, Told, tell};
use crate::actors::obituary::Obituary;
use crate::actors::supervisor::{Act, AlertChanged};
use crate::config::Config;
use crate::core::alert::{Change, Key, Ladder, Machine, Moment, RuleName};
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
    _obituary: Obituary,
}

impl Alerts {
    /// A room that has seen nothing yet; `started` is the daemon's start, from which a grace counts.
    pub fn new(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        started: Instant,
        supervisor: Recipient<AlertChanged>,
        actions: Recipient<Act>,
        obituary: Obituary,
    ) -> Alerts {
        let alerts = &config.alerts;
        Alerts {
            machine: Machine::new(started, alerts.rules(), alerts.pace(&config.monitor)),
            webhook: Webhook::start(&alerts.webhook, alerts.repeat_seconds, Arc::clone(&metrics)),
            host: tell::host_name(),
            changes: VecDeque::new(),
            ladder: Ladder::new(started),
            actions,
            config,
            metrics,
            supervisor,
            _obituary: obituary,
        }
    }

    fn tell(&mut self, change: Change, at: std::time::SystemTime) {
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
        self.supervisor.do_send(AlertChanged(Arc::new(AlertsView { firing, changes })));
    }
}

impl Actor for Alerts {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.announce();
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
            // A mount or a sensor that has gone is one without a value.
            for key in self.machine.unseen(rule, &seen) {
                changed |= self.take(&key, None, true, observe.at);
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
        let at = std::time::SystemTime::now();
        changes.into_iter().for_each(|change| self.tell(change, at));
        for key in self.ladder.shedding() {
            self.climb(&key, Instant::now());
        }
        self.announce();
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
