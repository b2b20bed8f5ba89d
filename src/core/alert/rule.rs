//! Rules: what is watched, and when it is trouble.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ladder::Steps;

/// What a rule watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleName {
    /// CPU in use, percent of what the box or the container may use.
    Cpu,
    /// Memory in use, percent.
    Memory,
    /// Swap in use, percent.
    Swap,
    /// Bytes or inodes in use of a mount, percent, whichever is more.
    Disk,
    /// Memory in use of a GPU, percent.
    GpuMemory,
    /// Temperature of a GPU, degrees Celsius.
    GpuTemperature,
    /// Temperature of a sensor, degrees Celsius.
    Temperature,
    /// Time in which some task waited for a CPU, percent over ten seconds.
    PressureCpu,
    /// The same for memory.
    PressureMemory,
    /// The same for I/O.
    PressureIo,
    /// 95th percentile of the requests since the last sample, milliseconds.
    Latency,
    /// Requests since the last sample that failed, expired or were refused, percent.
    Errors,
    /// Places of the queue that are taken, percent.
    Queue,
    /// 100 while the daemon is not ready, else 0.
    NotReady,
    /// Restarts of rooms within the restart window.
    Restarts,
    /// 100 while a quantised form is served that failed its qualification, else 0.
    QuantizedUnqualified,
}

impl RuleName {
    /// Every rule, in the order in which they are shown.
    pub const ALL: [RuleName; 16] = [
        RuleName::Cpu,
        RuleName::Memory,
        RuleName::Swap,
        RuleName::Disk,
        RuleName::GpuMemory,
        RuleName::GpuTemperature,
        RuleName::Temperature,
        RuleName::PressureCpu,
        RuleName::PressureMemory,
        RuleName::PressureIo,
        RuleName::Latency,
        RuleName::Errors,
        RuleName::Queue,
        RuleName::NotReady,
        RuleName::Restarts,
        RuleName::QuantizedUnqualified,
    ];

    /// The word for configuration, logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            RuleName::Cpu => "cpu",
            RuleName::Memory => "memory",
            RuleName::Swap => "swap",
            RuleName::Disk => "disk",
            RuleName::GpuMemory => "gpu_memory",
            RuleName::GpuTemperature => "gpu_temperature",
            RuleName::Temperature => "temperature",
            RuleName::PressureCpu => "pressure_cpu",
            RuleName::PressureMemory => "pressure_memory",
            RuleName::PressureIo => "pressure_io",
            RuleName::Latency => "latency",
            RuleName::Errors => "errors",
            RuleName::Queue => "queue",
            RuleName::NotReady => "not_ready",
            RuleName::Restarts => "restarts",
            RuleName::QuantizedUnqualified => "quantized_unqualified",
        }
    }

    /// The unit of its values and thresholds.
    pub fn unit(self) -> &'static str {
        match self {
            RuleName::GpuTemperature | RuleName::Temperature => "celsius",
            RuleName::Latency => "ms",
            RuleName::Restarts => "restarts",
            _ => "percent",
        }
    }

    /// Whether its values end at 100.
    pub fn is_percent(self) -> bool {
        self.unit() == "percent"
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look in working hours.
    #[default]
    Warning,
    /// Worth a look now.
    Critical,
}

impl Severity {
    /// The word for configuration, logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// What a sample without a value means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Nothing: counts stay as they are.
    #[default]
    Ignore,
    /// That all is well.
    Clear,
    /// That there is trouble.
    Breach,
}

/// When one thing is trouble.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Whether it is watched.
    pub enabled: bool,
    /// A value above this is a breach.
    pub raise_above: f64,
    /// A value below this is well again; between the two nothing changes.
    pub clear_below: f64,
    /// Breaches in a row that fire; at least 1.
    pub consecutive: u32,
    /// Good values in a row that resolve; at least 1.
    pub clear_consecutive: u32,
    /// How bad it is.
    pub severity: Severity,
    /// Time after the start in which nothing is counted.
    pub grace: Duration,
    /// What a sample without a value means.
    pub missing: Missing,
    /// What is done beside saying so.
    pub steps: Steps,
}

/// All rules.
pub type Rules = BTreeMap<RuleName, Rule>;
