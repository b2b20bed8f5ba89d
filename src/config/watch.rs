//! The settings of what watches the box: monitor, alerts and recorder.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::alert::{Missing, Pace, Rule, RuleName, Rules, Severity, Steps};

/// `[monitor]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorConfig {
    /// Seconds between two samples.
    pub interval_seconds: f64,
    /// Seconds that a probe may take before its sample goes on without it.
    pub probe_timeout_seconds: f64,
    /// Seconds for which samples are kept for the page and the status.
    pub history_seconds: f64,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        MonitorConfig { interval_seconds: 10.0, probe_timeout_seconds: 2.0, history_seconds: 900.0 }
    }
}

/// `[recorder]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecorderConfig {
    /// Requests that are kept.
    pub entries: usize,
}

impl Default for RecorderConfig {
    fn default() -> Self {
        RecorderConfig { entries: 1000 }
    }
}

/// `[alerts]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    /// Breaches in a row that fire, where a rule does not say.
    pub consecutive: u32,
    /// Good samples in a row that resolve, where a rule does not say.
    pub clear_consecutive: u32,
    /// Seconds after which an alert that still fires is said again; 0: never.
    pub repeat_seconds: f64,
    /// Seconds after the start in which nothing is counted, where a rule does not say.
    pub grace_seconds: f64,
    /// Seconds after a step of the ladder in which no other one of its kind is taken.
    pub cooldown_seconds: f64,
    /// Changes of alerts that are kept.
    pub history: usize,
    /// Where alerts are sent.
    pub webhook: WebhookConfig,
    /// What is watched.
    pub rules: RulesConfig,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        AlertsConfig {
            consecutive: 3,
            clear_consecutive: 3,
            repeat_seconds: 3600.0,
            grace_seconds: 0.0,
            cooldown_seconds: 300.0,
            history: 100,
            webhook: WebhookConfig::default(),
            rules: RulesConfig::default(),
        }
    }
}

/// `[alerts.webhook]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where every change is posted to, in Alertmanager's v2 form; unset: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Seconds that one try may take.
    pub timeout_seconds: f64,
    /// Tries after the first.
    pub retries: u32,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        WebhookConfig { url: None, timeout_seconds: 5.0, retries: 3 }
    }
}

/// `[alerts.rules.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleConfig {
    /// Whether it is watched.
    pub enabled: bool,
    /// A value above this is a breach.
    pub raise_above: f64,
    /// A value below this is well again.
    pub clear_below: f64,
    /// Breaches in a row that fire; 0: as `alerts.consecutive` says.
    pub consecutive: u32,
    /// Good samples in a row that resolve; 0: as `alerts.clear_consecutive` says.
    pub clear_consecutive: u32,
    /// `info`, `warning` or `critical`.
    pub severity: Severity,
    /// Seconds after the start in which nothing is counted; 0: as `alerts.grace_seconds` says.
    pub grace_seconds: f64,
    /// What a sample without a value means: `ignore`, `clear` or `breach`.
    pub missing: Missing,
    /// Breaches in a row after which new requests are refused while it fires; 0: never.
    pub shed_after: u32,
    /// Breaches in a row after which the model gets a fresh session; 0: never.
    pub recycle_after: u32,
    /// Breaches in a row after which the daemon leaves, to be started again; 0: never.
    pub exit_after: u32,
}

impl Default for RuleConfig {
    fn default() -> Self {
        RuleConfig {
            enabled: true,
            raise_above: 90.0,
            clear_below: 80.0,
            consecutive: 0,
            clear_consecutive: 0,
            severity: Severity::Warning,
            grace_seconds: 0.0,
            missing: Missing::Ignore,
            shed_after: 0,
            recycle_after: 0,
            exit_after: 0,
        }
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $field:ident: $name:ident, $raise:literal, $clear:literal, $severity:ident;)*) => {
        /// `[alerts.rules]`
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct RulesConfig {
            $($(#[$doc])* pub $field: RuleConfig,)*
        }

        impl Default for RulesConfig {
            fn default() -> Self {
                RulesConfig {
                    $($field: RuleConfig {
                        raise_above: $raise,
                        clear_below: $clear,
                        severity: Severity::$severity,
                        ..RuleConfig::default()
                    },)*
                }
            }
        }

        impl RulesConfig {
            /// Every rule with its name.
            pub fn all(&self) -> Vec<(RuleName, &RuleConfig)> {
                vec![$((RuleName::$name, &self.$field),)*]
            }
        }
    };
}

rules! {
    /// CPU in use.
    cpu: Cpu, 80.0, 70.0, Warning;
    /// Memory in use.
    memory: Memory, 85.0, 80.0, Warning;
    /// Swap in use.
    swap: Swap, 60.0, 50.0, Warning;
    /// Bytes or inodes of a mount in use.
    disk: Disk, 90.0, 85.0, Warning;
    /// Memory of a GPU in use.
    gpu_memory: GpuMemory, 90.0, 85.0, Warning;
    /// Temperature of a GPU.
    gpu_temperature: GpuTemperature, 85.0, 80.0, Warning;
    /// Temperature of a sensor.
    temperature: Temperature, 85.0, 80.0, Warning;
    /// Waiting for a CPU.
    pressure_cpu: PressureCpu, 60.0, 40.0, Info;
    /// Waiting for memory.
    pressure_memory: PressureMemory, 20.0, 10.0, Warning;
    /// Waiting for I/O.
    pressure_io: PressureIo, 40.0, 20.0, Info;
    /// 95th percentile of requests.
    latency: Latency, 100.0, 80.0, Warning;
    /// Requests that were not answered with a result through no fault of the client.
    errors: Errors, 5.0, 1.0, Warning;
    /// Places of the queue that are taken.
    queue: Queue, 80.0, 50.0, Warning;
    /// The daemon is not ready.
    not_ready: NotReady, 50.0, 50.0, Critical;
    /// Restarts of rooms.
    restarts: Restarts, 2.0, 1.0, Warning;
    /// A quantised form that failed its qualification is served.
    quantized_unqualified: QuantizedUnqualified, 50.0, 50.0, Warning;
}

impl AlertsConfig {
    /// The rules in force, what they leave to `[alerts]` filled in.
    pub fn rules(&self) -> Rules {
        let or = |own: u32, common: u32| if own == 0 { common } else { own };
        let rule = |config: &RuleConfig| Rule {
            enabled: config.enabled,
            raise_above: config.raise_above,
            clear_below: config.clear_below,
            consecutive: or(config.consecutive, self.consecutive),
            clear_consecutive: or(config.clear_consecutive, self.clear_consecutive),
            severity: config.severity,
            grace: Duration::from_secs_f64(if config.grace_seconds == 0.0 {
                self.grace_seconds
            } else {
                config.grace_seconds
            }),
            missing: config.missing,
            steps: Steps { shed: config.shed_after, recycle: config.recycle_after, exit: config.exit_after },
        };
        self.rules.all().into_iter().map(|(name, config)| (name, rule(config))).collect()
    }

    /// How samples of this interval follow each other.
    pub fn pace(&self, monitor: &MonitorConfig) -> Pace {
        Pace::of(Duration::from_secs_f64(monitor.interval_seconds), Duration::from_secs_f64(self.repeat_seconds))
    }
}
