//! What the control group of this process allows it, for the probes that scale their figures by it.
//!
//! A limit may stand on any group from the process's own up to the top that is mounted. The lowest counts, and use is
//! that of the group on which it stands (`Documentation/admin-guide/cgroup-v2.rst`; for version 1
//! `Documentation/admin-guide/cgroup-v1/memory.rst` and `Documentation/scheduler/sched-bwc.rst`).

use std::path::PathBuf;

use super::ProbeOptions;
use super::files::Files;
use super::locate::{Located, locate};

/// After so many readings the place is looked for again: a service manager may have moved the process.
const RELOCATE_READINGS: u32 = 60;
/// Version 1 writes "no limit" as the largest number of pages that it can count, in bytes.
const NO_LIMIT_BYTES: u64 = 1 << 62;
/// Ranges of cores that are looked at; the kernel's own text has fewer.
const CORE_RANGES: usize = 1024;

/// A limit, and the folder of the group on which it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit<T> {
    /// How much.
    pub value: T,
    /// The group's folder.
    pub level: String,
}

/// Memory that the limited group holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupMemory {
    /// With caches.
    pub used_bytes: u64,
    /// Caches that were not read lately, which the kernel drops first.
    pub inactive_file_bytes: u64,
    /// Swap that the group may hold beside its memory, where that is limited.
    pub swap_limit_bytes: Option<u64>,
    /// Swap that it holds.
    pub swap_used_bytes: Option<u64>,
}

/// Reads the limits of the control group.
pub struct Groups {
    files: Files,
    located: Option<Located>,
    readings: u32,
}

impl Groups {
    /// The groups below `options.root`.
    pub fn new(options: &ProbeOptions) -> Groups {
        Groups { files: Files::new(&options.root), located: None, readings: 0 }
    }

    /// Begins a reading: where the process is now. None where the kernel shows no control groups.
    pub fn located(&mut self) -> Option<&Located> {
        if self.readings == 0 {
            let cgroup = self.files.read("/proc/self/cgroup").map(|text| text.into_owned()).unwrap_or_default();
            let mountinfo = self.files.read("/proc/self/mountinfo").unwrap_or_default();
            self.located = locate(&cgroup, &mountinfo);
        }
        self.readings = (self.readings + 1) % RELOCATE_READINGS;
        self.located.as_ref()
    }

    /// The lowest limit of memory in bytes.
    pub fn memory_limit(&mut self) -> Option<Limit<u64>> {
        let hierarchy = self.located.as_ref()?.memory.as_ref()?;
        let name = if hierarchy.unified { "memory.max" } else { "memory.limit_in_bytes" };
        lowest(&mut self.files, hierarchy.levels(), |files, level| {
            files.number(&files.path(&format!("{level}/{name}"))).filter(|limit| *limit < NO_LIMIT_BYTES)
        })
    }

    /// What the group at `level` holds.
    pub fn memory(&mut self, level: &str) -> Option<GroupMemory> {
        let unified = self.located.as_ref()?.memory.as_ref()?.unified;
        let [used, inactive, swap_limit, swap_used] = if unified {
            ["memory.current", "inactive_file", "memory.swap.max", "memory.swap.current"]
        } else {
            [
                "memory.usage_in_bytes",
                "total_inactive_file",
                "memory.memsw.limit_in_bytes",
                "memory.memsw.usage_in_bytes",
            ]
        };
        let used_bytes = self.number(level, used)?;
        let inactive_file_bytes = self.counter(level, "memory.stat", inactive).unwrap_or(0);
        let mut swap_limit_bytes = self.number(level, swap_limit).filter(|limit| *limit < NO_LIMIT_BYTES);
        let mut swap_used_bytes = self.number(level, swap_used);
        if !unified {
            // Version 1 counts memory and swap together.
            let limit = self.number(level, "memory.limit_in_bytes").unwrap_or(0);
            swap_limit_bytes = swap_limit_bytes.map(|both| both.saturating_sub(limit));
            swap_used_bytes = swap_used_bytes.map(|both| both.saturating_sub(used_bytes));
        }
        Some(GroupMemory { used_bytes, inactive_file_bytes, swap_limit_bytes, swap_used_bytes })
    }

    /// The lowest quota of CPU time, in cores.
    pub fn cpu_quota(&mut self) -> Option<Limit<f64>> {
        let hierarchy = self.located.as_ref()?.cpu.as_ref()?;
        lowest(&mut self.files, hierarchy.levels(), |files, level| {
            if hierarchy.unified {
                parse_cpu_max(&files.read(&format!("{level}/cpu.max")).ok()?)
            } else {
                let quota = files.number::<i64>(&files.path(&format!("{level}/cpu.cfs_quota_us")))?;
                let period = files.number::<i64>(&files.path(&format!("{level}/cpu.cfs_period_us")))?;
                quota_cores(quota, period)
            }
        })
    }

    /// The cores on which the group may run.
    pub fn cores(&mut self) -> Option<Limit<CoreSet>> {
        let hierarchy = self.located.as_ref()?.cpuset.as_ref()?;
        let names: &[&str] =
            if hierarchy.unified { &["cpuset.cpus.effective"] } else { &["cpuset.effective_cpus", "cpuset.cpus"] };
        let files = &mut self.files;
        hierarchy.levels().find_map(|level| {
            let value = names.iter().find_map(|name| {
                let set = CoreSet::parse(&files.read(&format!("{level}/{name}")).ok()?);
                (set.count() > 0).then_some(set)
            })?;
            Some(Limit { value, level })
        })
    }

    /// The lowest limit of tasks.
    pub fn pids_limit(&mut self) -> Option<Limit<u64>> {
        let hierarchy = self.located.as_ref()?.pids.as_ref()?;
        lowest(&mut self.files, hierarchy.levels(), |files, level| {
            files.number(&files.path(&format!("{level}/pids.max")))
        })
    }

    /// CPU time that the group at `level` of the cpu hierarchy has used, in microseconds; none where it is not counted there.
    pub fn cpu_used_microseconds(&mut self, level: &str) -> Option<u64> {
        let located = self.located.as_ref()?;
        let (cpu, cpuacct) = (located.cpu.as_ref()?, located.cpuacct.as_ref()?);
        if cpuacct.unified {
            return self.counter(level, "cpu.stat", "usage_usec");
        }
        let folder = cpuacct.counterpart(cpu, level)?;
        self.number(&folder, "cpuacct.usage").map(|nanoseconds| nanoseconds / 1000)
    }

    /// Where, in the cpu hierarchy, the group is whose cores are limited at `level` of the cpuset hierarchy.
    pub fn cpu_level_of_cpuset(&self, level: &str) -> Option<String> {
        let located = self.located.as_ref()?;
        located.cpu.as_ref()?.counterpart(located.cpuset.as_ref()?, level)
    }

    /// The one number in a file of the group at `level`.
    pub fn number(&mut self, level: &str, name: &str) -> Option<u64> {
        let path: PathBuf = self.files.path(&format!("{level}/{name}"));
        self.files.number(&path)
    }

    /// The number behind `key` in a file of lines `KEY NUMBER`.
    pub fn counter(&mut self, level: &str, name: &str, key: &str) -> Option<u64> {
        parse_counter(&self.files.read(&format!("{level}/{name}")).ok()?, key)
    }
}

fn lowest<T: PartialOrd>(
    files: &mut Files,
    levels: impl Iterator<Item = String>,
    mut limit_of: impl FnMut(&mut Files, &str) -> Option<T>,
) -> Option<Limit<T>> {
    let mut lowest: Option<Limit<T>> = None;
    for level in levels {
        if let Some(value) = limit_of(files, &level)
            && lowest.as_ref().is_none_or(|lowest| value < lowest.value)
        {
            lowest = Some(Limit { value, level });
        }
    }
    lowest
}

/// `QUOTA PERIOD` or `max PERIOD`, in microseconds, as cores.
pub fn parse_cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_ascii_whitespace();
    let quota = words.next()?.parse().ok()?;
    quota_cores(quota, words.next().map_or(Some(100_000), |period| period.parse().ok())?)
}

fn quota_cores(quota: i64, period: i64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// The number behind `key` in lines `KEY NUMBER`.
pub fn parse_counter(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Cores, as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreSet {
    ranges: Vec<(u32, u32)>,
}

impl CoreSet {
    /// A list such as `0-3,8`, the kernel's cpulist format; what is no range is left out.
    pub fn parse(text: &str) -> CoreSet {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some((first, last))
        };
        CoreSet { ranges: text.split(',').filter_map(range).take(CORE_RANGES).collect() }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.ranges.iter().fold(0, |count, (first, last)| count.saturating_add((last - first).saturating_add(1)))
    }

    /// Whether `core` is one of them.
    pub fn contains(&self, core: u32) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&core))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::{self, Tree};

    #[test]
    fn quotas_are_read_in_cores() {
        for (text, cores) in [
            ("max 100000\n", None),
            ("50000 100000\n", Some(0.5)),
            ("250000 100000", Some(2.5)),
            ("50000", Some(0.5)),
            ("", None),
            ("0 100000", None),
            ("-1 100000", None),
            ("50000 0", None),
            ("99999999999999999999 1", None),
            ("a b", None),
        ] {
            assert_eq!(parse_cpu_max(text), cores, "{text:?}");
        }
    }

    #[test]
    fn core_lists_are_read_as_ranges() {
        for (text, count) in [
            ("0-3,8\n", 5),
            ("7", 1),
            ("", 0),
            ("\n", 0),
            ("3-1", 0),
            ("a-b,2", 1),
            ("0-4294967295", u32::MAX),
            ("0-4294967296", 0),
            ("-1", 0),
        ] {
            assert_eq!(CoreSet::parse(text).count(), count, "{text:?}");
        }
        let set = CoreSet::parse("0-3,8");
        assert!(set.contains(3) && set.contains(8) && !set.contains(4));
    }

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let text = "oom 3\noom_kill 2\nlow x\n";
        assert_eq!(parse_counter(text, "oom"), Some(3));
        assert_eq!(parse_counter(text, "oom_kill"), Some(2));
        assert_eq!(parse_counter(text, "low"), None);
        assert_eq!(parse_counter(text, "oo"), None);
    }

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let tree = Tree::new();
        fake::version_2(&tree, "pod/box");
        tree.write("sys/fs/cgroup/pod/box/memory.max", "max\n");
        tree.write("sys/fs/cgroup/pod/memory.max", "1048576\n");
        tree.write("sys/fs/cgroup/pod/box/cpu.max", "200000 100000\n");
        tree.write("sys/fs/cgroup/pod/cpu.max", "200000 100000\n");
        tree.write("sys/fs/cgroup/cpuset.cpus.effective", "0-7\n");
        let mut groups = Groups::new(&tree.options());
        groups.located().unwrap();
        let pod = "/sys/fs/cgroup/pod".to_owned();
        assert_eq!(groups.memory_limit(), Some(Limit { value: 1 << 20, level: pod.clone() }));
        assert_eq!(
            groups.cpu_quota(),
            Some(Limit { value: 2.0, level: format!("{pod}/box") }),
            "the innermost of equals"
        );
        let cores = groups.cores().unwrap();
        assert_eq!((cores.value.count(), cores.level.as_str()), (8, "/sys/fs/cgroup"));
    }

    #[test]
    fn version_1_says_no_limit_by_a_huge_one() {
        let tree = Tree::new();
        fake::version_1(&tree, "a");
        tree.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
        tree.write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
        tree.write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
        let mut groups = Groups::new(&tree.options());
        groups.located().unwrap();
        assert_eq!((groups.memory_limit(), groups.cpu_quota()), (None, None));
        tree.write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "150000\n");
        assert_eq!(groups.cpu_quota().unwrap().value, 1.5);
    }
}
