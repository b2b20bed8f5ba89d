//! This process: memory, CPU time, threads and file descriptors, from `/proc/self` (proc(5)).

use std::path::Path;
use std::time::Instant;

use super::files::{Files, problem};
use super::platform::{page_bytes, ticks_a_second};
use super::{Probe, ProbeError, ProbeOptions};
use crate::core::sample::{Process, Reading};

/// Reads this process.
pub struct ProcessProbe {
    files: Files,
    /// Whether the root is the kernel's own, whose `/proc/self/fd` has a size that means something.
    kernels_own: bool,
    before: Option<(f64, Instant)>,
}

/// What `/proc/self/stat` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ProcessStat {
    cpu_ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl ProcessProbe {
    /// Reads below `options.root`.
    pub fn new(options: &ProbeOptions) -> ProcessProbe {
        ProcessProbe { files: Files::new(&options.root), kernels_own: options.root == Path::new("/"), before: None }
    }

    fn read_at(&mut self, now: Instant) -> Result<Process, ProbeError> {
        let path = "/proc/self/stat";
        let text = self.files.read(path).map_err(|error| problem(path, &error))?;
        let stat = parse_stat(&text).ok_or_else(|| ProbeError::Failed(format!("{path} is not as expected")))?;
        let max_fds = self.files.read("/proc/self/limits").ok().and_then(|text| parse_max_fds(&text));
        let cpu_seconds = stat.cpu_ticks as f64 / ticks_a_second() as f64;
        let cpu_percent = self.before.and_then(|(before, at)| {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            (passed > 0.0).then(|| ((cpu_seconds - before) / passed * 100.0).max(0.0))
        });
        self.before = Some((cpu_seconds, now));
        Ok(Process {
            resident_bytes: stat.resident_pages.saturating_mul(page_bytes()),
            cpu_percent,
            cpu_seconds,
            threads: stat.threads,
            open_fds: self.open_fds(),
            max_fds,
        })
    }

    /// Since Linux 6.2 the folder's size is the number of its entries; counting thousands of connections costs more than
    /// all other probes together.
    fn open_fds(&self) -> Option<u64> {
        let folder = self.files.path("/proc/self/fd");
        if self.kernels_own
            && let Ok(found) = std::fs::metadata(&folder)
            && found.len() > 0
        {
            return Some(found.len());
        }
        let count = std::fs::read_dir(folder).ok()?.count();
        // The folder that is being read is one of them.
        u64::try_from(count).ok().map(|count| count.saturating_sub(1))
    }
}

impl Probe for ProcessProbe {
    fn name(&self) -> &'static str {
        "process"
    }

    fn read(&mut self) -> Result<Reading, ProbeError> {
        self.read_at(Instant::now()).map(Reading::Process)
    }
}

/// `PID (NAME) STATE …`; the name may hold spaces and parentheses. Behind it, user and system time are fields 14 and 15 of
/// proc_pid_stat(5), threads 20, resident pages 24.
fn parse_stat(text: &str) -> Option<ProcessStat> {
    let (_, behind) = text.rsplit_once(") ")?;
    // The first of these is field 3.
    let mut fields = behind.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let threads = fields.nth(4)?.parse().ok()?;
    let resident: i64 = fields.nth(3)?.parse().ok()?;
    Some(ProcessStat {
        cpu_ticks: user.saturating_add(system),
        threads,
        resident_pages: u64::try_from(resident).unwrap_or(0),
    })
}

/// The soft limit in the line `Max open files SOFT HARD files`.
fn parse_max_fds(text: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::probe::fake::Tree;

    fn stat(name: &str, ticks: u64) -> String {
        format!(
            "42 ({name}) S 1 42 42 0 -1 4194304 101 0 0 0 {ticks} 10 0 0 20 0 7 0 455515 3133440 384 18446744073709551615\n"
        )
    }

    #[test]
    fn cpu_is_that_of_the_interval_and_one_core_is_a_hundred() {
        let tree = Tree::new();
        tree.write("proc/self/stat", &stat("edge", 90));
        tree.write("proc/self/limits", "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n");
        for fd in 0..6 {
            tree.write(&format!("proc/self/fd/{fd}"), "");
        }
        let mut probe = ProcessProbe::new(&tree.options());
        let now = Instant::now();
        let first = probe.read_at(now).unwrap();
        assert_eq!((first.cpu_percent, first.threads, first.open_fds, first.max_fds), (None, 7, Some(5), Some(1024)));
        assert_eq!(first.resident_bytes, 384 * page_bytes());
        tree.write("proc/self/stat", &stat("edge", 90 + 3 * ticks_a_second()));
        let second = probe.read_at(now + Duration::from_secs(2)).unwrap();
        assert!((second.cpu_percent.unwrap() - 150.0).abs() < 1e-6, "{second:?}");
        tree.write("proc/self/stat", &stat("edge", 0));
        assert_eq!(probe.read_at(now + Duration::from_secs(3)).unwrap().cpu_percent, Some(0.0));
    }

    #[test]
    fn this_very_process() {
        let mut probe = ProcessProbe::new(&ProbeOptions::default());
        let before = probe.read_at(Instant::now()).unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(before.resident_bytes > 1 << 20 && before.threads >= 1 && before.open_fds.unwrap() >= 3);
        drop(file);
    }

    #[test]
    fn odd_names_and_odd_texts() {
        for name in ["a b", ") S 1 2", "((", ""] {
            assert_eq!(parse_stat(&stat(name, 5)).unwrap().cpu_ticks, 15, "{name}");
        }
        for text in ["", "42", "42 (a)", "42 (a) S 1 2 3", &stat("a", 1).replace(" 384 ", " x "), ") ) ) "] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
        assert_eq!(parse_stat(&stat("a", 1).replace(" 384 ", " -1 ")).unwrap().resident_pages, 0);
        for text in ["", "Max open files", "Max open files unlimited unlimited files"] {
            assert_eq!(parse_max_fds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9]{0,3} \\(\\PC{0,9}\\) S( -?[0-9]{1,22}){0,30}|\\PC{0,80}") {
            parse_stat(&text);
            parse_max_fds(&text);
        }
    }
}
