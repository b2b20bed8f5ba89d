//! Prints one sample of this box, and what taking it costs: `cargo run --release --example probe_cost [TICKS]`.
//!
//! The cost is the CPU time of the whole process, by the kernel's count, over ticks a second apart and over as many
//! ticks as can be made in a row.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use edge_service::core::sample::Sample;
use edge_service::probe::runner::Runner;
use edge_service::probe::{ProbeOptions, all};

const SECONDS: u32 = 20;

fn main() {
    let ticks: u32 = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(100_000);
    let mut runner = Runner::start(all(&ProbeOptions::default()));
    tick(&mut runner);
    std::thread::sleep(Duration::from_secs(1));
    let mut sample = Sample::default();
    for outcome in runner.tick(Duration::from_secs(10), Instant::now()) {
        let name = outcome.probe;
        match outcome.result {
            Ok(reading) => {
                println!("{name}: {:?}", outcome.took);
                sample.merge(reading);
            }
            Err(trouble) => println!("{name}: {trouble} ({:?})", outcome.took),
        }
    }
    match serde_json::to_string_pretty(&sample) {
        Ok(text) => println!("{text}"),
        Err(error) => println!("the sample could not be written: {error}"),
    }

    let before = cpu_time();
    for _ in 0..SECONDS {
        std::thread::sleep(Duration::from_secs(1));
        tick(&mut runner);
    }
    println!("a second apart: {:?} of CPU time a tick", (cpu_time() - before) / SECONDS);

    let (before, resident, start) = (cpu_time(), resident_kib(), Instant::now());
    for done in 1..=ticks {
        tick(&mut runner);
        if done % (ticks / 5).max(1) == 0 {
            println!("{done} ticks: {resident} KiB resident before, {} KiB after", resident_kib());
        }
    }
    let (used, passed) = (cpu_time() - before, start.elapsed());
    println!("in a row: {:?} of CPU time a tick, {:?} on the clock", used / ticks.max(1), passed / ticks.max(1));
}

fn tick(runner: &mut Runner) {
    runner.tick(Duration::from_secs(10), Instant::now());
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a whole timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Exact, where `VmRSS` of `/proc/self/status` may lag behind by some pages a thread.
fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
