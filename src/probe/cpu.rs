//! CPU time used over the interval, of the box or of the container's limit, and load averages.
//!
//! Of the box: `/proc/stat` (proc(5)); busy is all but idle and waiting for disks, and stolen time counts as busy, for it
//! cannot be had. Of a container: the group's use by what its quota and its cores allow in the time that passed.

use std::time::Instant;

use super::files::{Files, problem};
use super::group::Groups;
use super::{Probe, ProbeError, ProbeOptions};
use crate::core::sample::{Core, Cpu, Reading, Scope, percent_of};

/// Cores that are shown at most.
const CORE_LIMIT: usize = 4096;

/// Reads the processors.
pub struct CpuProbe {
    files: Files,
    groups: Groups,
    before: Option<Times>,
    group_before: Option<GroupTime>,
}

/// Time of one core or all, in the kernel's ticks since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CoreTime {
    busy: u64,
    total: u64,
}

/// What `/proc/stat` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Times {
    all: CoreTime,
    cores: Vec<(u32, CoreTime)>,
}

/// What a group has used at a moment.
struct GroupTime {
    level: String,
    used_microseconds: u64,
    at: Instant,
}

impl CpuProbe {
    /// Reads below `options.root`.
    pub fn new(options: &ProbeOptions) -> CpuProbe {
        CpuProbe { files: Files::new(&options.root), groups: Groups::new(options), before: None, group_before: None }
    }

    fn read_at(&mut self, now: Instant) -> Result<Cpu, ProbeError> {
        let path = "/proc/stat";
        let text = self.files.read(path).map_err(|error| problem(path, &error))?;
        let times = parse_stat(&text).ok_or_else(|| ProbeError::Failed(format!("{path} names no CPU time")))?;
        let load = self.files.read("/proc/loadavg").map(|text| parse_loadavg(&text)).unwrap_or_default();
        let before = self.before.as_ref();
        let mut cpu = Cpu {
            scope: Scope::Box,
            usage_percent: before.and_then(|before| times.all.usage_since(before.all)),
            cores: times.cores.len() as f64,
            per_core: before.map(|before| times.cores_since(before)).unwrap_or_default(),
            load_1m: load.first().copied(),
            load_5m: load.get(1).copied(),
            load_15m: load.get(2).copied(),
        };
        // Within one tick of the kernel's clock nothing can be said: the interval goes on.
        if before.is_none_or(|before| before.all.total != times.all.total) {
            self.before = Some(times);
        }
        self.limit_to_group(&mut cpu, now);
        Ok(cpu)
    }

    /// Makes the figures the container's where it is limited and its use is known.
    fn limit_to_group(&mut self, cpu: &mut Cpu, now: Instant) -> Option<()> {
        self.groups.located()?;
        let set = self.groups.cores().filter(|set| f64::from(set.value.count()) < cpu.cores);
        if let Some(set) = &set {
            cpu.per_core.retain(|core| set.value.contains(core.index));
        }
        let set_cores = set.as_ref().map_or(cpu.cores, |set| f64::from(set.value.count()));
        let quota = self.groups.cpu_quota().filter(|quota| quota.value < set_cores);
        let (cores, level) = match (quota, set) {
            (Some(quota), _) => (quota.value, quota.level),
            (None, Some(set)) => (set_cores, self.groups.cpu_level_of_cpuset(&set.level)?),
            (None, None) => return None,
        };
        let used_microseconds = self.groups.cpu_used_microseconds(&level)?;
        let usage_percent = self.group_before.as_ref().filter(|before| before.level == level).and_then(|before| {
            let passed = now.saturating_duration_since(before.at).as_secs_f64() * 1e6 * cores;
            let used = used_microseconds.checked_sub(before.used_microseconds)?;
            (passed > 0.0).then(|| (used as f64 / passed * 100.0).clamp(0.0, 100.0))
        });
        self.group_before = Some(GroupTime { level, used_microseconds, at: now });
        cpu.scope = Scope::Container;
        cpu.usage_percent = usage_percent;
        cpu.cores = cores;
        Some(())
    }
}

impl Probe for CpuProbe {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        self.read_at(Instant::now()).map(Reading::Cpu)
    }
}

impl CoreTime {
    /// None where no time has passed, or the kernel began to count anew.
    fn usage_since(self, before: CoreTime) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        Some(percent_of(self.busy.saturating_sub(before.busy), total))
    }
}

impl Times {
    fn cores_since(&self, before: &Times) -> Vec<Core> {
        let mut earlier = before.cores.iter().peekable();
        let usage = |(index, time): &(u32, CoreTime)| {
            // Both lists are in the kernel's order; a core may have come or gone between them.
            while earlier.next_if(|(other, _)| other < index).is_some() {}
            let (_, before) = earlier.next_if(|(other, _)| other == index)?;
            Some(Core { index: *index, usage_percent: time.usage_since(*before)? })
        };
        self.cores.iter().filter_map(usage).collect()
    }
}

/// The lines `cpu` and `cpuN`; none where there is no time of all cores.
fn parse_stat(text: &str) -> Option<Times> {
    let mut times = Times::default();
    let mut found = false;
    for line in text.lines() {
        let Some((name, rest)) = line.strip_prefix("cpu").and_then(|rest| rest.split_once(' ')) else {
            if found { break } else { continue }
        };
        let Some(time) = parse_core_time(rest) else { continue };
        if name.is_empty() {
            times.all = time;
            found = true;
        } else if let Ok(index) = name.parse()
            && times.cores.len() < CORE_LIMIT
        {
            times.cores.push((index, time));
        }
    }
    found.then_some(times)
}

/// `user nice system idle iowait irq softirq steal`, of which old kernels have the first four; guests' time behind them is
/// in `user` and `nice` already.
fn parse_core_time(fields: &str) -> Option<CoreTime> {
    let (mut total, mut idle, mut count) = (0u64, 0u64, 0);
    for (position, field) in fields.split_ascii_whitespace().take(8).enumerate() {
        let ticks: u64 = field.parse().ok()?;
        total = total.saturating_add(ticks);
        if matches!(position, 3 | 4) {
            idle = idle.saturating_add(ticks);
        }
        count = position + 1;
    }
    (count >= 4).then_some(CoreTime { busy: total.saturating_sub(idle), total })
}

/// The three averages at the beginning of `/proc/loadavg`.
fn parse_loadavg(text: &str) -> Vec<f64> {
    let number = |word: &str| word.parse::<f64>().ok().filter(|load| load.is_finite() && *load >= 0.0);
    text.split_ascii_whitespace().take(3).map_while(number).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::probe::fake::{self, Tree};

    const FIRST: &str =
        "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 50 0 50 400 0 0 0 0 0 0\ncpu1 50 0 50 400 0 0 0 0 0 0\nintr 1\n";
    const SECOND: &str =
        "cpu  150 0 125 900 20 0 0 5 9 9\ncpu0 100 0 75 425 0 0 0 0 0 0\ncpu1 50 0 50 475 20 0 0 5 0 0\n";

    fn tree() -> Tree {
        let tree = Tree::new();
        tree.write("proc/stat", FIRST);
        tree.write("proc/loadavg", "0.52 0.58 1.59 1/595 12345\n");
        tree
    }

    #[test]
    fn usage_is_that_of_the_interval() {
        let tree = tree();
        let mut probe = CpuProbe::new(&tree.options());
        let now = Instant::now();
        let first = probe.read_at(now).unwrap();
        assert_eq!((first.scope, first.usage_percent, first.cores), (Scope::Box, None, 2.0));
        assert_eq!((first.load_1m, first.load_5m, first.load_15m), (Some(0.52), Some(0.58), Some(1.59)));
        assert!(first.per_core.is_empty());
        assert_eq!(probe.read_at(now).unwrap().usage_percent, None, "no time has passed");
        tree.write("proc/stat", SECOND);
        let second = probe.read_at(now).unwrap();
        assert_eq!(second.usage_percent, Some(40.0));
        let cores: Vec<f64> = second.per_core.iter().map(|core| core.usage_percent).collect();
        assert_eq!(cores, [75.0, 5.0]);
        tree.write("proc/stat", FIRST);
        assert_eq!(probe.read_at(now).unwrap().usage_percent, None, "counters that run back");
        tree.write("proc/stat", SECOND);
        assert_eq!(probe.read_at(now).unwrap().usage_percent, Some(40.0));
    }

    #[test]
    fn a_core_that_comes_or_goes_is_left_out_for_one_interval() {
        let times = |cores: &[(u32, u64)]| Times {
            all: CoreTime::default(),
            cores: cores.iter().map(|(index, total)| (*index, CoreTime { busy: 0, total: *total })).collect(),
        };
        let indexes = |after: Times, before: Times| -> Vec<u32> {
            after.cores_since(&before).iter().map(|core| core.index).collect()
        };
        assert_eq!(indexes(times(&[(0, 9), (2, 9), (3, 9)]), times(&[(0, 1), (1, 1), (3, 1)])), [0, 3]);
        assert_eq!(indexes(times(&[(0, 9)]), times(&[])), Vec::<u32>::new());
    }

    fn usage_of_half_a_second(tree: &Tree, before: (&str, &str), after: &str) -> Cpu {
        let mut probe = CpuProbe::new(&tree.options());
        let now = Instant::now();
        tree.write(before.0, before.1);
        probe.read_at(now).unwrap();
        tree.write(before.0, after);
        probe.read_at(now + Duration::from_millis(500)).unwrap()
    }

    #[test]
    fn usage_of_a_container_is_relative_to_its_quota() {
        let tree = tree();
        fake::version_2(&tree, "box");
        tree.write("sys/fs/cgroup/box/cpu.max", "50000 100000\n");
        let stat = "sys/fs/cgroup/box/cpu.stat";
        let cpu = usage_of_half_a_second(&tree, (stat, "usage_usec 1000000\n"), "usage_usec 1125000\n");
        assert_eq!((cpu.scope, cpu.usage_percent, cpu.cores), (Scope::Container, Some(50.0), 0.5));

        let tree = self::tree();
        fake::version_1(&tree, "box");
        tree.write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "100000\n");
        tree.write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
        let usage = "sys/fs/cgroup/cpuacct/box/cpuacct.usage";
        let cpu = usage_of_half_a_second(&tree, (usage, "1000000000\n"), "1125000000\n");
        assert_eq!((cpu.scope, cpu.usage_percent, cpu.cores), (Scope::Container, Some(25.0), 1.0));
    }

    #[test]
    fn cores_that_are_kept_away_limit_too_and_a_quota_above_the_box_does_not() {
        let tree = tree();
        fake::version_2(&tree, "box");
        tree.write("sys/fs/cgroup/box/cpu.max", "400000 100000\n");
        tree.write("sys/fs/cgroup/cpuset.cpus.effective", "0-1\n");
        let stat = "sys/fs/cgroup/box/cpu.stat";
        let cpu = usage_of_half_a_second(&tree, (stat, "usage_usec 0\n"), "usage_usec 250000\n");
        assert_eq!((cpu.scope, cpu.cores), (Scope::Box, 2.0));

        tree.write("sys/fs/cgroup/box/cpuset.cpus.effective", "1\n");
        let cpu = usage_of_half_a_second(&tree, (stat, "usage_usec 0\n"), "usage_usec 250000\n");
        assert_eq!((cpu.scope, cpu.usage_percent, cpu.cores), (Scope::Container, Some(50.0), 1.0));
    }

    #[test]
    fn a_limit_whose_use_is_not_counted_leaves_the_boxs_figures() {
        let tree = tree();
        fake::version_1(&tree, "box");
        tree.write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "100000\n");
        tree.write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
        assert_eq!(CpuProbe::new(&tree.options()).read_at(Instant::now()).unwrap().scope, Scope::Box);
    }

    #[test]
    fn what_is_no_stat_file_is_a_failure_and_none_is_absent() {
        let tree = tree();
        for text in ["", "cpu\n", "cpu  1 2\n", "cpu  a b c d\n", "cpu0 1 2 3 4\n", "intr 1\n"] {
            tree.write("proc/stat", text);
            let error = CpuProbe::new(&tree.options()).read().unwrap_err();
            assert!(matches!(error, ProbeError::Failed(_)), "{text:?}");
        }
        tree.remove("proc/stat");
        assert!(matches!(CpuProbe::new(&tree.options()).read(), Err(ProbeError::Absent(_))));
        for (text, count) in [("", 0), ("0.1 0.2", 2), ("x 0.2 0.3", 0), ("1 2 3 4", 3), ("inf NaN -1", 0)] {
            assert_eq!(parse_loadavg(text).len(), count, "{text:?}");
        }
    }

    #[test]
    fn counters_at_their_end_do_not_overflow() {
        let text = format!("cpu  {0} {0} {0} {0} {0}\n", u64::MAX);
        let time = parse_stat(&text).unwrap().all;
        assert_eq!(time, CoreTime { busy: 0, total: u64::MAX });
        assert_eq!(time.usage_since(CoreTime::default()), Some(0.0));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(cpu[0-9]{0,3} +([0-9]{1,22} ?){0,12}\n?|\\PC{0,20}\n?){0,8}") {
            if let Some(times) = parse_stat(&text) {
                times.cores_since(&times);
            }
            parse_loadavg(&text);
        }
    }
}
