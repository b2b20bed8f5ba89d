//! Given an alert that goes on, the daemon does what its rule has it do, and no more often than the cool-down allows.

use crate::fake_box::{FakeBox, samples};
use crate::harness::{Daemon, repository};

const MEMORY: &str = "alerts.rules.memory";

fn frame(daemon: &Daemon) -> u16 {
    let sample = std::fs::read(repository("models/digits/samples/7-03.png")).unwrap();
    daemon.post("/api/v1/frames", &sample).status
}

#[test]
fn while_it_sheds_new_requests_are_refused_and_afterwards_they_are_taken_again() {
    let fake = FakeBox::new();
    let daemon = fake.setup().set(&format!("{MEMORY}.shed_after"), 5).ready();
    assert_eq!(frame(&daemon), 200);
    fake.memory(95);
    daemon.wait_until("requests are refused", |daemon| frame(daemon) == 503);
    let sample = std::fs::read(repository("models/digits/samples/7-03.png")).unwrap();
    let refused = daemon.post("/api/v1/frames", &sample);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(refused.error().contains("while the alert memory fires"), "{}", refused.error());
    assert!(daemon.metric("inference_refused_total{reason=\"shed\"}") >= 1.0);
    assert!(daemon.metric("inference_requests_total{model=\"digits\",outcome=\"shed\"}") >= 1.0);
    assert_eq!(daemon.get("/v2/health/live").status, 200);
    fake.memory(50);
    daemon.wait_until("requests are taken again", |daemon| frame(daemon) == 200);
    let steps: Vec<String> =
        daemon.log.exactly("alert_action", 2).iter().map(|line| line["action"].as_str().unwrap().to_owned()).collect();
    assert_eq!(steps, ["shed", "admit"]);
    assert_eq!(daemon.metric("alert_actions_total{action=\"shed\",alert=\"memory\"}"), 1.0);
}

#[test]
fn an_alert_over_the_requests_themselves_ends_although_none_is_let_in() {
    let fake = FakeBox::new();
    let daemon = fake
        .setup()
        .set("alerts.rules.latency.enabled", true)
        .set("alerts.rules.latency.raise_above", 0.001)
        .set("alerts.rules.latency.clear_below", 0.0005)
        .set("alerts.rules.latency.shed_after", 1)
        .set("alerts.consecutive", 1)
        .ready();
    daemon.wait_until("requests are refused", |daemon| frame(daemon) == 503);
    daemon.wait_until("requests are taken again", |daemon| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        frame(daemon) == 200
    });
    let cause = &daemon.log.wait_for("alert_action", 2)[0];
    assert_eq!((&cause["alert"], &cause["action"]), (&"latency".into(), &"shed".into()));
}

#[test]
fn a_fresh_session_takes_the_place_of_the_one_before_without_a_request_lost() {
    let fake = FakeBox::new();
    let daemon = fake.setup().set(&format!("{MEMORY}.recycle_after"), 4).ready();
    let loaded = |daemon: &Daemon| daemon.get("/api/v1/monitoring/status").json()["model"]["loaded_at"].clone();
    let before = loaded(&daemon);
    fake.memory(95);
    daemon.wait_until("another session", |daemon| {
        assert_eq!(frame(daemon), 200);
        let now = loaded(daemon);
        !now.is_null() && now != before
    });
    samples(&daemon, 15);
    assert_eq!(daemon.log.exactly("alert_action", 1)[0]["action"], "recycle");
}

#[test]
fn it_leaves_with_an_exit_code_of_its_own_but_not_right_after_its_start() {
    let fake = FakeBox::new();
    fake.memory(95);
    let mut daemon = fake.setup().set(&format!("{MEMORY}.exit_after"), 3).set("alerts.cooldown_seconds", 1.5).start();
    let began = std::time::Instant::now();
    assert_eq!(daemon.wait_exit(), 75);
    assert!(began.elapsed() >= std::time::Duration::from_secs(1));
    assert_eq!(daemon.log.wait("alert_action")["action"], "exit");
    assert_eq!(daemon.log.wait("stopped")["level"], "INFO");
}

#[test]
fn nothing_is_done_unless_it_is_asked_for() {
    let fake = FakeBox::new();
    fake.memory(95);
    let daemon = fake.setup().ready();
    daemon.log.wait("alert");
    samples(&daemon, 20);
    assert_eq!(daemon.log.of("alert_action").len(), 0);
    assert_eq!(frame(&daemon), 200);
}
