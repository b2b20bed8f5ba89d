//! Main memory and swap space, of the box or of the container's limit.
//!
//! Of the box: `/proc/meminfo` (proc(5)); used is what is not available. Of a container: used is what the limited group
//! holds without the caches that it did not touch lately, which the kernel takes back first; the same figure by which
//! container managers evict (`working_set_bytes`). What is available is never more than what the box still has.

use super::files::{Files, problem};
use super::group::Groups;
use super::{Probe, ProbeError, ProbeOptions};
use crate::core::sample::{Memory, Reading, Scope, Swap, percent_of};

/// Reads memory and swap.
pub struct MemoryProbe {
    files: Files,
    groups: Groups,
}

/// What `/proc/meminfo` says, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct MemInfo {
    total: u64,
    available: u64,
    swap_total: u64,
    swap_free: u64,
}

impl MemoryProbe {
    /// Reads below `options.root`.
    pub fn new(options: &ProbeOptions) -> MemoryProbe {
        MemoryProbe { files: Files::new(&options.root), groups: Groups::new(options) }
    }

    fn of_group(&mut self, info: &MemInfo) -> Option<(Memory, Option<Swap>)> {
        self.groups.located()?;
        let limit = self.groups.memory_limit().filter(|limit| limit.value < info.total)?;
        let group = self.groups.memory(&limit.level)?;
        let used = group.used_bytes.saturating_sub(group.inactive_file_bytes);
        let available = limit.value.saturating_sub(used).min(info.available);
        let memory = memory(Scope::Container, limit.value, used, available);
        let swap = group.swap_limit_bytes.filter(|limit| *limit < info.swap_total);
        let swap = swap.and_then(|limit| Some(swap_space(Scope::Container, limit, group.swap_used_bytes?)));
        Some((memory, swap))
    }
}

impl Probe for MemoryProbe {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        let path = "/proc/meminfo";
        let text = self.files.read(path).map_err(|error| problem(path, &error))?;
        let info = parse_meminfo(&text).ok_or_else(|| ProbeError::Failed(format!("{path} names no memory")))?;
        let mut whole = memory(Scope::Box, info.total, info.total.saturating_sub(info.available), info.available);
        let mut swap = swap_space(Scope::Box, info.swap_total, info.swap_total.saturating_sub(info.swap_free));
        if let Some((group, group_swap)) = self.of_group(&info) {
            whole = group;
            swap = group_swap.unwrap_or(swap);
        }
        Ok(Reading::Memory { memory: whole, swap })
    }
}

fn memory(scope: Scope, total_bytes: u64, used_bytes: u64, available_bytes: u64) -> Memory {
    Memory { scope, total_bytes, used_bytes, available_bytes, used_percent: percent_of(used_bytes, total_bytes) }
}

fn swap_space(scope: Scope, total_bytes: u64, used_bytes: u64) -> Swap {
    Swap { scope, total_bytes, used_bytes, used_percent: percent_of(used_bytes, total_bytes) }
}

/// Lines `NAME: NUMBER kB`; none where there is no total. Kernels before 3.14 do not say what is available: free memory and
/// caches come near.
fn parse_meminfo(text: &str) -> Option<MemInfo> {
    let mut info = MemInfo::default();
    let (mut available, mut free_and_caches) = (None, 0u64);
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let number = rest.split_ascii_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        let Some(bytes) = number.map(|number| number.saturating_mul(1024)) else { continue };
        match name {
            "MemTotal" => info.total = bytes,
            "MemAvailable" => available = Some(bytes),
            "MemFree" | "Buffers" | "Cached" => free_and_caches = free_and_caches.saturating_add(bytes),
            "SwapTotal" => info.swap_total = bytes,
            "SwapFree" => {
                info.swap_free = bytes;
                // What follows is of no interest.
                break;
            }
            _ => {}
        }
    }
    info.available = available.unwrap_or(free_and_caches).min(info.total);
    (info.total > 0).then_some(info)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe::fake::{self, Tree};

    const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\nBuffers:  10 kB\n\
                           Cached:    300 kB\nSwapTotal:       200 kB\nSwapFree:        150 kB\nDirty: 1 kB\n";

    fn read(tree: &Tree) -> (Memory, Swap) {
        match MemoryProbe::new(&tree.options()).read() {
            Ok(Reading::Memory { memory, swap }) => (memory, swap),
            other => panic!("{other:?}"),
        }
    }

    fn tree() -> Tree {
        let tree = Tree::new();
        tree.write("proc/meminfo", MEMINFO);
        tree
    }

    #[test]
    fn without_a_limit_it_is_the_boxs() {
        let (memory, swap) = read(&tree());
        assert_eq!(memory, super::memory(Scope::Box, 1_024_000, 409_600, 614_400));
        assert_eq!(memory.used_percent, 40.0);
        assert_eq!(
            (swap.scope, swap.total_bytes, swap.used_bytes, swap.used_percent),
            (Scope::Box, 204_800, 51_200, 25.0)
        );
    }

    #[test]
    fn with_a_limit_it_is_the_groups_without_its_idle_caches() {
        let tree = tree();
        fake::version_2(&tree, "box");
        tree.write("sys/fs/cgroup/box/memory.max", "400000\n");
        tree.write("sys/fs/cgroup/box/memory.current", "300000\n");
        tree.write("sys/fs/cgroup/box/memory.stat", "anon 1\ninactive_file 100000\n");
        tree.write("sys/fs/cgroup/box/memory.swap.max", "100000\n");
        tree.write("sys/fs/cgroup/box/memory.swap.current", "25000\n");
        let (memory, swap) = read(&tree);
        assert_eq!(memory, super::memory(Scope::Container, 400_000, 200_000, 200_000));
        assert_eq!(swap, swap_space(Scope::Container, 100_000, 25_000));
    }

    #[test]
    fn version_1_counts_swap_with_memory() {
        let tree = tree();
        fake::version_1(&tree, "box");
        let folder = "sys/fs/cgroup/memory/box";
        tree.write(&format!("{folder}/memory.limit_in_bytes"), "900000\n");
        tree.write(&format!("{folder}/memory.usage_in_bytes"), "300000\n");
        tree.write(&format!("{folder}/memory.stat"), "inactive_file 1\ntotal_inactive_file 100000\n");
        tree.write(&format!("{folder}/memory.memsw.limit_in_bytes"), "1000000\n");
        tree.write(&format!("{folder}/memory.memsw.usage_in_bytes"), "325000\n");
        let (memory, swap) = read(&tree);
        assert_eq!(memory.used_bytes, 200_000);
        assert_eq!(memory.available_bytes, 614_400, "no more than the box has");
        assert_eq!(swap, swap_space(Scope::Container, 100_000, 25_000));
    }

    #[test]
    fn a_limit_above_the_box_or_a_group_that_says_nothing_leaves_the_boxs_figures() {
        let tree = tree();
        fake::version_2(&tree, "box");
        tree.write("sys/fs/cgroup/box/memory.max", "4000000000\n");
        tree.write("sys/fs/cgroup/box/memory.current", "1\n");
        assert_eq!(read(&tree).0.scope, Scope::Box);
        tree.write("sys/fs/cgroup/box/memory.max", "400000\n");
        assert_eq!(read(&tree).0.scope, Scope::Container);
        tree.remove("sys/fs/cgroup/box/memory.current");
        assert_eq!(read(&tree).0.scope, Scope::Box);
    }

    #[test]
    fn odd_texts() {
        assert_eq!(parse_meminfo(""), None);
        assert_eq!(parse_meminfo("MemTotal: kB\n"), None);
        assert_eq!(parse_meminfo("MemTotal: -5 kB\n"), None);
        let old = parse_meminfo("MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 10 kB\nCached: 90 kB\n").unwrap();
        assert_eq!(old.available, 200 * 1024);
        let huge = parse_meminfo(&format!("MemTotal: {0} kB\nMemAvailable: {0} kB\n", u64::MAX)).unwrap();
        assert_eq!(huge.total, u64::MAX);
        let more = parse_meminfo("MemTotal: 10 kB\nMemAvailable: 20 kB\n").unwrap();
        assert_eq!(more.available, more.total);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "((MemTotal|SwapFree|Cached|\\PC{0,5}):? *[0-9]{0,22} ?k?B?\n){0,8}") {
            parse_meminfo(&text);
        }
    }
}
