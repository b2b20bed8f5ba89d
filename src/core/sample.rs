//! What was measured of the box at one tick, as plain data.
//!
//! Every figure that a box may lack is an `Option`: absent is not zero. Percentages run from 0 to 100; a figure whose
//! interval has no beginning yet (the first reading after a start) is absent too.

use serde::Serialize;

/// Whose figures these are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole box.
    #[default]
    Box,
    /// The control group that the daemon runs in, relative to that group's limit.
    Container,
}

impl Scope {
    /// The word for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Box => "box",
            Scope::Container => "container",
        }
    }
}

/// One core of the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Core {
    /// The kernel's number of the core.
    pub index: u32,
    /// Time that the core was busy, of the interval since the reading before.
    pub usage_percent: f64,
}

/// The processors.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Whose `usage_percent` this is. Cores and load are always the box's.
    pub scope: Scope,
    /// Time used of the time there was, over the interval since the reading before. 100 is every core of the box, or the
    /// whole of the container's limit.
    pub usage_percent: Option<f64>,
    /// What 100 percent is, in cores: those of the box, or the container's limit.
    pub cores: f64,
    /// Each core that may be used; empty at the first reading.
    pub per_core: Vec<Core>,
    /// Runnable and uninterruptible tasks, averaged over a minute (`/proc/loadavg`).
    pub load_1m: Option<f64>,
    /// The same over 5 minutes.
    pub load_5m: Option<f64>,
    /// The same over 15 minutes.
    pub load_15m: Option<f64>,
}

/// Main memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Whose figures these are.
    pub scope: Scope,
    /// Of the box, or the container's limit.
    pub total_bytes: u64,
    /// What cannot be taken back by dropping caches.
    pub used_bytes: u64,
    /// What can still be had without swapping.
    pub available_bytes: u64,
    /// `used_bytes` of `total_bytes`.
    pub used_percent: f64,
}

/// Swap space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Swap {
    /// Whose figures these are.
    pub scope: Scope,
    /// Of the box, or the container's limit; 0 where there is none.
    pub total_bytes: u64,
    /// Taken.
    pub used_bytes: u64,
    /// `used_bytes` of `total_bytes`; 0 where there is none.
    pub used_percent: f64,
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Disk {
    /// Where it is mounted.
    pub mount: String,
    /// What is mounted there.
    pub device: String,
    /// The file system's type, as the kernel names it.
    pub file_system: String,
    /// Whether another machine or process serves it, so that it may hang.
    pub remote: bool,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Its size.
    pub total_bytes: u64,
    /// Taken.
    pub used_bytes: u64,
    /// Free for users other than root.
    pub available_bytes: u64,
    /// `used_bytes` of `used_bytes` and `available_bytes`, which is what `df` shows.
    pub used_percent: f64,
    /// Files there may be; absent where the file system does not count them.
    pub total_inodes: Option<u64>,
    /// Files there may still be.
    pub available_inodes: Option<u64>,
    /// Taken inodes of all.
    pub used_inodes_percent: Option<f64>,
}

/// A graphics processor.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gpu {
    /// The driver's number.
    pub index: u32,
    /// The product's name; empty where the driver does not say.
    pub name: String,
    /// Time that a kernel was running, over the driver's own sample period (1/6 s to 1 s).
    pub usage_percent: Option<f64>,
    /// Its memory.
    pub memory_total_bytes: Option<u64>,
    /// Taken of its memory.
    pub memory_used_bytes: Option<u64>,
    /// Of the die.
    pub temperature_celsius: Option<f64>,
    /// Drawn now.
    pub power_watts: Option<f64>,
    /// Where the driver throttles.
    pub power_limit_watts: Option<f64>,
}

/// Time in which tasks stood still for want of one resource (the kernel's `Documentation/accounting/psi.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    /// Of the last 10 seconds.
    pub avg10_percent: f64,
    /// Of the last minute.
    pub avg60_percent: f64,
    /// Of the last 5 minutes.
    pub avg300_percent: f64,
    /// Since the start of the box or group.
    pub total_microseconds: u64,
}

/// Pressure on one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ResourcePressure {
    /// Whose figures these are.
    pub scope: Scope,
    /// At least one task stood still.
    pub some: Option<Stall>,
    /// Every task stood still. Absent for the CPU on kernels before 5.13.
    pub full: Option<Stall>,
}

/// Pressure stall information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Waiting for a core.
    pub cpu: Option<ResourcePressure>,
    /// Waiting for memory.
    pub memory: Option<ResourcePressure>,
    /// Waiting for disks.
    pub io: Option<ResourcePressure>,
}

/// A temperature sensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Temperature {
    /// The chip and its label, or the thermal zone's type; unique in a sample.
    pub sensor: String,
    /// What it shows.
    pub temperature_celsius: f64,
    /// Where the maker says that damage or an emergency stop begins.
    pub critical_celsius: Option<f64>,
}

/// This process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Process {
    /// Memory held in RAM.
    pub resident_bytes: u64,
    /// Time used over the interval since the reading before; 100 is one core, so that it may be more than 100.
    pub cpu_percent: Option<f64>,
    /// Time used since the start.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// How many may be open.
    pub max_fds: Option<u64>,
}

/// Which hierarchies of control groups the kernel shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    /// One hierarchy a controller.
    V1,
    /// Controllers as in version 1, and the unified hierarchy beside them.
    Hybrid,
    /// The unified hierarchy.
    #[default]
    V2,
}

/// The control group that the daemon runs in. A limit is absent where there is none; that of a group above counts
/// where it is lower.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cgroup {
    /// Which hierarchies there are.
    pub version: CgroupVersion,
    /// The group's path in the hierarchy that limits memory.
    pub path: String,
    /// Memory that the group may hold.
    pub memory_limit_bytes: Option<u64>,
    /// Memory that the limited group holds, caches included.
    pub memory_used_bytes: Option<u64>,
    /// CPU time a second that the group may use, in cores: quota by period.
    pub cpu_limit_cores: Option<f64>,
    /// Cores on which the group may run, where they are fewer than the box's.
    pub cpuset_cores: Option<u32>,
    /// Time for which the group was held back by its quota, since the group was made.
    pub throttled_seconds: Option<f64>,
    /// Tasks that the group may hold.
    pub pids_limit: Option<u64>,
    /// Tasks that the limited group holds.
    pub pids_used: Option<u64>,
    /// Processes of the group that were killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// What one probe brings back.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// The processors.
    Cpu(Cpu),
    /// Main memory and swap space.
    Memory {
        /// Main memory.
        memory: Memory,
        /// Swap space.
        swap: Swap,
    },
    /// File systems, all local or all remote.
    Disks {
        /// Which of the two.
        remote: bool,
        /// All of that kind.
        disks: Vec<Disk>,
    },
    /// Graphics processors.
    Gpus(Vec<Gpu>),
    /// Pressure stall information.
    Pressure(Pressure),
    /// Temperature sensors.
    Temperatures(Vec<Temperature>),
    /// This process.
    Process(Process),
    /// The control group.
    Cgroup(Cgroup),
}

/// The box at one tick; what no probe brought is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// The processors.
    pub cpu: Option<Cpu>,
    /// Main memory.
    pub memory: Option<Memory>,
    /// Swap space.
    pub swap: Option<Swap>,
    /// Mounted file systems.
    pub disks: Vec<Disk>,
    /// Graphics processors.
    pub gpus: Vec<Gpu>,
    /// Pressure stall information.
    pub pressure: Option<Pressure>,
    /// Temperature sensors.
    pub temperatures: Vec<Temperature>,
    /// This process.
    pub process: Option<Process>,
    /// The control group.
    pub cgroup: Option<Cgroup>,
}

impl Sample {
    /// Takes in what one probe brought, in the place of what was there of its kind.
    pub fn merge(&mut self, reading: Reading) {
        match reading {
            Reading::Cpu(cpu) => self.cpu = Some(cpu),
            Reading::Memory { memory, swap } => {
                self.memory = Some(memory);
                self.swap = Some(swap);
            }
            Reading::Disks { remote, disks } => {
                self.disks.retain(|disk| disk.remote != remote);
                self.disks.extend(disks);
            }
            Reading::Gpus(gpus) => self.gpus = gpus,
            Reading::Pressure(pressure) => self.pressure = Some(pressure),
            Reading::Temperatures(temperatures) => self.temperatures = temperatures,
            Reading::Process(process) => self.process = Some(process),
            Reading::Cgroup(cgroup) => self.cgroup = Some(cgroup),
        }
    }
}

/// `part` of `whole` in percent, from 0 to 100; 0 of nothing.
pub fn percent_of(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64 * 100.0).clamp(0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(mount: &str, remote: bool) -> Disk {
        Disk { mount: mount.to_owned(), remote, ..Disk::default() }
    }

    #[test]
    fn local_and_remote_disks_replace_only_their_own_kind() {
        let mut sample = Sample::default();
        sample.merge(Reading::Disks { remote: true, disks: vec![disk("/net", true)] });
        sample.merge(Reading::Disks { remote: false, disks: vec![disk("/", false), disk("/usb", false)] });
        sample.merge(Reading::Disks { remote: false, disks: vec![disk("/", false)] });
        let mounts: Vec<&str> = sample.disks.iter().map(|disk| disk.mount.as_str()).collect();
        assert_eq!(mounts, ["/net", "/"]);
    }

    #[test]
    fn the_scope_is_a_word_and_what_is_absent_is_null() {
        let mut sample = Sample::default();
        let memory = Memory { scope: Scope::Container, ..Memory::default() };
        sample.merge(Reading::Memory { memory, swap: Swap::default() });
        let json = serde_json::to_value(&sample).unwrap();
        assert_eq!(json["memory"]["scope"], "container");
        assert_eq!(json["swap"]["scope"], "box");
        assert!(json["cpu"].is_null());
        assert_eq!(json["gpus"], serde_json::json!([]));
    }

    #[test]
    fn a_percentage_is_never_out_of_range() {
        for (part, whole, percent) in
            [(1, 4, 25.0), (5, 4, 100.0), (0, 0, 0.0), (7, 0, 0.0), (u64::MAX, u64::MAX, 100.0)]
        {
            assert_eq!(percent_of(part, whole), percent, "{part} of {whole}");
        }
    }
}
