//! All probes together on this box, and their figures against another reader's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::runner::{Runner, Trouble};
use super::*;
use crate::core::sample::{Sample, Scope};

fn sample(runner: &mut Runner) -> Sample {
    let mut sample = Sample::default();
    for outcome in runner.tick(Duration::from_secs(30), Instant::now()) {
        match outcome.result {
            Ok(reading) => sample.merge(reading),
            Err(Trouble::Probe(ProbeError::Absent(_))) => {}
            Err(trouble) => panic!("{}: {trouble}", outcome.probe),
        }
    }
    sample
}

#[test]
fn the_figures_of_this_box_are_those_that_another_reader_finds() {
    let mut runner = Runner::start(all(&ProbeOptions::default()));
    sample(&mut runner);
    std::thread::sleep(Duration::from_millis(200));
    let sample = sample(&mut runner);

    let mut system = sysinfo::System::new().unwrap();
    system.refresh_memory();
    let (memory, swap) = (sample.memory.unwrap(), sample.swap.unwrap());
    if memory.scope == Scope::Box {
        assert_eq!(memory.total_bytes, system.total_memory());
        assert_near("available memory", memory.available_bytes, system.available_memory());
    }
    assert_eq!(swap.total_bytes, system.total_swap());

    let disks = sysinfo::Disks::new_with_refreshed_list().unwrap();
    for disk in &sample.disks {
        let other = disks.iter().find(|other| other.mount_point().as_os_str() == disk.mount.as_str());
        let Some(other) = other else { continue };
        assert_eq!(disk.total_bytes, other.total_space(), "{}", disk.mount);
        assert_near(&disk.mount, disk.available_bytes, other.available_space());
    }

    let cpu = sample.cpu.unwrap();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    if cpu.scope == Scope::Box {
        assert_eq!(cpu.cores, system.cpus().len() as f64);
    }
    assert!(cpu.usage_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)));
    let process = sample.process.unwrap();
    assert!(process.resident_bytes < memory.total_bytes && process.open_fds.unwrap() <= process.max_fds.unwrap());
}

fn assert_near(what: &str, ours: u64, theirs: u64) {
    let difference = ours.abs_diff(theirs) as f64;
    assert!(difference <= 0.2 * theirs as f64, "{what}: {ours} and {theirs}");
}

#[test]
fn a_box_that_has_nothing_is_a_box_with_every_probe_absent() {
    let tree = fake::Tree::new();
    let mut names = HashSet::new();
    for mut probe in all(&tree.options()) {
        assert!(names.insert(probe.name()), "{} twice", probe.name());
        if probe.name() != "gpu" {
            assert!(matches!(probe.read(), Err(ProbeError::Absent(_))), "{}", probe.name());
        }
    }
}

#[test]
fn a_file_that_never_answers_hangs_its_probe_and_no_other() {
    let tree = fake::Tree::new();
    tree.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 600 kB\n");
    tree.write("proc/pressure/io", "");
    let pipe = tree.root().join("proc/pressure/cpu");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Whoever opens a pipe to read waits for one who writes.
    let mut runner = Runner::start(all(&tree.options()));
    let start = Instant::now();
    let mut hung = Vec::new();
    while hung != ["pressure"] {
        assert!(start.elapsed() < Duration::from_secs(30), "{hung:?}");
        let outcomes = runner.tick(Duration::from_millis(100), start);
        let hangs = |result: &Result<_, Trouble>| matches!(result, Err(Trouble::Hung { .. }));
        hung = outcomes.iter().filter(|outcome| hangs(&outcome.result)).map(|outcome| outcome.probe).collect();
    }
    drop(runner);
    assert!(start.elapsed() < Duration::from_secs(30));
    std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
}
