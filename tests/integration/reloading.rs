//! Given another configuration, the running daemon takes it whole, says what waits for a restart, or changes nothing.

use std::path::PathBuf;

use crate::fake_box::{FakeBox, samples};
use crate::harness::{Daemon, Setup};

/// A configuration file that a test may write anew.
struct File(tempfile::TempDir);

impl File {
    fn new(text: &str) -> File {
        let file = File(tempfile::tempdir().unwrap());
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("edge-service.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn setup(&self, fake: &FakeBox) -> Setup {
        fake.setup().arg("--config").arg(self.path().to_str().unwrap())
    }
}

fn reload(daemon: &Daemon) -> serde_json::Value {
    let answer = daemon.post("/api/v1/reload", &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn threshold(daemon: &Daemon) -> f64 {
    daemon.get("/api/v1/monitoring/status").json()["thresholds"]["memory"]["raise_above"].as_f64().unwrap()
}

#[test]
fn a_threshold_takes_effect_while_it_runs_and_the_alert_follows() {
    let (fake, file) = (FakeBox::new(), File::new(""));
    let daemon = file.setup(&fake).ready();
    assert_eq!(threshold(&daemon), 85.0);
    file.write("[alerts.rules.memory]\nraise_above = 40.0\nclear_below = 30.0\n");
    daemon.signal("HUP");
    assert_eq!(daemon.log.wait("alert")["threshold"], 40.0);
    assert_eq!(threshold(&daemon), 40.0);
    let said = daemon.log.wait("reloaded");
    assert_eq!(said["applied"], "alerts.rules.memory.clear_below,alerts.rules.memory.raise_above");
    file.write("");
    let answer = reload(&daemon);
    assert_eq!(answer["applied"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.log.wait_for("alert", 2)[1]["state"], "resolved");
}

#[test]
fn what_fires_by_a_rule_that_stays_as_it_was_goes_on_firing() {
    let (fake, file) = (FakeBox::new(), File::new(""));
    let daemon = file.setup(&fake).ready();
    fake.memory(95);
    daemon.log.wait("alert");
    file.write("[alerts.rules.disk]\nraise_above = 95.0\n");
    reload(&daemon);
    samples(&daemon, 10);
    assert_eq!(daemon.log.of("alert").len(), 1, "{:#?}", daemon.log.of("alert"));
    assert_eq!(daemon.get("/api/v1/alerts").json()["firing"].as_array().unwrap().len(), 1);
}

#[test]
fn a_bad_file_changes_nothing_and_all_that_is_wrong_is_said() {
    let (fake, file) = (FakeBox::new(), File::new(""));
    let daemon = file.setup(&fake).ready();
    file.write("[alerts.rules.memory]\nraise_above = 150.0\nclear_below = -1.0\n[alerts.rules.mood]\nenabled = true\n[model]\ntop_k = 1\n");
    let answer = daemon.post("/api/v1/reload", &[]);
    assert_eq!(answer.status, 400);
    let error = answer.error();
    for word in ["raise_above", "clear_below", "mood"] {
        assert!(error.contains(word), "{word} is not in {error}");
    }
    daemon.signal("HUP");
    daemon.wait_until("it is said", |daemon| daemon.log.of("reload_refused").len() >= 6);
    assert_eq!(threshold(&daemon), 85.0);
    assert_eq!(daemon.get("/v2/health/ready").status, 200);
}

#[test]
fn a_key_that_needs_a_restart_is_named_and_the_rest_is_done() {
    let (fake, file) = (FakeBox::new(), File::new(""));
    let daemon = file.setup(&fake).ready();
    file.write("[server]\nworkers = 3\n[model]\nqueue_limit = 7\ndefault_timeout_ms = 4000\n[log]\nlevel = \"warn,edge_service::http=debug\"\n");
    let answer = reload(&daemon);
    assert_eq!(answer["restart"], serde_json::json!(["server.workers"]));
    assert_eq!(answer["applied"], serde_json::json!(["log.level", "model.default_timeout_ms", "model.queue_limit"]));
    assert_eq!(daemon.log.wait("reload_restart")["key"], "server.workers");
    assert_eq!(daemon.get("/api/v1/monitoring/status").json()["queue"]["limit"], 7);
    // Said at a level that is now off.
    assert_eq!(daemon.log.of("reloaded").len(), 0);
    file.write("");
    reload(&daemon);
    assert_eq!(daemon.log.wait("reloaded")["why"], "POST /api/v1/reload");
}

#[test]
fn a_shorter_interval_is_not_waited_for_by_the_longer_one() {
    let (fake, file) = (FakeBox::new(), File::new(""));
    let mut setup = file.setup(&fake);
    setup.environment.remove("EDGE_SERVICE__MONITOR__INTERVAL_SECONDS");
    file.write("[monitor]\ninterval_seconds = 3600.0\n");
    let daemon = setup.ready();
    file.write("[monitor]\ninterval_seconds = 0.1\n");
    reload(&daemon);
    samples(&daemon, 3);
}

#[test]
fn no_request_is_dropped_by_a_reload() {
    let (fake, file) = (FakeBox::new(), File::new(""));
    let daemon = file.setup(&fake).ready();
    let sample = std::fs::read(crate::harness::repository("models/digits/samples/7-03.png")).unwrap();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..20).all(|_| daemon.post("/api/v1/frames", &sample).status == 200)))
            .collect();
        for round in 0..10 {
            file.write(&format!("[model]\nqueue_limit = {}\n[monitor]\nhistory_seconds = {round}.0\n", 64 + round));
            reload(&daemon);
        }
        assert!(clients.into_iter().all(|client| client.join().unwrap()));
    });
}

#[test]
fn with_a_token_whoever_has_it_may_call_and_nobody_else() {
    let (fake, file) = (FakeBox::new(), File::new(""));
    let token = file.0.path().join("token");
    std::fs::write(&token, "correct horse battery staple\n").unwrap();
    let (code, _, complaint) = file.setup(&fake).set("server.admin_token_file", token.display()).run("run");
    assert_eq!(code, 71);
    assert!(complaint.contains("without spaces"), "{complaint}");
    std::fs::write(&token, "correct-horse-battery-staple\n").unwrap();
    let daemon = file.setup(&fake).set("server.admin_token_file", token.display()).ready();
    let call = |headers: &[(&str, &str)]| daemon.send("POST", "/api/v1/reload", headers, &[]);
    let refused = call(&[]);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(call(&[("Authorization", "Bearer wrong-horse-battery-staple")]).status, 401);
    let right = ("Authorization", "Bearer correct-horse-battery-staple");
    assert_eq!(call(&[right]).status, 200);
    assert_eq!(call(&[right, ("Origin", "http://evil.example")]).status, 403);
    assert_eq!(call(&[right, ("Host", "evil.example")]).status, 403);
    assert_eq!(daemon.post("/v2/repository/models/digits/load", &[]).status, 401);
}
