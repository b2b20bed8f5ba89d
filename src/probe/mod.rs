//! Probes: each reads one thing of the box, and may block while it does.
//!
//! One file a probe behind [`Probe`]; [`runner`] gives each a thread, so that one that hangs delays no other. No probe
//! knows of actors, HTTP or the others.
//!
//! The probes read `/proc` and `/sys` themselves rather than through a crate such as `sysinfo`: a folder can stand in the place of
//! `/` in tests, the figures are those of an interval that the probe chooses, container limits are read where the kernel
//! keeps them, and a tick costs a few reads into a buffer that is kept. The tests hold the figures against `sysinfo`'s.
//! Every text is read by a pure function that takes whatever there is and never panics.

use std::path::PathBuf;

use crate::core::sample::Reading;

mod cgroup;
mod cpu;
mod disk;
#[cfg(test)]
mod fake;
mod files;
mod gpu;
mod group;
mod locate;
mod memory;
mod mounts;
mod nvml;
mod platform;
mod pressure;
mod process;
pub mod runner;
mod temperature;
#[cfg(test)]
mod tests;

/// Reads one thing of the box.
pub trait Probe: Send {
    /// The word for logs and labels.
    fn name(&self) -> &'static str;

    /// Reads now; may block. Figures of an interval are those since the call before.
    ///
    /// # Errors
    /// The box has no such thing, or it could not be read.
    fn read(&mut self) -> Result<Reading, ProbeError>;
}

/// Why there is no reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// This box has none: no failure, and worth saying once.
    #[error("{0}")]
    Absent(String),
    /// It should be there and could not be read.
    #[error("{0}")]
    Failed(String),
}

/// What the probes look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// The folder that holds `proc` and `sys`: `/`, or a tree of a test.
    pub root: PathBuf,
    /// The mount points to watch; empty for every file system that holds data.
    pub mounts: Vec<String>,
}

impl Default for ProbeOptions {
    fn default() -> ProbeOptions {
        ProbeOptions { root: PathBuf::from("/"), mounts: Vec::new() }
    }
}

/// Every probe there is. File systems served by another machine have a probe of their own (`disk_remote`), so that one of
/// them that hangs hides no local one.
pub fn all(options: &ProbeOptions) -> Vec<Box<dyn Probe>> {
    vec![
        Box::new(cpu::CpuProbe::new(options)),
        Box::new(memory::MemoryProbe::new(options)),
        Box::new(disk::DiskProbe::new(options, disk::Kind::Local)),
        Box::new(disk::DiskProbe::new(options, disk::Kind::Remote)),
        Box::new(gpu::GpuProbe::new(Box::new(nvml::load))),
        Box::new(pressure::PressureProbe::new(options)),
        Box::new(temperature::TemperatureProbe::new(options)),
        Box::new(process::ProcessProbe::new(options)),
        Box::new(cgroup::CgroupProbe::new(options)),
    ]
}
