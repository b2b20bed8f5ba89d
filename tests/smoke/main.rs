//! Fifteen cases in five groups that say whether this build is worth a closer look: a model is quantised, served, watched and
//! measured, by the real binary on this very box. `make smoke` runs them in under a minute; nothing in them is a stand-in.
//!
//! They run in order against one daemon. A word on the command line takes only the cases whose name has it, and what they need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod end_to_end;
mod exposition;
#[allow(dead_code)]
#[path = "../integration/harness.rs"]
mod harness;
mod inference;
mod metrics;
mod monitoring;
mod quantisation;
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stage::Stage;

/// The longest that all of them may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a case does; it panics where something does not hold.
type Case = fn(&mut Stage);

const CASES: [(&str, &str, Case); 15] = [
    ("quantisation", "set-up", quantisation::set_up),
    ("quantisation", "validation", quantisation::validation),
    ("quantisation", "compression ratio", quantisation::compression_ratio),
    ("inference", "the model loads", inference::load),
    ("inference", "a frame takes under 100 ms at p95 and p99", inference::under_100_ms),
    ("inference", "batches", inference::batches),
    ("monitoring", "set-up", monitoring::set_up),
    ("monitoring", "an alert fires and resolves", monitoring::alert),
    ("monitoring", "life cycle", monitoring::life_cycle),
    ("metrics", "collected", metrics::collected),
    ("metrics", "valid", metrics::valid),
    ("metrics", "the user's names and types", metrics::names),
    ("end to end", "a picture is decoded and answered by the INT8 model", end_to_end::pictures),
    ("end to end", "the metrics tell of it", end_to_end::metrics),
    ("end to end", "the status tells of it", end_to_end::status_of),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |group: &str, name: &str| {
        words.is_empty() || words.iter().any(|word| format!("{group}: {name}").contains(word.as_str()))
    };
    let cases: Vec<_> = CASES.iter().filter(|(group, name, _)| wanted(group, name)).collect();
    if cases.is_empty() {
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    let mut stage = Stage::new();
    let mut failed = 0;
    for (group, name, case) in &cases {
        let case_begun = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| case(&mut stage))).is_ok();
        failed += usize::from(!passed);
        let said = if passed { "ok    " } else { "FAILED" };
        println!("{said} {group}: {name} ({:.1} s)", case_begun.elapsed().as_secs_f64());
    }
    // A daemon that does not leave in order fails this too.
    let left = catch_unwind(AssertUnwindSafe(|| stage.end())).is_ok();
    let took = begun.elapsed();
    println!("smoke: {} of {} passed in {:.1} s", cases.len() - failed, cases.len(), took.as_secs_f64());
    if took > LIMIT {
        println!("smoke: that is longer than {} s", LIMIT.as_secs());
    }
    if failed == 0 && left && took <= LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
