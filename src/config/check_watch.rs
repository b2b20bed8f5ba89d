//! What the settings of monitor and alerts must satisfy beyond their types.

use super::check::{DAY_SECONDS, Findings, HOUR_SECONDS};
use super::problem::quoted;
use super::watch::{AlertsConfig, MonitorConfig, RecorderConfig, RuleConfig};
use crate::core::alert::RuleName;

/// The most samples that are kept.
const MOST_SAMPLES: f64 = 10_000.0;

pub(super) fn monitor(monitor: &MonitorConfig, found: &mut Findings) {
    let paced = found.range("monitor.interval_seconds", monitor.interval_seconds, 0.1, HOUR_SECONDS);
    found.range("monitor.probe_timeout_seconds", monitor.probe_timeout_seconds, 0.01, 600.0);
    let kept = found.range("monitor.history_seconds", monitor.history_seconds, 0.0, DAY_SECONDS);
    if paced && kept && monitor.history_seconds / monitor.interval_seconds > MOST_SAMPLES {
        let message = format!(
            "{} s at one sample every {} s are more than {MOST_SAMPLES} samples; lower it, or raise monitor.interval_seconds",
            monitor.history_seconds, monitor.interval_seconds
        );
        found.contradiction("monitor.history_seconds", "monitor.interval_seconds", message);
    }
}

pub(super) fn recorder(recorder: &RecorderConfig, found: &mut Findings) {
    found.range("recorder.entries", recorder.entries, 1, 100_000);
}

pub(super) fn alerts(alerts: &AlertsConfig, found: &mut Findings) {
    found.range("alerts.consecutive", alerts.consecutive, 1, 10_000);
    found.range("alerts.clear_consecutive", alerts.clear_consecutive, 1, 10_000);
    found.range("alerts.repeat_seconds", alerts.repeat_seconds, 0.0, 365.0 * DAY_SECONDS);
    found.range("alerts.grace_seconds", alerts.grace_seconds, 0.0, DAY_SECONDS);
    found.range("alerts.cooldown_seconds", alerts.cooldown_seconds, 0.0, DAY_SECONDS);
    found.range("alerts.history", alerts.history, 1, 10_000);
    let webhook = &alerts.webhook;
    if let Some(url) = &webhook.url
        && !url.strip_prefix("http://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    {
        found.say("alerts.webhook.url", format!("{} is no address: expected http://HOST[:PORT]/PATH", quoted(url)));
    }
    found.range("alerts.webhook.timeout_seconds", webhook.timeout_seconds, 0.1, 60.0);
    found.range("alerts.webhook.retries", webhook.retries, 0, 10);
    for (name, config) in alerts.rules.all() {
        rule(name, config, found);
    }
}

fn rule(name: RuleName, rule: &RuleConfig, found: &mut Findings) {
    let key = |key: &str| format!("alerts.rules.{name}.{key}");
    let most = if name.is_percent() { 100.0 } else { 1e9 };
    let raise = found.range(&key("raise_above"), rule.raise_above, 0.0, most);
    let clear = found.range(&key("clear_below"), rule.clear_below, 0.0, most);
    if raise && clear && rule.clear_below > rule.raise_above {
        let message = format!(
            "{} is above raise_above, {}: such an alert would clear while it fires; lower this one or raise that one",
            rule.clear_below, rule.raise_above
        );
        found.contradiction(&key("clear_below"), &key("raise_above"), message);
    }
    found.range(&key("consecutive"), rule.consecutive, 0, 10_000);
    found.range(&key("clear_consecutive"), rule.clear_consecutive, 0, 10_000);
    found.range(&key("grace_seconds"), rule.grace_seconds, 0.0, DAY_SECONDS);
    found.range(&key("shed_after"), rule.shed_after, 0, 100_000);
    found.range(&key("recycle_after"), rule.recycle_after, 0, 100_000);
    found.range(&key("exit_after"), rule.exit_after, 0, 100_000);
}
