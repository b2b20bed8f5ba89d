//! A quantised form that took the original's place is watched for a while, and taken back where it does worse.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Daemon, Setup};
use crate::qualifying::{House, ask, asks, serves, state, status, wait_serves};

/// A daemon whose original has served for a while before the quantised form took its place; the canary is off.
fn swapped(house: &House, setup: Setup) -> Daemon {
    let daemon = setup.set("model.rollback.min_requests", 10).ready();
    asks(&daemon, 30);
    house.put("faster.onnx", "net_int8.onnx");
    assert_eq!(daemon.post("/v2/repository/models/net/load", b"").status, 200);
    wait_serves(&daemon, "quantized");
    assert_eq!(status(&daemon)["qualification"]["watched"], true);
    daemon
}

/// The reason of the one line that says that the original is back.
fn back(daemon: &Daemon) -> String {
    let line = daemon.log.wait("model_rolled_back");
    wait_serves(daemon, "original");
    daemon.wait_ready();
    daemon.log.exactly("model_rolled_back", 1);
    assert_eq!((daemon.metric("model_rollbacks_total"), state(daemon).as_str()), (1.0, "rolled_back"));
    line["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_canary_that_fails_after_the_swap_takes_it_back() {
    let house = House::new();
    let daemon = swapped(&house, house.setup().set("model.canary_seconds", 0.1));
    daemon.answers("quantized-nan");
    let reason = back(&daemon);
    assert!(reason.starts_with("canary: ") && reason.contains("not finite"), "{reason}");
    asks(&daemon, 5);
}

#[test]
fn a_wrong_answer_takes_a_swap_back_however_much_is_asked_meanwhile() {
    let house = House::new();
    let daemon = swapped(&house, house.setup().set("model.canary_seconds", 0.2));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                ask(&daemon);
            }
        });
        let taken_back = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            daemon.answers("quantized-wrong");
            let reason = back(&daemon);
            assert!(reason.starts_with("canary: the answer differs from the one at warm-up"), "{reason}");
        }));
        over.store(true, Ordering::Relaxed);
        taken_back.unwrap();
    });
}

#[test]
fn more_failures_than_before_take_it_back_and_it_stays_refused_until_told_otherwise() {
    let house = House::new();
    let daemon = swapped(&house, house.setup().set("model.canary_seconds", 0));
    daemon.answers("quantized-fail");
    (0..12).for_each(|_| {
        ask(&daemon);
    });
    let reason = back(&daemon);
    assert!(reason.contains("% of the requests failed since the swap, 0.0 % before"), "{reason}");
    asks(&daemon, 5);
    assert_eq!(house.state("refused.json")["data"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.post("/v2/repository/models/net/load", b"").status, 200);
    assert_eq!((serves(&daemon), state(&daemon)), ("original".to_owned(), "rolled_back".to_owned()));
    daemon.stop();

    let again = house.setup().ready();
    assert_eq!((serves(&again), state(&again)), ("original".to_owned(), "rolled_back".to_owned()));
    let reason = status(&again)["model"]["variant_reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("the quantised form was taken back: "), "{reason}");
    let told = again.post("/api/v1/qualify", b"");
    assert_eq!((told.status, told.json()["state"].clone()), (202, "measuring".into()));
    wait_serves(&again, "quantized");
    assert_eq!(house.state("refused.json")["data"].as_array().unwrap().len(), 0);
}

#[test]
fn longer_runs_than_before_take_it_back() {
    let house = House::new();
    let daemon = swapped(&house, house.setup().set("model.canary_seconds", 0).set("model.rollback.max_p95_ratio", 2));
    daemon.answers("quantized-slow");
    asks(&daemon, 12);
    let reason = back(&daemon);
    assert!(reason.starts_with("95 of 100 runs took up to "), "{reason}");
}

#[test]
fn once_its_time_is_over_a_swap_stays() {
    let house = House::new();
    let setup = house.setup().set("model.canary_seconds", 0).set("model.rollback.watch_seconds", 0.5);
    let daemon = setup.set("model.rollback.min_requests", 10).ready();
    asks(&daemon, 30);
    house.put("faster.onnx", "net_int8.onnx");
    assert_eq!(daemon.post("/v2/repository/models/net/load", b"").status, 200);
    daemon.log.wait("swap_stays");
    daemon.answers("quantized-fail");
    (0..20).for_each(|_| {
        ask(&daemon);
    });
    assert_eq!(
        (serves(&daemon), status(&daemon)["qualification"]["watched"].clone()),
        ("quantized".to_owned(), false.into())
    );
    assert_eq!(daemon.metric("model_rollbacks_total"), 0.0);
    daemon.answers("right");
}

#[test]
fn the_command_has_one_that_was_taken_back_serve_again() {
    let house = House::new();
    let daemon = swapped(&house, house.setup().set("model.canary_seconds", 0));
    daemon.answers("quantized-fail");
    (0..12).for_each(|_| {
        ask(&daemon);
    });
    back(&daemon);
    daemon.answers("right");
    // The receipt by which it came to serve is older than what it did.
    let (code, told, complaint) = house.qualify(&[]);
    assert_eq!(code, 1, "{told} {complaint}");
    assert!(complaint.contains("measure it again with --anew") && told.contains("rolled_back"), "{told} {complaint}");
    assert_eq!(house.state("refused.json")["data"].as_array().unwrap().len(), 1);
    let (code, _, complaint) = house.qualify(&["--anew"]);
    assert_eq!(code, 0, "{complaint}");
    assert!(complaint.contains("is refused no longer"), "{complaint}");
    assert_eq!(daemon.post("/v2/repository/models/net/load", b"").status, 200);
    assert_eq!(serves(&daemon), "quantized");
}

#[test]
fn a_room_that_dies_while_a_swap_is_watched_watches_on_by_what_was_before() {
    let house = House::new();
    let daemon = swapped(&house, house.setup().set("model.canary_seconds", 0));
    daemon.panic_in("model");
    daemon.wait_metric("actor_restarts_total{actor=\"model\"}", 1.0);
    daemon.wait_ready();
    daemon.wait_until("it is watched", |daemon| status(daemon)["qualification"]["watched"] == true);
    daemon.answers("quantized-fail");
    (0..12).for_each(|_| {
        ask(&daemon);
    });
    let reason = back(&daemon);
    assert!(reason.ends_with("0.0 % before"), "{reason}");
}

#[test]
fn a_room_that_dies_when_a_swap_is_to_be_taken_back_takes_it_back_all_the_same() {
    let house = House::new();
    let daemon = swapped(&house, house.setup().set("model.canary_seconds", 0));
    daemon.answers("quantized-fail");
    (0..12).for_each(|_| {
        ask(&daemon);
    });
    daemon.log.wait("model_rolled_back");
    daemon.panic_in("model");
    back(&daemon);
    daemon.answers("right");
    asks(&daemon, 5);
}

#[test]
fn a_model_that_was_taken_out_stays_out_whatever_is_measured() {
    let house = House::with("faster");
    let daemon = house.setup().ready();
    assert_eq!(daemon.post("/v2/repository/models/net/unload", b"").status, 200);
    daemon.log.wait("qualified");
    for _ in 0..20 {
        assert_eq!((ask(&daemon), serves(&daemon)), (503, "nothing".to_owned()));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(daemon.post("/v2/repository/models/net/load", b"").status, 200);
    wait_serves(&daemon, "quantized");
}
