//! Where the kernel shows the control group that this process is in: `/proc/self/cgroup` against the mount table.
//!
//! In a container the path in `/proc/self/cgroup` may be the host's, while the mount shows only the container's part of
//! the tree: the mount's root says which (cgroups(7), "/proc/pid/mountinfo").

use crate::core::sample::CgroupVersion;
use crate::probe::mounts::parse_mountinfo;

/// More levels than any manager of containers makes.
const DEPTH_LIMIT: usize = 32;

/// One hierarchy of control groups, and this process's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Whether it is the unified hierarchy.
    pub unified: bool,
    /// Where it is mounted.
    pub mount_point: String,
    /// This process's group below the mount point, without slashes at its ends; empty for the top.
    pub group: String,
}

impl Hierarchy {
    /// The group's folder and those above it up to the mount point, the innermost first.
    pub fn levels(&self) -> impl Iterator<Item = String> + '_ {
        let mut next = Some(self.group.as_str());
        std::iter::from_fn(move || {
            let group = next?;
            next = if group.is_empty() { None } else { Some(group.rsplit_once('/').map_or("", |(above, _)| above)) };
            Some(self.folder(group))
        })
        .take(DEPTH_LIMIT)
    }

    /// The folder of a group of this hierarchy.
    fn folder(&self, group: &str) -> String {
        let top = self.mount_point.trim_end_matches('/');
        if group.is_empty() { top.to_owned() } else { format!("{top}/{group}") }
    }

    /// The folder of this process's own group.
    pub fn own(&self) -> String {
        self.folder(&self.group)
    }

    /// The folder, here, of the group whose folder in `other` is `level`; none where the two hierarchies put this process
    /// into groups of different names.
    pub fn counterpart(&self, other: &Hierarchy, level: &str) -> Option<String> {
        let group = level.strip_prefix(other.mount_point.trim_end_matches('/'))?.trim_start_matches('/');
        (self.group == other.group).then(|| self.folder(group))
    }
}

/// The hierarchies that hold what the probes want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// Which hierarchies there are.
    pub version: CgroupVersion,
    /// This process's group, as the kernel names it.
    pub path: String,
    /// Limits of memory.
    pub memory: Option<Hierarchy>,
    /// Limits of CPU time.
    pub cpu: Option<Hierarchy>,
    /// CPU time used.
    pub cpuacct: Option<Hierarchy>,
    /// Cores.
    pub cpuset: Option<Hierarchy>,
    /// Limits of tasks.
    pub pids: Option<Hierarchy>,
    /// The unified hierarchy, which holds pressure.
    pub unified: Option<Hierarchy>,
}

/// Finds the hierarchies; none where the kernel shows no control groups.
pub fn locate(cgroup: &str, mountinfo: &str) -> Option<Located> {
    let unified = hierarchy(cgroup, mountinfo, None);
    let [memory, cpu, cpuacct, cpuset, pids] =
        ["memory", "cpu", "cpuacct", "cpuset", "pids"].map(|name| hierarchy(cgroup, mountinfo, Some(name)));
    let any_v1 = [&memory, &cpu, &cpuacct, &cpuset, &pids].iter().any(|found| found.is_some());
    let version = match (any_v1, &unified) {
        (true, Some(_)) => CgroupVersion::Hybrid,
        (true, None) => CgroupVersion::V1,
        (false, Some(_)) => CgroupVersion::V2,
        (false, None) => return None,
    };
    let path = path_of(cgroup, memory.is_some().then_some("memory")).or_else(|| path_of(cgroup, None));
    Some(Located {
        version,
        path: path.unwrap_or("/").to_owned(),
        memory: memory.or_else(|| unified.clone()),
        cpu: cpu.or_else(|| unified.clone()),
        cpuacct: cpuacct.or_else(|| unified.clone()),
        cpuset: cpuset.or_else(|| unified.clone()),
        pids: pids.or_else(|| unified.clone()),
        unified,
    })
}

/// The path of the group in the hierarchy of `controller`, or in the unified one; lines are `ID:CONTROLLERS:PATH`.
fn path_of<'a>(cgroup: &'a str, controller: Option<&str>) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let found = match controller {
            Some(controller) => controllers.split(',').any(|name| name == controller),
            None => id == "0" && controllers.is_empty(),
        };
        found.then_some(path)
    })
}

fn hierarchy(cgroup: &str, mountinfo: &str, controller: Option<&str>) -> Option<Hierarchy> {
    let path = path_of(cgroup, controller)?;
    let mount = parse_mountinfo(mountinfo).find(|mount| match controller {
        Some(controller) => {
            mount.file_system == "cgroup" && mount.options.split(',').any(|option| option == controller)
        }
        None => mount.file_system == "cgroup2",
    })?;
    let group = below(path, &mount.root).unwrap_or_default();
    Some(Hierarchy {
        unified: controller.is_none(),
        mount_point: mount.mount_point.into_owned(),
        group: group.to_owned(),
    })
}

/// `path` below `root`, without slashes at its ends; none where it is not below, or steps out of it.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(root.trim_end_matches('/'))?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let rest = rest.trim_matches('/');
    (!rest.split('/').any(|part| part == "..")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      37 31 0:35 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
    const UNIFIED: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_2_has_all_in_one_hierarchy() {
        let located = locate("0::/system.slice/edge.service\n", V2).unwrap();
        assert_eq!(located.version, CgroupVersion::V2);
        assert_eq!(located.path, "/system.slice/edge.service");
        let memory = located.memory.unwrap();
        assert!(memory.unified);
        assert_eq!(
            memory.levels().collect::<Vec<_>>(),
            ["/sys/fs/cgroup/system.slice/edge.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"]
        );
    }

    #[test]
    fn version_1_has_a_hierarchy_a_controller() {
        let located = locate("5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n", V1).unwrap();
        assert_eq!(located.version, CgroupVersion::V1);
        assert_eq!(located.memory.unwrap().own(), "/sys/fs/cgroup/memory/docker/abc");
        assert_eq!(located.cpu.unwrap().own(), "/sys/fs/cgroup/cpu,cpuacct/docker/abc");
        assert_eq!((located.cpuset, located.unified), (None, None));
    }

    #[test]
    fn hybrid_has_both_and_its_controllers_in_version_1() {
        let located = locate("5:memory:/a\n0::/b\n", &format!("{V1}{UNIFIED}")).unwrap();
        assert_eq!(located.version, CgroupVersion::Hybrid);
        assert_eq!(located.path, "/a");
        assert!(!located.memory.unwrap().unified);
        assert_eq!(located.unified.unwrap().own(), "/sys/fs/cgroup/unified/b");
    }

    #[test]
    fn a_container_sees_its_part_of_the_hosts_tree() {
        let mounts = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        for (path, own) in [
            ("/docker/abc", "/sys/fs/cgroup/memory"),
            ("/docker/abc/inner", "/sys/fs/cgroup/memory/inner"),
            ("/docker/abcdef", "/sys/fs/cgroup/memory"),
            ("/elsewhere", "/sys/fs/cgroup/memory"),
            ("/docker/abc/../../etc", "/sys/fs/cgroup/memory"),
        ] {
            let located = locate(&format!("5:memory:{path}\n"), mounts).unwrap();
            assert_eq!(located.memory.unwrap().own(), own, "{path}");
        }
    }

    #[test]
    fn nothing_or_nonsense_is_no_control_group() {
        for (cgroup, mounts) in [("", ""), ("0::/\n", ""), ("", V2), (":::\n::\n0\n", V2), ("9:name=systemd:/\n", V1)] {
            assert_eq!(locate(cgroup, mounts), None, "{cgroup:?}");
        }
    }

    #[test]
    fn usage_is_found_only_where_both_hierarchies_agree() {
        let at = |mount_point: &str, group: &str| Hierarchy {
            unified: false,
            mount_point: mount_point.to_owned(),
            group: group.to_owned(),
        };
        let (cpu, same, other) = (at("/c/cpu", "a/b"), at("/c/cpuacct", "a/b"), at("/c/cpuacct", ""));
        assert_eq!(same.counterpart(&cpu, "/c/cpu/a").as_deref(), Some("/c/cpuacct/a"));
        assert_eq!(same.counterpart(&cpu, "/c/cpu").as_deref(), Some("/c/cpuacct"));
        assert_eq!(other.counterpart(&cpu, "/c/cpu/a"), None);
    }
}
