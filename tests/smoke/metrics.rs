//! What `/metrics` has is what happened, in a form that Prometheus reads.

use std::fs;

use crate::exposition::{Exposition, parse};
use crate::harness::Daemon;
use crate::stage::{Stage, classify};

fn read(daemon: &Daemon) -> Exposition {
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{:?}", answer.headers);
    parse(&answer.text()).unwrap_or_else(|error| panic!("{error}"))
}

/// Every request is counted once, with its time, and the box's figures are there.
pub fn collected(stage: &mut Stage) {
    let picture = fs::read(&stage.samples()[0].0).unwrap();
    let daemon = stage.daemon();
    let before = read(daemon);
    (0..5).for_each(|_| drop(classify(daemon, &picture)));
    let after = read(daemon);
    let ok = "inference_requests_total{model=\"digits\",outcome=\"ok\"}";
    for name in [ok, "inference_request_duration_seconds_count", "inference_run_duration_seconds_count"] {
        assert_eq!(after.value(name) - before.value(name), 5.0, "{name}");
    }
    assert!(
        after.value("inference_request_duration_seconds_sum") > before.value("inference_request_duration_seconds_sum")
    );
    for name in ["memory_usage_bytes", "memory_total_bytes", "process_resident_memory_bytes", "process_threads"] {
        assert!(after.value(name) > 0.0, "{name}");
    }
    stage.answered += 5;
    assert_eq!(after.value(ok), stage.answered as f64, "every request so far, and the canary's are not among them");
}

/// The text is parsed as Prometheus would: types, names, labels, buckets that add up.
pub fn valid(stage: &mut Stage) {
    let metrics = read(stage.daemon());
    assert!(metrics.families.len() > 40, "there are {}", metrics.families.len());
    // The parser is worth something only if it refuses what is wrong.
    for wrong in [
        "a 1\n",
        "# HELP a b\n# TYPE a counter\na 1\n",
        "# HELP a_total b\n# TYPE a_total counter\na_total{x=\"y} 1\n",
        "# HELP a b\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# HELP a b\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
        "# HELP a b\n# TYPE a gauge\na one\n",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

/// The names that the user's system has always had.
pub fn names(stage: &mut Stage) {
    let metrics = read(stage.daemon());
    for (name, kind) in [
        ("inference_request_duration_seconds", "histogram"),
        ("inference_requests_total", "counter"),
        ("inference_session_ready", "gauge"),
        ("model_load_duration_seconds", "histogram"),
    ] {
        assert_eq!(metrics.families.get(name).map(String::as_str), Some(kind), "{name}");
    }
}
