//! The daemon asks its model a question with a known answer, and is not ready while it answers anything else.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Daemon, Setup, model};
use crate::under_way::{scalar, twice};

fn often(setup: Setup) -> Setup {
    setup.set("model.canary_seconds", 0.1).set("model.canary_timeout_ms", 300)
}

fn canaries(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.metric(&format!("canary_runs_total{{outcome=\"{outcome}\"}}"))
}

/// Waits for some more canaries that were answered well.
fn wait_ok(daemon: &Daemon, more: f64) {
    let before = canaries(daemon, "ok");
    daemon.wait_until("canaries", |daemon| canaries(daemon, "ok") >= before + more);
}

#[test]
fn a_model_that_answers_otherwise_than_at_warm_up_is_not_ready_until_it_is_right_again() {
    for (how, outcome, word) in [
        ("wrong", "wrong", "is off by"),
        ("nan", "wrong", "is not finite"),
        ("silent", "silent", "no answer within 300 ms"),
    ] {
        let daemon = often(scalar()).ready();
        wait_ok(&daemon, 1.0);
        daemon.answers(how);
        daemon.wait_until("not ready", |daemon| daemon.readiness().0 == 503);
        let (_, reason) = daemon.readiness();
        assert!(reason.starts_with("canary: ") && reason.contains(word), "{reason}");
        assert_eq!(daemon.get("/v2/health/ready").status, 503);
        assert_eq!(daemon.get("/v2/health/live").status, 200);
        assert_eq!(daemon.get("/healthz").status, 200);
        assert!(canaries(&daemon, outcome) >= 1.0);
        assert_eq!(daemon.log.wait("not_ready")["reason"], reason);
        daemon.answers("right");
        daemon.wait_ready();
        daemon.log.wait_for("ready", 2);
        assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
    }
}

#[test]
fn a_model_that_stays_wrong_is_said_once() {
    let daemon = often(scalar()).ready();
    daemon.answers("wrong");
    daemon.wait_until("many canaries", |daemon| canaries(daemon, "wrong") >= 5.0);
    daemon.log.exactly("not_ready", 1);
}

#[test]
fn a_model_room_that_dies_forgets_no_bad_word_and_clears_it_when_the_model_is_right() {
    let daemon = often(scalar()).ready();
    daemon.answers("wrong");
    daemon.wait_until("not ready", |daemon| daemon.readiness().1.starts_with("canary"));
    daemon.panic_in("model");
    daemon.wait_metric("actor_restarts_total{actor=\"model\"}", 1.0);
    daemon.wait_until("still not ready", |daemon| daemon.readiness().1.starts_with("canary"));
    daemon.answers("right");
    daemon.wait_ready();
}

#[test]
fn the_canary_counts_in_no_metric_of_requests() {
    let daemon = often(scalar()).ready();
    wait_ok(&daemon, 3.0);
    let text = daemon.get("/metrics").text();
    for line in text.lines().filter(|line| {
        line.starts_with("inference_requests_total{")
            || line.starts_with("inference_refused_total{")
            || line.starts_with("inference_expired_total{")
            || (line.starts_with("inference_") && line.contains("_seconds_count"))
    }) {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

#[test]
fn a_model_that_is_asked_by_others_is_not_asked_by_the_canary() {
    let period = Duration::from_secs(1);
    let daemon = scalar().set("model.canary_seconds", period.as_secs_f64()).ready();
    let (begun, mut last, mut pauses) = (Instant::now(), Instant::now(), 0);
    while begun.elapsed() < 4 * period {
        assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
        // A box that holds this test back gives the canary its turn.
        pauses += u32::from(last.elapsed() > period / 4);
        last = Instant::now();
    }
    assert!(canaries(&daemon, "ok") <= f64::from(pauses), "{pauses} pauses");
    daemon.wait_until("the canary, when nobody asks", |daemon| canaries(daemon, "ok") > f64::from(pauses));
}

#[test]
fn a_queue_that_is_full_never_fails_the_canary() {
    let daemon = often(scalar().set("model.queue_limit", 2)).ready();
    daemon.answers("silent");
    let mut pending = vec![daemon.begin_infer("scalar", &twice(1.0))];
    daemon.wait_until("the request runs", |daemon| {
        daemon.get("/test/running").text() == "1" && daemon.metric("inference_queue_depth") == 0.0
    });
    pending.extend((0..2).map(|_| daemon.begin_infer("scalar", &twice(1.0))));
    daemon.wait_queued(2);
    let full = Instant::now();
    // Many times what the canary may take while nothing else is under way.
    while full.elapsed() < Duration::from_secs(2) {
        assert_eq!(daemon.readiness(), (200, String::new()));
    }
    daemon.answers("right");
    assert!(pending.into_iter().all(|request| request.answer().status == 200));
    wait_ok(&daemon, 1.0);
    assert_eq!((canaries(&daemon, "silent"), canaries(&daemon, "wrong")), (0.0, 0.0));
}

#[test]
fn a_load_that_takes_its_time_never_fails_the_canary() {
    let daemon = often(scalar()).ready();
    wait_ok(&daemon, 1.0);
    daemon.answers("silent");
    let load = daemon.begin_load("scalar");
    daemon.wait_until("the load is under way", |daemon| daemon.get("/test/running").text() == "1");
    daemon.answers("right");
    assert_eq!(load.answer().status, 200);
    assert_eq!(daemon.readiness().0, 200);
}

#[test]
fn a_model_whose_answers_cannot_be_compared_is_ready_and_asked_only_for_an_answer() {
    for (name, word) in [
        ("needs_value_range", "refuses the canary's input"),
        ("text_to_number", ""),
        ("nondeterministic", "two runs of the canary differ"),
    ] {
        let daemon = often(Setup::fixture(name)).ready();
        wait_ok(&daemon, 3.0);
        assert_eq!(daemon.readiness().0, 200, "{name}");
        assert_eq!(canaries(&daemon, "wrong"), 0.0, "{name}");
        if name == "text_to_number" {
            // The canary sends a number, which is what this model reads.
            assert!(daemon.log.of("canary_answer_only").is_empty());
            continue;
        }
        let said = daemon.log.exactly("canary_answer_only", 1);
        assert!(said[0]["message"].as_str().unwrap().contains(word), "{said:?}");
    }
}

#[test]
fn a_model_that_answers_nan_at_warm_up_is_asked_only_for_an_answer() {
    let daemon = often(scalar()).env("TEST_ANSWERS", "nan").ready();
    wait_ok(&daemon, 2.0);
    assert!(daemon.log.wait("canary_answer_only")["message"].as_str().unwrap().contains("is not finite"));
    daemon.answers("silent");
    daemon.wait_until("silence counts all the same", |daemon| daemon.readiness().1.contains("no answer within"));
    daemon.answers("right");
    daemon.wait_ready();
}

#[test]
fn the_sample_of_model_toml_is_what_the_canary_asks() {
    let daemon = often(Setup::digits()).ready();
    wait_ok(&daemon, 2.0);
    assert!(daemon.log.of("canary_answer_only").is_empty());
    daemon.answers("wrong");
    daemon.wait_until("not ready", |daemon| daemon.readiness().0 == 503);
    daemon.answers("right");
    daemon.wait_ready();
}

/// A daemon that serves a copy which the test may replace.
fn serving_a_copy(folder: &Path) -> Daemon {
    let file = folder.join("scalar.onnx");
    fs::copy(model("scalar"), &file).unwrap();
    often(Setup::default().model(&file)).ready()
}

#[test]
fn every_file_that_is_loaded_is_asked_by_its_own_answers() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = serving_a_copy(folder.path());
    wait_ok(&daemon, 1.0);
    fs::copy(model("mlp"), folder.path().join("scalar.onnx")).unwrap();
    assert_eq!(daemon.begin_load("scalar").answer().status, 200);
    assert_eq!(daemon.get("/v2/models/scalar").json()["inputs"][0]["shape"][1], 64);
    wait_ok(&daemon, 2.0);
    assert_eq!(daemon.readiness().0, 200);
    assert_eq!((canaries(&daemon, "wrong"), canaries(&daemon, "silent")), (0.0, 0.0));
    daemon.answers("wrong");
    daemon.wait_until("not ready", |daemon| daemon.readiness().0 == 503);
    // What is loaded while it is wrong is right by definition.
    assert_eq!(daemon.begin_load("scalar").answer().status, 200);
    assert_eq!(daemon.readiness().0, 200);
}

#[test]
fn a_load_that_fails_leaves_the_model_before_in_service_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = serving_a_copy(folder.path());
    fs::write(folder.path().join("scalar.onnx"), b"no model").unwrap();
    let answer = daemon.begin_load("scalar").answer();
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("failed to load"), "{}", answer.text());
    let said = daemon.log.wait("load_failed")["message"].as_str().unwrap().to_owned();
    assert!(said.contains("not an ONNX model"), "{said}");
    assert_eq!(daemon.readiness().0, 200);
    assert_eq!(daemon.infer("scalar", &twice(4.0)).json()["outputs"][0]["data"][0], 8.0);
    wait_ok(&daemon, 1.0);
}

#[test]
fn loading_and_warming_up_never_keep_the_web_waiting() {
    let daemon = scalar().env("TEST_ANSWERS", "silent").start();
    daemon.wait_running(1);
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(daemon.get("/v2/health/live").status, 200);
        assert_eq!(daemon.readiness(), (503, "the model is being loaded".to_owned()));
        assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 503);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    daemon.answers("right");
    daemon.wait_ready();
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
}

#[test]
fn a_model_that_never_finishes_its_warm_up_is_refused() {
    let mut daemon = Setup::fixture("infinite_loop").set("model.load_timeout_seconds", 0.5).start();
    assert_eq!(daemon.wait_exit(), 65);
    let said = daemon.log.wait("model_failed")["message"].as_str().unwrap().to_owned();
    assert!(said.contains("model.load_timeout_seconds"), "{said}");
}
