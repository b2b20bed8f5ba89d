//! A request whose answer nobody wants any more is not computed, and the engine is free for the next one.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Daemon, Setup};
use crate::under_way::{rounds, scalar, twice, twice_within};

/// Ten times the tenth of a second within which a client that left is seen.
const SEEN: Duration = Duration::from_secs(1);

fn expired(daemon: &Daemon, reason: &str) -> f64 {
    daemon.metric(&format!("inference_expired_total{{reason=\"{reason}\"}}"))
}

fn outcome(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.metric(&format!("inference_requests_total{{model=\"scalar\",outcome=\"{outcome}\"}}"))
}

#[test]
fn a_run_past_its_deadline_is_ended_and_the_engine_is_free() {
    let daemon = Setup::fixture("slow").ready();
    // Hours.
    let mut request = rounds(1_000_000_000);
    request["parameters"] = json!({"timeout": 200_000});
    let begun = Instant::now();
    let answer = daemon.infer("slow", &request);
    let took = begun.elapsed();
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(
        answer.error().contains("deadline of 200 ms") || answer.error().contains("deadline of 199 ms"),
        "{}",
        answer.text()
    );
    assert!((Duration::from_millis(200)..Duration::from_secs(2)).contains(&took), "{took:?}");
    daemon.wait_running(0);
    assert_eq!(daemon.infer("slow", &rounds(1)).status, 200);
    assert!(begun.elapsed() < took + SEEN, "{:?}", begun.elapsed());
    assert_eq!(expired(&daemon, "deadline"), 1.0);
}

#[test]
fn a_request_that_names_no_deadline_has_the_configured_one() {
    let daemon = scalar().set("model.default_timeout_ms", 100).set("model.max_timeout_ms", 300).ready();
    daemon.answers("silent");
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 504);
    let longer = twice_within(1.0, Duration::from_secs(3600));
    assert!(daemon.infer("scalar", &longer).error().contains("deadline of 300 ms"));
    assert_eq!((outcome(&daemon, "expired"), expired(&daemon, "deadline")), (2.0, 2.0));
}

#[test]
fn a_request_past_its_deadline_leaves_the_queue_though_the_engine_is_busy() {
    let daemon = scalar().ready();
    daemon.answers("silent");
    let running = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    assert_eq!(daemon.infer("scalar", &twice_within(1.0, Duration::from_millis(100))).status, 504);
    assert_eq!(daemon.metric("inference_queue_depth"), 0.0);
    assert_eq!(expired(&daemon, "deadline"), 1.0);
    daemon.answers("right");
    assert_eq!(running.answer().status, 200);
    assert_eq!(daemon.metric("inference_run_duration_seconds_count"), 1.0, "it was never run");
}

#[test]
fn a_run_that_cannot_be_ended_is_answered_at_its_deadline_all_the_same() {
    let daemon = scalar().ready();
    daemon.answers("deaf");
    assert_eq!(daemon.infer("scalar", &twice_within(1.0, Duration::from_millis(100))).status, 504);
    daemon.wait_running(1);
    daemon.answers("right");
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
}

#[test]
fn a_client_that_leaves_while_its_request_runs_ends_the_run() {
    for half in [false, true] {
        let daemon = scalar().ready();
        daemon.answers("silent");
        let pending = daemon.begin_infer("scalar", &twice(1.0));
        daemon.wait_running(1);
        let left = Instant::now();
        if half {
            pending.close_half();
        } else {
            pending.close();
        }
        daemon.wait_running(0);
        assert!(left.elapsed() < SEEN, "{:?}", left.elapsed());
        daemon.wait_metric("inference_expired_total{reason=\"client_gone\"}", 1.0);
        daemon.wait_metric("inference_requests_total{model=\"scalar\",outcome=\"gone\"}", 1.0);
        daemon.answers("right");
        assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
    }
}

#[test]
fn a_client_that_leaves_while_its_request_waits_frees_its_place() {
    for half in [false, true] {
        let daemon = scalar().set("model.queue_limit", 1).ready();
        daemon.answers("silent");
        let running = daemon.begin_infer("scalar", &twice(1.0));
        daemon.wait_running(1);
        let waiting = daemon.begin_infer("scalar", &twice(1.0));
        daemon.wait_queued(1);
        let left = Instant::now();
        if half {
            waiting.close_half();
        } else {
            waiting.close();
        }
        daemon.wait_queued(0);
        assert!(left.elapsed() < SEEN, "{:?}", left.elapsed());
        // The engine is busy still, and the place is another's.
        let next = daemon.begin_infer("scalar", &twice(2.0));
        daemon.wait_queued(1);
        daemon.answers("right");
        assert_eq!((running.answer().status, next.answer().status), (200, 200));
        assert_eq!(expired(&daemon, "client_gone"), 1.0);
        assert_eq!((outcome(&daemon, "gone"), outcome(&daemon, "ok")), (1.0, 2.0));
        assert_eq!(daemon.metric("inference_run_duration_seconds_count"), 2.0, "it was never run");
    }
}

#[test]
fn a_client_that_leaves_a_real_run_frees_the_engine() {
    let daemon = Setup::fixture("slow").ready();
    let pending = daemon.begin_infer("slow", &rounds(1_000_000_000));
    daemon.wait_running(1);
    pending.close();
    daemon.wait_running(0);
    assert_eq!(daemon.infer("slow", &rounds(1)).status, 200);
    assert_eq!(expired(&daemon, "client_gone"), 1.0);
}
