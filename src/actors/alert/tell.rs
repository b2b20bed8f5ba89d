//! An alert in words: one log line with stable fields, whatever the log's level.

use std::time::SystemTime;

use crate::core::alert::{Alert, RuleName, Severity};
use crate::telemetry::ALERT_TARGET;

/// The box's name.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}

/// A time as RFC 3339 with milliseconds, in UTC.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// What happened, in a sentence for a person.
pub fn message(alert: &Alert, firing: bool) -> String {
    let unit = match alert.key.rule.unit() {
        "percent" => " %",
        "celsius" => " °C",
        "ms" => " ms",
        _ => "",
    };
    let what = if alert.key.instance.is_empty() {
        alert.key.rule.to_string()
    } else {
        format!("{} {}", alert.key.rule, alert.key.instance)
    };
    let samples = if alert.consecutive == 1 { "sample" } else { "samples" };
    if alert.key.rule == RuleName::QuantizedUnqualified {
        return match firing {
            true => format!(
                "a quantised form is served that failed its qualification on this box, for {} {samples}: the status says why",
                alert.consecutive
            ),
            false => "no quantised form is served any more that failed its qualification".to_owned(),
        };
    }
    match (firing, alert.value) {
        (true, Some(value)) => format!(
            "{what} is {value:.1}{unit}, above {:.1}{unit} for {} {samples}",
            alert.threshold, alert.consecutive
        ),
        (true, None) => format!("{what} has had no value for {} {samples}", alert.consecutive),
        (false, Some(value)) => format!("{what} is well again: {value:.1}{unit}, below {:.1}{unit}", alert.threshold),
        (false, None) => format!("{what} fires no more: its rule has changed, or what it watches has gone"),
    }
}

/// Writes the line.
pub fn log(alert: &Alert, firing: bool, host: &str) {
    let state = if firing { "firing" } else { "resolved" };
    let (since, message) = (rfc3339(alert.since), message(alert, firing));
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: ALERT_TARGET,
                event = "alert",
                alert = alert.key.rule.name(),
                instance = alert.key.instance,
                state,
                severity = alert.severity.name(),
                value = alert.value,
                threshold = alert.threshold,
                unit = alert.key.rule.unit(),
                consecutive = alert.consecutive,
                since,
                host,
                "{message}"
            )
        };
    }
    match (firing, alert.severity) {
        (false, _) | (true, Severity::Info) => line!(info),
        (true, Severity::Warning) => line!(warn),
        (true, Severity::Critical) => line!(error),
    }
}
