//! From a sample of the box and the daemon's own figures to the values that rules watch.

use serde::Serialize;

use super::alert::{Key, RuleName};
use super::recorder::Traffic;
use super::sample::{Disk, Gpu, ResourcePressure, Sample, percent_of};

/// The daemon's own figures at one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Service {
    /// Requests since the tick before.
    pub traffic: Traffic,
    /// Requests a second since the tick before.
    pub requests_per_second: f64,
    /// Requests that wait for the engine.
    pub queue_waiting: usize,
    /// How many may.
    pub queue_limit: usize,
    /// Whether the daemon is ready.
    pub ready: bool,
    /// Restarts of rooms within the restart window.
    pub restarts: u32,
    /// Whether a quantised form that is served whatever it does failed its qualification; none where none is.
    pub quantized_unqualified: Option<bool>,
}

/// One value a rule and instance; `None` where this box has such a thing and it gave no value.
pub fn values(sample: &Sample, service: &Service) -> Vec<(Key, Option<f64>)> {
    let mut values = vec![
        one(RuleName::Cpu, sample.cpu.as_ref().and_then(|cpu| cpu.usage_percent)),
        one(RuleName::Memory, sample.memory.map(|memory| memory.used_percent)),
        one(RuleName::Latency, service.traffic.p95_ms),
        one(RuleName::Errors, service.traffic.errors_percent()),
        one(RuleName::Queue, Some(percent_of(service.queue_waiting as u64, service.queue_limit as u64))),
        one(RuleName::NotReady, Some(if service.ready { 0.0 } else { 100.0 })),
        one(RuleName::Restarts, Some(f64::from(service.restarts))),
    ];
    if let Some(failed) = service.quantized_unqualified {
        values.push(one(RuleName::QuantizedUnqualified, Some(if failed { 100.0 } else { 0.0 })));
    }
    if let Some(swap) = sample.swap.filter(|swap| swap.total_bytes > 0) {
        values.push(one(RuleName::Swap, Some(swap.used_percent)));
    }
    for disk in sample.disks.iter().filter(|disk| !disk.read_only) {
        values.push(of(RuleName::Disk, &disk.mount, Some(fullest(disk))));
    }
    for gpu in &sample.gpus {
        let name = gpu.index.to_string();
        values.push(of(RuleName::GpuMemory, &name, gpu_memory_percent(gpu)));
        values.push(of(RuleName::GpuTemperature, &name, gpu.temperature_celsius));
    }
    for temperature in &sample.temperatures {
        values.push(of(RuleName::Temperature, &temperature.sensor, Some(temperature.temperature_celsius)));
    }
    if let Some(pressure) = &sample.pressure {
        let some = |pressure: Option<ResourcePressure>| Some(pressure?.some?.avg10_percent);
        values.push(one(RuleName::PressureCpu, some(pressure.cpu)));
        values.push(one(RuleName::PressureMemory, some(pressure.memory)));
        values.push(one(RuleName::PressureIo, some(pressure.io)));
    }
    values
}

/// The rules whose instances are known only while this probe brings its figures.
pub fn watched_through(probe: &str) -> &'static [RuleName] {
    match probe {
        "disk" | "disk_remote" => &[RuleName::Disk],
        "gpu" => &[RuleName::GpuMemory, RuleName::GpuTemperature],
        "temperature" => &[RuleName::Temperature],
        "pressure" => &[RuleName::PressureCpu, RuleName::PressureMemory, RuleName::PressureIo],
        "memory" => &[RuleName::Swap],
        _ => &[],
    }
}

/// Bytes or inodes in use, whichever is more, in percent.
pub fn fullest(disk: &Disk) -> f64 {
    disk.used_percent.max(disk.used_inodes_percent.unwrap_or(0.0))
}

/// Memory in use of a GPU, in percent, where the driver tells both figures.
pub fn gpu_memory_percent(gpu: &Gpu) -> Option<f64> {
    Some(percent_of(gpu.memory_used_bytes?, gpu.memory_total_bytes?))
}

fn one(rule: RuleName, value: Option<f64>) -> (Key, Option<f64>) {
    of(rule, "", value)
}

fn of(rule: RuleName, instance: &str, value: Option<f64>) -> (Key, Option<f64>) {
    (Key { rule, instance: instance.to_owned() }, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sample::{Memory, Swap};

    #[test]
    fn each_mount_is_watched_by_itself_and_by_what_it_lacks_first() {
        let disk = |mount: &str, bytes, inodes| Disk {
            mount: mount.to_owned(),
            used_percent: bytes,
            used_inodes_percent: inodes,
            ..Disk::default()
        };
        let sample =
            Sample { disks: vec![disk("/", 40.0, Some(95.0)), disk("/data", 70.0, None)], ..Sample::default() };
        let values = values(&sample, &Service::default());
        let disks: Vec<_> = values.iter().filter(|(key, _)| key.rule == RuleName::Disk).collect();
        assert_eq!(disks[0], &of(RuleName::Disk, "/", Some(95.0)));
        assert_eq!(disks[1], &of(RuleName::Disk, "/data", Some(70.0)));
    }

    #[test]
    fn what_a_box_lacks_is_not_watched() {
        let sample = Sample {
            memory: Some(Memory { used_percent: 91.0, ..Memory::default() }),
            swap: Some(Swap::default()),
            ..Sample::default()
        };
        let values = values(&sample, &Service { ready: true, ..Service::default() });
        let has = |rule| values.iter().any(|(key, _)| key.rule == rule);
        assert!(values.contains(&one(RuleName::Memory, Some(91.0))));
        assert!(values.contains(&one(RuleName::NotReady, Some(0.0))));
        assert!(!has(RuleName::Swap) && !has(RuleName::GpuMemory) && !has(RuleName::PressureIo));
    }
}
