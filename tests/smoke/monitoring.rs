//! The box is watched for real: its own figures, an alert on them, and an end in order.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Daemon, Setup};
use crate::stage::{INTERVAL_SECONDS, Stage, status};

fn newest(daemon: &Daemon) -> u64 {
    let history = daemon.get("/api/v1/history").json();
    history["samples"].as_array().unwrap().last().map_or(0, |sample| sample["number"].as_u64().unwrap())
}

/// Samples come at their interval, with thresholds, and what they say of the memory is what the kernel says.
pub fn set_up(stage: &mut Stage) {
    let daemon = stage.daemon();
    let before = newest(daemon);
    daemon.wait_until("further samples", |daemon| newest(daemon) >= before + 3);
    let status = status(daemon);
    assert_eq!((&status["monitoring_active"], &status["snapshot"]["stale"]), (&json!(true), &json!(false)));
    assert_eq!(status["monitor_interval"], INTERVAL_SECONDS);
    for rule in ["cpu", "memory", "disk"] {
        assert!(status["thresholds"][rule]["raise_above"].as_f64().unwrap() > 0.0, "{rule}");
    }
    let resources = &status["current_resources"];
    let used = resources["memory"]["used_percent"].as_f64().unwrap();
    assert!(used > 0.0 && used < 100.0, "{resources}");
    if daemon.metric("resource_scope{resource=\"memory\",scope=\"box\"}") == 1.0 {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
        let field = |name: &str| -> f64 {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim_end_matches("kB").trim().parse().unwrap()
        };
        let really = 100.0 * (1.0 - field("MemAvailable") / field("MemTotal"));
        assert!((used - really).abs() < 20.0, "{used} % are told, {really} % are in use");
    }
}

/// A threshold below what the box uses fires an alert, in the answer, the metric and the log; one above it resolves it.
pub fn alert(stage: &mut Stage) {
    let memory = "alert_active{alert=\"memory\",severity=\"warning\"}";
    let lower = |stage: &mut Stage, threshold: f64| {
        stage.write_config(threshold);
        let answer = stage.daemon().post("/api/v1/reload", &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    lower(stage, 0.01);
    let daemon = stage.daemon();
    let of_memory = |alert: &&Value| alert["alert"] == "memory";
    let firing = |daemon: &Daemon| {
        daemon.get("/api/v1/alerts").json()["firing"].as_array().unwrap().iter().find(of_memory).cloned()
    };
    daemon.wait_until("the alert fires", |daemon| firing(daemon).is_some());
    let fired = firing(daemon).unwrap();
    assert!(fired["value"].as_f64().unwrap() > 0.01 && fired["threshold"] == 0.01, "{fired}");
    daemon.wait_until("the metric says so", |daemon| daemon.metric(memory) == 1.0);
    lower(stage, 100.0);
    let daemon = stage.daemon();
    daemon.wait_until("the alert resolves", |daemon| firing(daemon).is_none() && daemon.metric(memory) == 0.0);
    // Other rules may speak meanwhile: this box is not idle.
    let states = |daemon: &Daemon| -> Vec<Value> {
        daemon.log.of("alert").iter().filter(of_memory).map(|line| line["state"].clone()).collect()
    };
    daemon.wait_until("both are in the log", |daemon| states(daemon).len() >= 2);
    assert_eq!(states(daemon), ["firing", "resolved"]);
}

/// Monitoring begins with a daemon and ends with it: samples from the start on, and every thread joined at the stop.
pub fn life_cycle(stage: &mut Stage) {
    stage.report();
    let daemon = Setup::default().model(&stage.original()).set("monitor.interval_seconds", 0.1).ready();
    daemon.wait_until("samples", |daemon| newest(daemon) >= 3);
    assert_eq!(status(&daemon)["monitoring_active"], true);
    let address = daemon.address;
    // It checks the exit code, 0, and that the log says of every thread that it has ended.
    daemon.stop();
    assert!(std::net::TcpStream::connect(address).is_err(), "something still listens on {address}");
}
