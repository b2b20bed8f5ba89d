//! What is measured of the box: names, helps and labels, and a sample put into them.
//!
//! A label names a core, a mount, a GPU or a sensor: things of which a box has few. What a box lacks has no line.

use prometheus::{Gauge, GaugeVec, Opts, Registry};

use super::register;
use crate::core::observe::{Service, gpu_memory_percent};
use crate::core::sample::{ResourcePressure, Sample, Scope};

/// The gauges of the box.
#[derive(Clone)]
pub struct BoxMetrics {
    cpu: Gauge,
    core: GaugeVec,
    load: GaugeVec,
    memory: Gauge,
    memory_total: Gauge,
    swap: Gauge,
    swap_total: Gauge,
    disk_used: GaugeVec,
    disk_total: GaugeVec,
    disk_inodes: GaugeVec,
    gpu_usage: GaugeVec,
    gpu_memory: GaugeVec,
    gpu_memory_percent: GaugeVec,
    gpu_temperature: GaugeVec,
    gpu_power: GaugeVec,
    pressure: GaugeVec,
    temperature: GaugeVec,
    cgroup_memory_limit: Gauge,
    cgroup_cpu_limit: Gauge,
    cgroup_oom_kills: Gauge,
    scope: GaugeVec,
    requests_per_second: Gauge,
}

impl BoxMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<BoxMetrics> {
        let one = |name: &str, help: &str| register(registry, Gauge::with_opts(Opts::new(name, help))?);
        let by =
            |name: &str, help: &str, labels: &[&str]| register(registry, GaugeVec::new(Opts::new(name, help), labels)?);
        Ok(BoxMetrics {
            cpu: one("cpu_usage_percent", "CPU in use over the last interval, of what the box or container may use.")?,
            core: by("cpu_core_usage_percent", "A core in use over the last interval.", &["core"])?,
            load: by("cpu_load_tasks", "Runnable tasks, averaged.", &["over"])?,
            memory: one("memory_usage_bytes", "Memory in use, of the box or container.")?,
            memory_total: one("memory_total_bytes", "Memory that the box or container may use.")?,
            swap: one("swap_usage_bytes", "Swap in use.")?,
            swap_total: one("swap_total_bytes", "Swap that there is.")?,
            disk_used: by("disk_usage_bytes", "Bytes in use of a mount.", &["mount"])?,
            disk_total: by("disk_total_bytes", "Size of a mount.", &["mount"])?,
            disk_inodes: by("disk_inodes_usage_percent", "Inodes in use of a mount.", &["mount"])?,
            gpu_usage: by("gpu_usage_percent", "Time in which a GPU was at work.", &["gpu"])?,
            gpu_memory: by("gpu_memory_usage_bytes", "Memory in use of a GPU.", &["gpu"])?,
            gpu_memory_percent: by("gpu_memory_usage_percent", "Memory in use of a GPU.", &["gpu"])?,
            gpu_temperature: by("gpu_temperature_celsius", "Temperature of a GPU.", &["gpu"])?,
            gpu_power: by("gpu_power_watts", "Power that a GPU draws.", &["gpu"])?,
            pressure: by(
                "pressure_stall_percent",
                "Time in which some or all tasks waited for a resource, over ten seconds.",
                &["resource", "kind"],
            )?,
            temperature: by("temperature_celsius", "Temperature of a sensor.", &["sensor"])?,
            cgroup_memory_limit: one(
                "cgroup_memory_limit_bytes",
                "Memory that the control group allows; 0: no limit.",
            )?,
            cgroup_cpu_limit: one("cgroup_cpu_limit_cores", "Cores that the control group allows; 0: no limit.")?,
            cgroup_oom_kills: one("cgroup_oom_kills", "Processes of the control group killed for want of memory.")?,
            scope: by(
                "resource_scope",
                "1 for whose figures these are: the box's or the container's.",
                &["resource", "scope"],
            )?,
            requests_per_second: one("inference_requests_per_second", "Requests a second over the last interval.")?,
        })
    }

    /// Puts one sample in the place of the one before.
    pub(super) fn observe(&self, sample: &Sample, service: &Service) {
        self.requests_per_second.set(service.requests_per_second);
        if let Some(cpu) = &sample.cpu {
            self.cpu.set(cpu.usage_percent.unwrap_or(0.0));
            self.say_scope("cpu", cpu.scope);
            for core in &cpu.per_core {
                self.core.with_label_values(&[core.index.to_string()]).set(core.usage_percent);
            }
            for (over, load) in [("1m", cpu.load_1m), ("5m", cpu.load_5m), ("15m", cpu.load_15m)] {
                set(&self.load, &[over], load);
            }
        }
        if let Some(memory) = &sample.memory {
            self.memory.set(memory.used_bytes as f64);
            self.say_scope("memory", memory.scope);
            self.memory_total.set(memory.total_bytes as f64);
        }
        if let Some(swap) = &sample.swap {
            self.swap.set(swap.used_bytes as f64);
            self.swap_total.set(swap.total_bytes as f64);
        }
        self.disks(sample);
        self.gpus(sample);
        self.rest(sample);
    }

    fn say_scope(&self, resource: &str, now: Scope) {
        for scope in [Scope::Box, Scope::Container] {
            self.scope.with_label_values(&[resource, scope.name()]).set(f64::from(u8::from(scope == now)));
        }
    }

    fn disks(&self, sample: &Sample) {
        // A mount that has gone takes its lines with it.
        for vec in [&self.disk_used, &self.disk_total, &self.disk_inodes] {
            vec.reset();
        }
        for disk in &sample.disks {
            let mount = [disk.mount.as_str()];
            self.disk_used.with_label_values(&mount).set(disk.used_bytes as f64);
            self.disk_total.with_label_values(&mount).set(disk.total_bytes as f64);
            set(&self.disk_inodes, &mount, disk.used_inodes_percent);
        }
    }

    fn gpus(&self, sample: &Sample) {
        for gpu in &sample.gpus {
            let index = gpu.index.to_string();
            let index = [index.as_str()];
            set(&self.gpu_usage, &index, gpu.usage_percent);
            set(&self.gpu_memory, &index, gpu.memory_used_bytes.map(|bytes| bytes as f64));
            set(&self.gpu_memory_percent, &index, gpu_memory_percent(gpu));
            set(&self.gpu_temperature, &index, gpu.temperature_celsius);
            set(&self.gpu_power, &index, gpu.power_watts);
        }
    }

    fn rest(&self, sample: &Sample) {
        let pressure = sample.pressure.unwrap_or_default();
        let resources = [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)];
        for (resource, figures) in resources {
            let ResourcePressure { some, full, .. } = figures.unwrap_or_default();
            set(&self.pressure, &[resource, "some"], some.map(|stall| stall.avg10_percent));
            set(&self.pressure, &[resource, "full"], full.map(|stall| stall.avg10_percent));
        }
        self.temperature.reset();
        for temperature in &sample.temperatures {
            self.temperature.with_label_values(&[temperature.sensor.as_str()]).set(temperature.temperature_celsius);
        }
        if let Some(cgroup) = &sample.cgroup {
            self.cgroup_memory_limit.set(cgroup.memory_limit_bytes.unwrap_or(0) as f64);
            self.cgroup_cpu_limit.set(cgroup.cpu_limit_cores.unwrap_or(0.0));
            self.cgroup_oom_kills.set(cgroup.oom_kills.unwrap_or(0) as f64);
        }
    }
}

fn set(gauges: &GaugeVec, labels: &[&str], value: Option<f64>) {
    if let Some(value) = value {
        gauges.with_label_values(labels).set(value);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::sample::{Cgroup, Core, Cpu, Disk, Gpu, Memory, Pressure, Stall, Swap, Temperature};

    pub fn one_of_everything() -> Sample {
        let load = Some(1.0);
        let pressure = ResourcePressure { some: Some(Stall::default()), ..ResourcePressure::default() };
        Sample {
            cpu: Some(Cpu { per_core: vec![Core::default()], load_1m: load, ..Cpu::default() }),
            memory: Some(Memory::default()),
            swap: Some(Swap::default()),
            disks: vec![Disk { used_inodes_percent: Some(1.0), ..Disk::default() }],
            gpus: vec![Gpu {
                usage_percent: Some(1.0),
                memory_total_bytes: Some(2),
                memory_used_bytes: Some(1),
                temperature_celsius: Some(50.0),
                power_watts: Some(10.0),
                ..Gpu::default()
            }],
            pressure: Some(Pressure { cpu: Some(pressure), ..Pressure::default() }),
            temperatures: vec![Temperature::default()],
            process: None,
            cgroup: Some(Cgroup::default()),
        }
    }

    #[test]
    fn a_mount_that_has_gone_takes_its_lines_with_it() {
        let metrics = BoxMetrics::new(&Registry::new()).unwrap();
        let disk = |mount: &str| Disk { mount: mount.to_owned(), used_bytes: 7, ..Disk::default() };
        let both = Sample { disks: vec![disk("/"), disk("/usb")], ..Sample::default() };
        metrics.observe(&both, &Service::default());
        metrics.observe(&Sample { disks: vec![disk("/")], ..Sample::default() }, &Service::default());
        let lines = prometheus::core::Collector::collect(&metrics.disk_used);
        assert_eq!(lines[0].get_metric().len(), 1);
    }
}
