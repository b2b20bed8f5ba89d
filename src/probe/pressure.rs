//! Pressure stall information: `/proc/pressure`, or the control group's own where the group is limited.
//!
//! A group that reaches its memory limit stalls though the box has memory left, so that a limited resource's pressure is
//! read where the limit stands (`Documentation/accounting/psi.rst`, "Cgroup2 interface"). Version 1 has no such files.

use std::io;

use super::files::Files;
use super::group::Groups;
use super::{Probe, ProbeError, ProbeOptions};
use crate::core::sample::{Pressure, Reading, ResourcePressure, Scope, Stall};

/// Reads pressure.
pub struct PressureProbe {
    files: Files,
    groups: Groups,
}

impl PressureProbe {
    /// Reads below `options.root`.
    pub fn new(options: &ProbeOptions) -> PressureProbe {
        PressureProbe { files: Files::new(&options.root), groups: Groups::new(options) }
    }

    fn of_box(&mut self, resource: &str) -> io::Result<ResourcePressure> {
        let text = self.files.read(&format!("/proc/pressure/{resource}"))?;
        Ok(parse_pressure(&text, Scope::Box))
    }

    fn of_group(&mut self, resource: &str, level: &str) -> Option<ResourcePressure> {
        let text = self.files.read(&format!("{level}/{resource}.pressure")).ok()?;
        Some(parse_pressure(&text, Scope::Container)).filter(|pressure| pressure.some.is_some())
    }
}

impl Probe for PressureProbe {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        let located = self.groups.located();
        let (cpu_unified, memory_unified) = located.map_or((false, false), |located| {
            let unified = |hierarchy: &Option<_>| {
                hierarchy.as_ref().is_some_and(|found: &super::locate::Hierarchy| found.unified)
            };
            (unified(&located.cpu), unified(&located.memory))
        });
        let cpu_limit = if cpu_unified { self.groups.cpu_quota().map(|limit| limit.level) } else { None };
        let memory_limit = if memory_unified { self.groups.memory_limit().map(|limit| limit.level) } else { None };
        let mut failure = None;
        let mut resource = |name: &str, level: Option<String>| {
            if let Some(found) = level.and_then(|level| self.of_group(name, &level)) {
                return Some(found);
            }
            match self.of_box(name) {
                Ok(pressure) => Some(pressure).filter(|pressure| pressure.some.is_some() || pressure.full.is_some()),
                Err(error) if is_absent(&error) => None,
                Err(error) => {
                    failure = Some(format!("/proc/pressure/{name} could not be read: {error}"));
                    None
                }
            }
        };
        let pressure = Pressure {
            cpu: resource("cpu", cpu_limit),
            memory: resource("memory", memory_limit),
            io: resource("io", None),
        };
        match failure {
            _ if pressure != Pressure::default() => Ok(Reading::Pressure(pressure)),
            Some(failure) => Err(ProbeError::Failed(failure)),
            None => Err(ProbeError::Absent("the kernel gives no pressure stall information".to_owned())),
        }
    }
}

/// A kernel that has the code but was started with `psi=0` shows the files and refuses to have them read.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same for `full`.
fn parse_pressure(text: &str, scope: Scope) -> ResourcePressure {
    let mut pressure = ResourcePressure { scope, some: None, full: None };
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("some", rest)) => pressure.some = parse_stall(rest),
            Some(("full", rest)) => pressure.full = parse_stall(rest),
            _ => {}
        }
    }
    pressure
}

fn parse_stall(fields: &str) -> Option<Stall> {
    let value =
        |name: &str| fields.split_ascii_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let percent = |name: &str| {
        let percent = value(name)?.parse::<f64>().ok().filter(|percent| percent.is_finite())?;
        Some(percent.clamp(0.0, 100.0))
    };
    Some(Stall {
        avg10_percent: percent("avg10")?,
        avg60_percent: percent("avg60")?,
        avg300_percent: percent("avg300")?,
        total_microseconds: value("total")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe::fake::{self, Tree};

    const TEXT: &str =
        "some avg10=0.54 avg60=1.88 avg300=7.83 total=1080901003\nfull avg10=0.00 avg60=0.10 avg300=0.20 total=9\n";

    fn read(tree: &Tree) -> Result<Pressure, ProbeError> {
        PressureProbe::new(&tree.options()).read().map(|reading| match reading {
            Reading::Pressure(pressure) => pressure,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn some_and_full_of_three_resources() {
        let tree = Tree::new();
        tree.write("proc/pressure/cpu", TEXT.lines().next().unwrap());
        tree.write("proc/pressure/memory", TEXT);
        let pressure = read(&tree).unwrap();
        let memory = pressure.memory.unwrap();
        let some =
            Stall { avg10_percent: 0.54, avg60_percent: 1.88, avg300_percent: 7.83, total_microseconds: 1_080_901_003 };
        assert_eq!((memory.scope, memory.some), (Scope::Box, Some(some)));
        assert_eq!(memory.full.unwrap().total_microseconds, 9);
        assert_eq!(pressure.cpu.unwrap().full, None, "older kernels have none for the CPU");
        assert_eq!(pressure.io, None);
    }

    #[test]
    fn no_pressure_files_is_absent_and_unreadable_ones_fail() {
        let tree = Tree::new();
        assert!(matches!(read(&tree), Err(ProbeError::Absent(_))));
        tree.write("proc/pressure/cpu/folder", "");
        assert!(matches!(read(&tree), Err(ProbeError::Failed(_))));
        tree.write("proc/pressure/io", "");
        assert!(matches!(read(&tree), Err(ProbeError::Failed(_))), "an empty file says nothing");
        tree.write("proc/pressure/io", TEXT);
        assert!(read(&tree).is_ok(), "one that can be read is enough");
    }

    #[test]
    fn a_limited_groups_own_pressure_counts() {
        let tree = Tree::new();
        fake::version_2(&tree, "box");
        for resource in ["cpu", "memory", "io"] {
            tree.write(&format!("proc/pressure/{resource}"), TEXT);
            tree.write(&format!("sys/fs/cgroup/box/{resource}.pressure"), &TEXT.replace("0.54", "54.0"));
        }
        tree.write("sys/fs/cgroup/box/memory.max", "1000\n");
        let pressure = read(&tree).unwrap();
        let memory = pressure.memory.unwrap();
        assert_eq!((memory.scope, memory.some.unwrap().avg10_percent), (Scope::Container, 54.0));
        assert_eq!(pressure.cpu.unwrap().scope, Scope::Box);
        assert_eq!(pressure.io.unwrap().scope, Scope::Box);
    }

    #[test]
    fn odd_texts() {
        for text in [
            "",
            "some",
            "some avg10=1",
            "some avg10=x avg60=1 avg300=1 total=1",
            "none avg10=0 avg60=0 avg300=0 total=0",
        ] {
            assert_eq!(parse_pressure(text, Scope::Box), ResourcePressure::default(), "{text:?}");
        }
        let odd = parse_pressure("some avg10=250 avg60=-3 avg300=0 total=1", Scope::Box).some.unwrap();
        assert_eq!((odd.avg10_percent, odd.avg60_percent), (100.0, 0.0));
        assert_eq!(parse_stall("avg10=NaN avg60=1 avg300=1 total=1"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "((some|full|\\PC{0,4}) (avg10|avg60|avg300|total)=?[0-9.]{0,30} ?\n?){0,9}") {
            parse_pressure(&text, Scope::Box);
        }
    }
}
