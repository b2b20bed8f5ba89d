//! Every metric: its name, help, buckets and labels. The registry is handed around, never global.
//!
//! Label sets are closed: a label takes the values of an enum, the name of a room, or the one model's name.

mod requests;
mod variant;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::core::alert::{Action, RuleName};
use crate::core::observe::Service;
use crate::core::sample::Sample;
use crate::core::standing::Standing;
use crate::core::status::Room;

pub use requests::{Outcome, Refusal, Stages, Totals};

/// Seconds; they resolve 100 µs to 1 s, with a tail for slow models.
const DURATION_BUCKETS: [f64; 19] = [
    0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5,
    10.0, 60.0,
];

/// The metrics of one daemon.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// What the protocol's statistics ask for.
    pub totals: Arc<Totals>,
    /// Whole time of a request, from its head to its answer, in seconds.
    pub request_duration: Histogram,
    /// Requests by model and outcome.
    pub requests: IntCounterVec,
    /// 1 while a session is ready for requests.
    pub session_ready: IntGauge,
    /// Time of a model load with its warm-up, in seconds.
    pub model_load_duration: Histogram,
    /// Time to decode a picture, in seconds.
    pub decode_duration: Histogram,
    /// Time to make the input tensor of a picture, in seconds.
    pub preprocess_duration: Histogram,
    /// Time that a job waited in the queue, in seconds.
    pub queue_duration: Histogram,
    /// Time that the model ran, in seconds.
    pub inference_duration: Histogram,
    /// Requests that wait for the engine now.
    pub queue_depth: IntGauge,
    /// Bytes of request bodies that are held now.
    pub body_memory: IntGauge,
    /// Requests not admitted, by reason.
    pub refused: IntCounterVec,
    /// Admitted requests that were ended early, by reason.
    pub expired: IntCounterVec,
    /// Canary runs by outcome.
    pub canary_runs: IntCounterVec,
    /// When the last canary was judged, in seconds since 1970; 0 before the first.
    pub canary_last: IntGauge,
    /// Restarts of a room after its death.
    pub actor_restarts: IntCounterVec,
    /// 1 for a probe that brought figures at the last tick, or whose figures this box does not have.
    pub probe_success: IntGaugeVec,
    /// Time that a probe took at the last tick, in seconds.
    pub probe_duration: GaugeVec,
    /// 1 while a rule's alert fires.
    pub alert_active: IntGaugeVec,
    /// Changes of alerts.
    pub alert_transitions: IntCounterVec,
    /// Steps of the ladder that were taken.
    pub alert_actions: IntCounterVec,
    /// Posts of alerts, by outcome.
    pub webhook_posts: IntCounterVec,
    /// 1 for the form of the model that serves.
    pub variant_active: IntGaugeVec,
    /// Swaps to the quantised form that were taken back.
    pub rollbacks: IntCounter,
    qualified: variant::QualificationMetrics,
    watched: watch::BoxMetrics,
}

impl Metrics {
    /// All metrics, registered, every label value of a closed set at zero.
    ///
    /// # Errors
    /// A name or label that Prometheus does not allow, or a name given twice.
    pub fn new(model: &str, runtime_version: &str) -> prometheus::Result<Arc<Metrics>> {
        let registry = Registry::new();
        let metrics = Metrics {
            totals: Arc::default(),
            request_duration: histogram(
                &registry,
                "inference_request_duration_seconds",
                "Time of an inference request, from its head to its answer.",
            )?,
            requests: counters(&registry, "inference_requests_total", "Inference requests.", &["model", "outcome"])?,
            session_ready: gauge(&registry, "inference_session_ready", "1 while a session is ready for requests.")?,
            model_load_duration: histogram(
                &registry,
                "model_load_duration_seconds",
                "Time to load a model and warm it up.",
            )?,
            decode_duration: histogram(&registry, "inference_decode_duration_seconds", "Time to decode a picture.")?,
            preprocess_duration: histogram(
                &registry,
                "inference_preprocess_duration_seconds",
                "Time to make a model's input of a picture.",
            )?,
            queue_duration: histogram(
                &registry,
                "inference_queue_duration_seconds",
                "Time that a request waited for the engine.",
            )?,
            inference_duration: histogram(&registry, "inference_run_duration_seconds", "Time that the model ran.")?,
            queue_depth: gauge(&registry, "inference_queue_depth", "Requests that wait for the engine.")?,
            body_memory: gauge(&registry, "request_body_memory_bytes", "Bytes of request bodies that are held.")?,
            refused: counters(&registry, "inference_refused_total", "Requests that were not admitted.", &["reason"])?,
            expired: counters(
                &registry,
                "inference_expired_total",
                "Admitted requests that were ended before their answer.",
                &["reason"],
            )?,
            canary_runs: counters(&registry, "canary_runs_total", "Runs of the known-answer canary.", &["outcome"])?,
            canary_last: gauge(
                &registry,
                "canary_last_timestamp_seconds",
                "When the last canary was judged; 0: not yet.",
            )?,
            actor_restarts: counters(
                &registry,
                "actor_restarts_total",
                "Restarts of a room after its death.",
                &["actor"],
            )?,
            probe_success: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "probe_success",
                        "1 for a probe that worked at the last tick, or has nothing to measure.",
                    ),
                    &["probe"],
                )?,
            )?,
            probe_duration: register(
                &registry,
                GaugeVec::new(
                    Opts::new("probe_duration_seconds", "Time that a probe took at the last tick."),
                    &["probe"],
                )?,
            )?,
            alert_active: register(
                &registry,
                IntGaugeVec::new(Opts::new("alert_active", "1 while an alert fires."), &["alert", "severity"])?,
            )?,
            alert_transitions: counters(
                &registry,
                "alert_transitions_total",
                "Changes of alerts.",
                &["alert", "state"],
            )?,
            alert_actions: counters(
                &registry,
                "alert_actions_total",
                "Steps of the ladder from alert to action.",
                &["alert", "action"],
            )?,
            webhook_posts: counters(&registry, "webhook_posts_total", "Posts of alerts.", &["outcome"])?,
            variant_active: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("model_variant_active", "1 for the form of the model that serves."),
                    &["variant"],
                )?,
            )?,
            rollbacks: register(
                &registry,
                IntCounter::new("model_rollbacks_total", "Swaps to the quantised form that were taken back.")?,
            )?,
            qualified: variant::QualificationMetrics::new(&registry)?,
            watched: watch::BoxMetrics::new(&registry)?,
            registry,
        };
        metrics.begin_at_zero(model);
        metrics.register_build(runtime_version)?;
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Arc::new(metrics))
    }

    fn begin_at_zero(&self, model: &str) {
        for outcome in Outcome::ALL {
            self.requests.with_label_values(&[model, outcome.name()]);
        }
        for reason in Refusal::ALL {
            self.refused.with_label_values(&[reason.name()]);
        }
        for reason in ["deadline", "client_gone", "stopping"] {
            self.expired.with_label_values(&[reason]);
        }
        for outcome in ["ok", "wrong", "silent"] {
            self.canary_runs.with_label_values(&[outcome]);
        }
        for rule in RuleName::ALL {
            for state in ["firing", "resolved"] {
                self.alert_transitions.with_label_values(&[rule.name(), state]);
            }
            for action in Action::ALL {
                self.alert_actions.with_label_values(&[rule.name(), action.name()]);
            }
        }
        for outcome in ["ok", "failed", "dropped"] {
            self.webhook_posts.with_label_values(&[outcome]);
        }
        for variant in ["original", "quantized"] {
            self.variant_active.with_label_values(&[variant]);
        }
        for room in Room::RESTARTED {
            self.actor_restarts.with_label_values(&[room.name()]);
        }
    }

    fn register_build(&self, runtime_version: &str) -> prometheus::Result<()> {
        let opts = Opts::new("edge_service_build_info", "Version, commit and ONNX Runtime of this daemon.");
        let info = IntGaugeVec::new(opts, &["version", "commit", "runtime"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), env!("EDGE_SERVICE_COMMIT"), runtime_version]).set(1);
        self.registry.register(Box::new(info))
    }

    /// Puts one sample in the place of the one before.
    pub fn observe_box(&self, sample: &Sample, service: &Service) {
        self.watched.observe(sample, service);
    }

    /// Puts what is known of the quantised form in the place of what was.
    pub fn observe_standing(&self, standing: &Standing) {
        self.qualified.observe(standing);
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// The text could not be written.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The content type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;
}

/// Seconds for a histogram.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn histogram(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Histogram> {
    let opts = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
    register(registry, Histogram::with_opts(opts)?)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    register(registry, IntGauge::new(name, help)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a box that has one of everything.
    fn text() -> String {
        let metrics = Metrics::new("digits", "1.31.1").unwrap();
        metrics.observe_box(&watch::tests::one_of_everything(), &Service::default());
        metrics.observe_standing(&variant::tests::measured());
        metrics.probe_success.with_label_values(&["cpu"]).set(1);
        metrics.probe_duration.with_label_values(&["cpu"]).set(0.0);
        metrics.alert_active.with_label_values(&["cpu", "warning"]).set(0);
        String::from_utf8(metrics.encode().unwrap()).unwrap()
    }

    #[test]
    fn the_names_and_types_that_dashboards_rely_on_are_there() {
        let text = text();
        for line in [
            "# TYPE inference_request_duration_seconds histogram",
            "# TYPE inference_requests_total counter",
            "# TYPE inference_session_ready gauge",
            "# TYPE model_load_duration_seconds histogram",
            "inference_requests_total{model=\"digits\",outcome=\"ok\"} 0",
            "actor_restarts_total{actor=\"engine\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_metric_is_in_the_documentation_and_nothing_else_is() {
        let documentation = include_str!("../docs/metrics.md");
        let text = text();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        for name in &names {
            assert!(documentation.contains(&format!("`{name}`")), "docs/metrics.md does not tell of {name}");
        }
        let documented = documentation.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        for name in documented {
            assert!(names.contains(&name), "docs/metrics.md tells of {name}, which is not there");
        }
    }
}
