//! Whatever dies, callers are told, the room is back, and the log and the metrics say so.

use crate::harness::{Daemon, Setup};
use crate::under_way::{rounds, scalar, twice};

const RESTARTS: [&str; 3] = ["model", "engine", "web"];
/// Longer than any test: a room that died does not come back within it.
const NEVER_MS: u64 = 60_000;

/// How often each room was restarted: model, engine, web.
fn restarts(daemon: &Daemon) -> [f64; 3] {
    RESTARTS.map(|room| daemon.metric(&format!("actor_restarts_total{{actor=\"{room}\"}}")))
}

/// Waits until the room was restarted and the daemon is ready, and shows that it answers and what the log says.
fn assert_back(daemon: &Daemon, room: &str) {
    daemon.wait_metric(&format!("actor_restarts_total{{actor=\"{room}\"}}"), 1.0);
    daemon.wait_ready();
    assert_eq!(daemon.infer("scalar", &twice(2.0)).json()["outputs"][0]["data"][0], 4.0);
    assert_eq!(restarts(daemon).iter().sum::<f64>(), 1.0, "{room} alone was restarted");
    let down = daemon.log.exactly("room_down", 1);
    assert_eq!(down[0]["room"], room);
    assert_eq!(down[0]["crashed"], true);
    let panics = daemon.log.exactly("panic", 1);
    assert!(panics[0]["place"].as_str().unwrap().starts_with("src/"), "{panics:?}");
}

#[test]
fn the_model_room_comes_back_without_loading_the_model_again() {
    let daemon = scalar().ready();
    daemon.panic_in("model");
    assert_back(&daemon, "model");
    daemon.log.exactly("model_ready", 1);
}

#[test]
fn the_engine_thread_comes_back_with_a_model_loaded_anew() {
    let daemon = scalar().ready();
    daemon.panic_in("engine");
    assert_back(&daemon, "engine");
    daemon.log.exactly("model_ready", 2);
}

#[test]
fn the_web_room_comes_back_and_what_was_under_way_is_answered() {
    let daemon = scalar().ready();
    daemon.answers("silent");
    let pending = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    daemon.panic_in("web");
    daemon.wait_metric("actor_restarts_total{actor=\"web\"}", 1.0);
    daemon.answers("right");
    assert_eq!(pending.answer().json()["outputs"][0]["data"][0], 2.0);
    assert_back(&daemon, "web");
}

#[test]
fn connections_made_while_the_web_room_is_rebuilt_are_served() {
    let daemon = scalar().set("server.restart_backoff_ms", 300).ready();
    daemon.panic_in("web");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut answered = 0;
                while restarts(&daemon)[2] < 1.0 || answered < 100 {
                    assert_eq!(daemon.get("/healthz").status, 200);
                    answered += 1;
                }
            });
        }
    });
    assert_back(&daemon, "web");
}

#[test]
fn a_handler_that_panics_answers_500_and_nothing_else_notices() {
    let daemon = scalar().ready();
    let answer = daemon.send("POST", "/test/panic/handler", &[("X-Request-Id", "mine")], b"");
    assert_eq!((answer.status, answer.header("x-request-id")), (500, Some("mine")));
    assert!(answer.error().contains("see the log"));
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
    assert_eq!(restarts(&daemon), [0.0; 3]);
    daemon.log.exactly("panic", 1);
}

#[test]
fn a_supervisor_that_panics_ends_the_daemon_with_70_and_its_clients_are_told() {
    let mut daemon = scalar().ready();
    daemon.answers("silent");
    let pending = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    daemon.panic_in("supervisor");
    assert_eq!(pending.answer().status, 503);
    assert_eq!(daemon.wait_exit(), 70);
    daemon.log.exactly("supervisor_down", 1);
}

#[test]
fn a_spent_budget_ends_the_daemon_with_70_and_its_clients_are_told() {
    let mut daemon = scalar().set("server.restart_budget", 1).ready();
    daemon.answers("silent");
    let pending = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    daemon.panic_in("model");
    daemon.wait_metric("actor_restarts_total{actor=\"model\"}", 1.0);
    daemon.wait_ready();
    daemon.panic_in("model");
    assert_eq!(pending.answer().status, 503);
    assert_eq!(daemon.wait_exit(), 70);
    assert_eq!(daemon.log.exactly("restart_budget_spent", 1)[0]["room"], "model");
}

#[test]
fn a_run_that_panics_is_answered_503_and_what_waits_behind_it_is_computed() {
    let daemon = scalar().ready();
    daemon.answers("silent");
    let running = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    let waiting = daemon.begin_infer("scalar", &twice(2.0));
    daemon.wait_queued(1);
    daemon.answers("panic");
    let answer = running.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.error().contains("lost"), "{}", answer.text());
    assert_eq!(waiting.answer().json()["outputs"][0]["data"][0], 4.0);
    assert_back(&daemon, "engine");
    assert_eq!(daemon.metric("inference_requests_total{model=\"scalar\",outcome=\"failed\"}"), 1.0);
}

#[test]
fn a_request_to_a_model_room_that_is_down_is_answered_503_at_once() {
    let daemon = scalar().set("server.restart_backoff_ms", NEVER_MS).ready();
    daemon.panic_in("model");
    daemon.wait_until("not ready", |daemon| daemon.readiness().0 == 503);
    assert_eq!(daemon.readiness().1, "the model room is being restarted");
    let answer = daemon.infer("scalar", &twice(1.0));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.error().contains("being restarted"));
    assert_eq!(daemon.get("/healthz").status, 200);
}

#[test]
fn a_run_under_way_outlives_the_model_room() {
    let daemon = scalar().ready();
    daemon.answers("silent");
    let pending = daemon.begin_infer("scalar", &twice(1.0));
    daemon.wait_running(1);
    daemon.panic_in("model");
    daemon.wait_metric("actor_restarts_total{actor=\"model\"}", 1.0);
    daemon.answers("right");
    assert_eq!(pending.answer().status, 200);
}

#[test]
fn a_load_that_ends_after_the_model_room_died_takes_effect_and_is_told() {
    let daemon = scalar().ready();
    daemon.answers("silent");
    let load = daemon.begin_load("scalar");
    daemon.wait_running(1);
    daemon.panic_in("model");
    daemon.wait_metric("actor_restarts_total{actor=\"model\"}", 1.0);
    daemon.wait_ready();
    daemon.answers("right");
    assert_eq!(load.answer().status, 200);
    daemon.log.exactly("model_ready", 2);
    assert_back(&daemon, "model");
}

#[test]
fn a_model_room_that_dies_during_the_first_load_does_not_load_twice() {
    let daemon = scalar().env("TEST_ANSWERS", "silent").start();
    daemon.wait_running(1);
    daemon.panic_in("model");
    daemon.wait_metric("actor_restarts_total{actor=\"model\"}", 1.0);
    daemon.answers("right");
    assert_back(&daemon, "model");
    daemon.log.exactly("model_ready", 1);
}

#[test]
fn a_load_that_panics_tells_who_asked_and_the_model_before_serves_on() {
    let daemon = scalar().ready();
    daemon.answers("silent");
    let load = daemon.begin_load("scalar");
    daemon.wait_running(1);
    daemon.answers("panic");
    assert_eq!(load.answer().status, 503);
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
    assert_eq!(daemon.metric("actor_restarts_total{actor=\"engine\"}"), 0.0);
    assert_eq!(daemon.post("/v2/repository/models/scalar/load", b"").status, 200);
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
}

#[test]
fn a_model_that_was_taken_out_stays_out_whatever_dies() {
    let daemon = scalar().ready();
    assert_eq!(daemon.post("/v2/repository/models/scalar/unload", b"").status, 200);
    assert_eq!(daemon.readiness(), (503, "the model is unloaded".to_owned()));
    daemon.panic_in("engine");
    daemon.wait_metric("actor_restarts_total{actor=\"engine\"}", 1.0);
    daemon.panic_in("model");
    daemon.wait_metric("actor_restarts_total{actor=\"model\"}", 1.0);
    assert_eq!(daemon.readiness(), (503, "the model is unloaded".to_owned()));
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 503);
    daemon.wait_until("a load", |daemon| daemon.post("/v2/repository/models/scalar/load", b"").status == 200);
    assert_eq!(daemon.readiness().0, 200);
    assert_eq!(daemon.infer("scalar", &twice(1.0)).status, 200);
    daemon.log.exactly("model_ready", 2);
}

#[test]
fn one_of_two_engine_threads_may_die_while_the_other_answers() {
    let daemon = Setup::fixture("slow").set("model.sessions", 2).ready();
    let pending = daemon.begin_infer("slow", &rounds(100_000));
    daemon.wait_running(1);
    daemon.panic_in("engine");
    daemon.wait_metric("actor_restarts_total{actor=\"engine\"}", 1.0);
    daemon.wait_ready();
    assert_eq!(pending.answer().status, 200);
    assert_eq!(daemon.infer("slow", &rounds(1)).status, 200);
}
