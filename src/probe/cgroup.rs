//! The control group: its limits, what it holds, and how often it was short of memory.

use super::files::Files;
use super::group::{CoreSet, Groups};
use super::{Probe, ProbeError, ProbeOptions};
use crate::core::sample::{Cgroup, Reading};

/// Reads the control group.
pub struct CgroupProbe {
    files: Files,
    groups: Groups,
}

impl CgroupProbe {
    /// Reads below `options.root`.
    pub fn new(options: &ProbeOptions) -> CgroupProbe {
        CgroupProbe { files: Files::new(&options.root), groups: Groups::new(options) }
    }
}

impl Probe for CgroupProbe {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        let Some(located) = self.groups.located() else {
            return Err(ProbeError::Absent("the kernel shows no control groups".to_owned()));
        };
        let mut cgroup = Cgroup { version: located.version, path: located.path.clone(), ..Cgroup::default() };
        let own_memory = located.memory.as_ref().map(|hierarchy| (hierarchy.unified, hierarchy.own()));
        let own_cpu = located.cpu.as_ref().map(|hierarchy| (hierarchy.unified, hierarchy.own()));
        let groups = &mut self.groups;

        let memory_limit = groups.memory_limit();
        cgroup.memory_limit_bytes = memory_limit.as_ref().map(|limit| limit.value);
        if let Some((unified, own)) = own_memory {
            let level = memory_limit.map_or_else(|| own.clone(), |limit| limit.level);
            let used = if unified { "memory.current" } else { "memory.usage_in_bytes" };
            cgroup.memory_used_bytes = groups.number(&level, used);
            // The group's own count holds its kills, whichever group's limit they were for.
            let events = if unified { "memory.events" } else { "memory.oom_control" };
            cgroup.oom_kills = groups.counter(&own, events, "oom_kill");
        }
        let cpu_quota = groups.cpu_quota();
        cgroup.cpu_limit_cores = cpu_quota.as_ref().map(|quota| quota.value);
        if let (Some((unified, _)), Some(quota)) = (own_cpu, cpu_quota) {
            let (key, a_second) = if unified { ("throttled_usec", 1e6) } else { ("throttled_time", 1e9) };
            cgroup.throttled_seconds = groups.counter(&quota.level, "cpu.stat", key).map(|time| time as f64 / a_second);
        }
        let pids_limit = groups.pids_limit();
        cgroup.pids_limit = pids_limit.as_ref().map(|limit| limit.value);
        cgroup.pids_used = pids_limit.and_then(|limit| groups.number(&limit.level, "pids.current"));
        let online = self.files.read("/sys/devices/system/cpu/online").map(|text| CoreSet::parse(&text).count());
        cgroup.cpuset_cores =
            groups.cores().map(|set| set.value.count()).filter(|count| online.is_ok_and(|online| *count < online));
        Ok(Reading::Cgroup(cgroup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sample::CgroupVersion;
    use crate::probe::fake::{self, Tree};

    fn read(tree: &Tree) -> Cgroup {
        match CgroupProbe::new(&tree.options()).read() {
            Ok(Reading::Cgroup(cgroup)) => cgroup,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn version_2() {
        let tree = Tree::new();
        fake::version_2(&tree, "system.slice/edge.service");
        tree.write("sys/devices/system/cpu/online", "0-3\n");
        let own = "sys/fs/cgroup/system.slice/edge.service";
        for (name, text) in [
            ("memory.max", "1000\n"),
            ("memory.current", "600\n"),
            ("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n"),
            ("cpu.max", "150000 100000\n"),
            ("cpu.stat", "usage_usec 5\nnr_throttled 4\nthrottled_usec 1500000\n"),
            ("pids.max", "max\n"),
            ("cpuset.cpus.effective", "0,2\n"),
        ] {
            tree.write(&format!("{own}/{name}"), text);
        }
        tree.write("sys/fs/cgroup/system.slice/pids.max", "50\n");
        tree.write("sys/fs/cgroup/system.slice/pids.current", "7\n");
        let expected = Cgroup {
            version: CgroupVersion::V2,
            path: "/system.slice/edge.service".to_owned(),
            memory_limit_bytes: Some(1000),
            memory_used_bytes: Some(600),
            cpu_limit_cores: Some(1.5),
            cpuset_cores: Some(2),
            throttled_seconds: Some(1.5),
            pids_limit: Some(50),
            pids_used: Some(7),
            oom_kills: Some(2),
        };
        assert_eq!(read(&tree), expected);
    }

    #[test]
    fn version_1() {
        let tree = Tree::new();
        fake::version_1(&tree, "docker/abc");
        let group = |controller: &str, name: &str| format!("sys/fs/cgroup/{controller}/docker/abc/{name}");
        tree.write(&group("memory", "memory.limit_in_bytes"), "1000\n");
        tree.write(&group("memory", "memory.usage_in_bytes"), "600\n");
        tree.write(&group("memory", "memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        tree.write(&group("cpu", "cpu.cfs_quota_us"), "50000\n");
        tree.write(&group("cpu", "cpu.cfs_period_us"), "100000\n");
        tree.write(&group("cpu", "cpu.stat"), "nr_periods 1\nthrottled_time 250000000\n");
        tree.write(&group("cpuset", "cpuset.cpus"), "0-3\n");
        tree.write("sys/devices/system/cpu/online", "0-3\n");
        let cgroup = read(&tree);
        assert_eq!((cgroup.version, cgroup.path.as_str()), (CgroupVersion::V1, "/docker/abc"));
        assert_eq!(
            (cgroup.memory_limit_bytes, cgroup.memory_used_bytes, cgroup.oom_kills),
            (Some(1000), Some(600), Some(3))
        );
        assert_eq!(
            (cgroup.cpu_limit_cores, cgroup.throttled_seconds, cgroup.cpuset_cores),
            (Some(0.5), Some(0.25), None)
        );
    }

    #[test]
    fn a_group_without_limits_and_none_at_all() {
        let tree = Tree::new();
        assert!(matches!(CgroupProbe::new(&tree.options()).read(), Err(ProbeError::Absent(_))));
        fake::version_2(&tree, "a");
        assert_eq!(read(&tree), Cgroup { path: "/a".to_owned(), ..Cgroup::default() });
    }

    #[test]
    fn files_of_nonsense_are_no_limits() {
        let tree = Tree::new();
        fake::version_2(&tree, "a");
        for name in ["memory.max", "memory.events", "cpu.max", "pids.max", "cpuset.cpus.effective", "memory.current"] {
            tree.write_bytes(&format!("sys/fs/cgroup/a/{name}"), b"\xff\0-1 99999999999999999999999\n");
        }
        assert_eq!(read(&tree), Cgroup { path: "/a".to_owned(), ..Cgroup::default() });
    }
}
