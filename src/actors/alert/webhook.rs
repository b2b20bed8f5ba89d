//! Alerts to whoever wants them: posted in Alertmanager's v2 form by a thread of its own, which nobody waits for.

use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use serde::Serialize;

use super::tell::{message, rfc3339};
use crate::config::WebhookConfig;
use crate::core::alert::Alert;
use crate::metrics::Metrics;

/// How much longer than to its next repetition an alert lasts, for posts that are tried again.
const MARGIN: Duration = Duration::from_secs(300);
/// How long one lasts that is never repeated.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);
/// Changes that may wait; more are dropped and counted.
const WAITING: usize = 64;
/// The wait before the first retry; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Labels {
    alertname: &'static str,
    severity: &'static str,
    host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    instance: String,
}

#[derive(Serialize)]
struct Annotations {
    summary: String,
}

/// One alert of Alertmanager's `POST /api/v2/alerts`, which takes an array of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: Labels,
    annotations: Annotations,
    starts_at: String,
    ends_at: String,
}

/// The door to the thread; it ends when this is dropped.
pub struct Webhook {
    door: Sender<String>,
    lasts: Duration,
    metrics: std::sync::Arc<Metrics>,
}

impl Webhook {
    /// Starts the thread, where an address is configured.
    ///
    /// An alert that fires is posted with an end in the future, so that it does not lapse before it is repeated.
    pub fn start(config: &WebhookConfig, repeat_seconds: f64, metrics: std::sync::Arc<Metrics>) -> Option<Webhook> {
        let url = config.url.clone()?;
        let lasts = if repeat_seconds > 0.0 { Duration::from_secs_f64(repeat_seconds * 1.5) + MARGIN } else { FOREVER };
        let (door, queue) = bounded(WAITING);
        let (timeout, retries) = (Duration::from_secs_f64(config.timeout_seconds), config.retries);
        let counted = metrics.clone();
        let thread = std::thread::Builder::new()
            .name("webhook".to_owned())
            .spawn(move || post_all(&url, timeout, retries, &queue, &counted));
        match thread {
            Ok(_) => Some(Webhook { door, lasts, metrics }),
            Err(error) => {
                tracing::warn!(event = "webhook_off", "alerts are not posted: the system gives no thread: {error}");
                None
            }
        }
    }

    /// Hands a change to the thread, or drops it where too many wait.
    pub fn post(&self, alert: &Alert, ended: Option<SystemTime>, host: &str) {
        let posted = Posted {
            labels: Labels {
                alertname: alert.key.rule.name(),
                severity: alert.severity.name(),
                host: host.to_owned(),
                instance: alert.key.instance.clone(),
            },
            annotations: Annotations { summary: message(alert, ended.is_none()) },
            starts_at: rfc3339(alert.since),
            ends_at: rfc3339(ended.unwrap_or_else(|| SystemTime::now() + self.lasts)),
        };
        let Ok(body) = serde_json::to_string(&[posted]) else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.door.try_send(body) {
            self.metrics.webhook_posts.with_label_values(&["dropped"]).inc();
        }
    }
}

fn post_all(url: &str, timeout: Duration, retries: u32, queue: &Receiver<String>, metrics: &Metrics) {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(timeout)).build().into();
    for body in queue {
        let mut wait = FIRST_WAIT;
        let mut result = post(&agent, url, &body);
        for _ in 0..retries {
            if result.is_ok() {
                break;
            }
            std::thread::sleep(wait);
            wait = wait.saturating_mul(2).min(Duration::from_secs(30));
            result = post(&agent, url, &body);
        }
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        metrics.webhook_posts.with_label_values(&[outcome]).inc();
        if let Err(error) = result {
            tracing::warn!(event = "webhook_failed", "an alert was not taken by alerts.webhook.url: {error}");
        }
    }
}

fn post(agent: &ureq::Agent, url: &str, body: &str) -> Result<(), String> {
    agent.post(url).header("Content-Type", "application/json").send(body).map(drop).map_err(|error| error.to_string())
}
