//! Given a box in trouble, the daemon says so once, says so clearly, and says when it is over.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::fake_box::{FakeBox, samples};
use crate::harness::{Daemon, PATIENCE, Setup};

fn status(daemon: &Daemon) -> Value {
    daemon.get("/api/v1/monitoring/status").json()
}

#[test]
fn a_box_at_91_percent_memory_for_three_samples_fires_once_and_clears_once_even_at_log_level_error() {
    let fake = FakeBox::new();
    let daemon =
        fake.setup().set("log.level", "error,edge_service::daemon=info,edge_service::actors::supervisor=info").start();
    samples(&daemon, 3);
    assert_eq!(daemon.get("/api/v1/alerts").json()["firing"], serde_json::json!([]));
    fake.memory(91);
    let fired = daemon.log.wait("alert");
    samples(&daemon, 10);
    assert_eq!(daemon.metric("alert_active{alert=\"memory\",severity=\"warning\"}"), 1.0);
    fake.memory(50);
    let lines = daemon.log.wait_for("alert", 2);
    samples(&daemon, 10);
    assert_eq!(daemon.log.of("alert").len(), 2, "{:#?}", daemon.log.of("alert"));

    assert_eq!(
        (&fired["alert"], &fired["state"], &fired["severity"]),
        (&"memory".into(), &"firing".into(), &"warning".into())
    );
    assert_eq!((fired["value"].as_f64(), fired["threshold"].as_f64()), (Some(91.0), Some(85.0)));
    assert_eq!((&fired["unit"], fired["consecutive"].as_u64()), (&"percent".into(), Some(3)));
    assert!(fired["since"].as_str().unwrap().ends_with('Z') && !fired["host"].as_str().unwrap().is_empty());
    assert!(fired["message"].as_str().unwrap().contains("91.0 %"), "{fired}");
    assert_eq!(lines[1]["state"], "resolved");
    assert_eq!(lines[1]["since"], fired["since"]);

    let alerts = daemon.get("/api/v1/alerts").json();
    let states: Vec<&str> =
        alerts["changes"].as_array().unwrap().iter().map(|c| c["state"].as_str().unwrap()).collect();
    assert_eq!((states, &alerts["firing"]), (vec!["firing", "resolved"], &serde_json::json!([])));
    assert_eq!(daemon.metric("alert_active{alert=\"memory\",severity=\"warning\"}"), 0.0);
    assert_eq!(daemon.metric("alert_transitions_total{alert=\"memory\",state=\"firing\"}"), 1.0);
    assert_eq!(daemon.metric("alert_transitions_total{alert=\"memory\",state=\"resolved\"}"), 1.0);
}

#[test]
fn an_alert_that_fires_is_shown_with_its_last_value() {
    let fake = FakeBox::new();
    let daemon = fake.setup().ready();
    fake.memory(91);
    daemon.log.wait("alert");
    fake.memory(97);
    daemon.wait_until("the alert has the last value", |daemon| {
        let firing = status(daemon)["alerts"]["firing"][0].clone();
        firing["value"] == 97.0 && firing["consecutive"].as_u64() > Some(3)
    });
    assert_eq!(daemon.log.of("alert").len(), 1);
}

#[test]
fn the_status_has_what_an_operator_asks_for_and_says_how_old_it_is() {
    let fake = FakeBox::new();
    let daemon = fake.setup().ready();
    samples(&daemon, 2);
    let status = status(&daemon);
    assert_eq!(status["monitoring_active"], true);
    assert_eq!(status["monitor_interval"], 0.1);
    assert_eq!(status["thresholds"]["memory"]["raise_above"], 85.0);
    assert_eq!(status["gpu_available"], false);
    assert_eq!(status["current_resources"]["memory"]["used_percent"], 50.0);
    assert_eq!(status["model"]["name"], "digits");
    assert_eq!(status["model"]["canary"]["asks"], "known answer");
    assert_eq!(status["queue"]["limit"], 64);
    assert_eq!(status["ready"], true);
    assert!(status["snapshot"]["age_seconds"].as_f64().unwrap() < 30.0);
    assert!(status["build"]["runtime"].as_str().unwrap().starts_with("1."));
    let rooms: Vec<&str> = status["actors"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(rooms, ["model", "engine", "web", "monitor", "alert"]);
    let (code, table, _) = Setup::default().arg("--listen").arg(&daemon.address.to_string()).run("status");
    assert_eq!(code, 0);
    assert!(table.contains("memory     50.0 %") && table.contains("nothing firing"), "{table}");
}

#[test]
fn a_probe_that_hangs_delays_no_other_and_no_tick() {
    let fake = FakeBox::new();
    let meminfo = fake.0.path().join("proc/meminfo");
    std::fs::remove_file(&meminfo).unwrap();
    make_pipe(&meminfo);
    let daemon = fake.setup().ready();
    samples(&daemon, 5);
    assert_eq!(daemon.metric("probe_success{probe=\"memory\"}"), 0.0);
    daemon.wait_until("another probe works", |daemon| daemon.metric("probe_success{probe=\"cpu\"}") == 1.0);
    assert!(status(&daemon)["current_resources"]["memory"].is_null());
    let said: Vec<Value> = daemon.log.wait_for("probe_failed", 1);
    assert_eq!(said.iter().filter(|line| line["probe"] == "memory").count(), 1, "said once: {said:#?}");
    // The reader that waits for the pipe must not keep the daemon from leaving.
    drop(daemon);
}

/// A file on which reading waits for ever.
fn make_pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn monitor_and_alert_rooms_are_back_after_a_panic() {
    let fake = FakeBox::new();
    let daemon = fake.setup().ready();
    for room in ["monitor", "alert"] {
        assert_eq!(daemon.post(&format!("/test/panic/{room}"), &[]).status, 202);
        let restarts = format!("actor_restarts_total{{actor=\"{room}\"}}");
        daemon.wait_until("the room is back", |daemon| daemon.metric(&restarts) == 1.0);
        daemon.wait_ready();
        samples(&daemon, 3);
    }
    fake.memory(95);
    assert_eq!(daemon.log.wait("alert")["alert"], "memory");
}

#[test]
fn an_alert_room_that_dies_forgets_nothing_that_fires() {
    let fake = FakeBox::new();
    let daemon = fake.setup().set("alerts.rules.memory.shed_after", 3).ready();
    fake.memory(95);
    let fired = daemon.log.wait("alert");
    let frame = |daemon: &Daemon| daemon.post("/api/v1/frames", b"no picture").status;
    daemon.wait_until("requests are refused", |daemon| frame(daemon) == 503);
    daemon.post("/test/panic/alert", &[]);
    daemon.wait_until("the room is back", |daemon| daemon.metric("actor_restarts_total{actor=\"alert\"}") == 1.0);
    samples(&daemon, 10);
    assert_eq!(frame(&daemon), 503, "it still sheds");
    let alerts = daemon.get("/api/v1/alerts").json();
    assert_eq!(alerts["firing"][0]["since"], fired["since"]);
    assert_eq!(alerts["changes"].as_array().unwrap().len(), 1);
    fake.memory(50);
    daemon.wait_until("requests are taken again", |daemon| frame(daemon) == 400);
    let lines = daemon.log.exactly("alert", 2);
    assert_eq!((&lines[1]["state"], &lines[1]["since"]), (&"resolved".into(), &fired["since"]));
    assert_eq!(daemon.metric("alert_actions_total{action=\"shed\",alert=\"memory\"}"), 1.0);
}

#[test]
fn a_disk_probe_that_hangs_ends_no_alert_over_a_disk() {
    let fake = FakeBox::new();
    std::fs::create_dir(fake.0.path().join("usb")).unwrap();
    fake.write("proc/self/mountinfo", "36 35 98:0 / /usb rw,noatime master:1 - ext4 /dev/sdb1 rw\n");
    let disk = "alerts.rules.disk";
    let daemon =
        fake.setup().set(&format!("{disk}.raise_above"), 0.0001).set(&format!("{disk}.clear_below"), 0.00001).ready();
    daemon.log.wait("alert");
    // At once: a list that is not there at all has no mounts in it.
    let pipe = fake.0.path().join("proc/self/pipe");
    make_pipe(&pipe);
    std::fs::rename(&pipe, fake.0.path().join("proc/self/mountinfo")).unwrap();
    daemon.wait_until("it hangs", |daemon| daemon.metric("probe_success{probe=\"disk\"}") == 0.0);
    samples(&daemon, 10);
    assert_eq!(daemon.log.of("alert").len(), 1, "{:#?}", daemon.log.of("alert"));
    assert_eq!(daemon.get("/api/v1/alerts").json()["firing"][0]["alert"], "disk");
}

#[test]
fn every_change_is_posted_to_the_webhook_and_one_that_fails_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v2/alerts", listener.local_addr().unwrap());
    let (sender, posts) = mpsc::channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let body = read_post(&mut stream);
            // The first try is refused.
            let status = if number == 0 { "500 Internal Server Error" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if number > 0 && sender.send(body).is_err() {
                return;
            }
        }
    });
    let fake = FakeBox::new();
    let daemon = fake.setup().set("alerts.webhook.url", url).ready();
    fake.memory(91);
    let fired: Value = serde_json::from_str(&posts.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!(fired[0]["labels"]["alertname"], "memory");
    assert_eq!(fired[0]["labels"]["severity"], "warning");
    // Alertmanager lets an alert without an end lapse after minutes.
    assert!(fired[0]["endsAt"].as_str().unwrap() > fired[0]["startsAt"].as_str().unwrap());
    fake.memory(50);
    let resolved: Value = serde_json::from_str(&posts.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert!(resolved[0]["endsAt"].is_string());
    daemon.wait_until("both are counted", |daemon| daemon.metric("webhook_posts_total{outcome=\"ok\"}") == 2.0);
}

fn read_post(stream: &mut std::net::TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0usize) {
                return body.to_owned();
            }
        }
        let count = stream.read(&mut piece).unwrap();
        bytes.extend_from_slice(&piece[..count]);
    }
}

#[test]
fn the_recorder_tells_where_the_time_of_the_last_requests_went() {
    let fake = FakeBox::new();
    let daemon = fake.setup().ready();
    let sample = std::fs::read(crate::harness::repository("models/digits/samples/7-03.png")).unwrap();
    daemon.post("/api/v1/frames", &sample);
    daemon.post("/api/v1/frames", b"no picture");
    let recorder = daemon.get("/api/v1/recorder").json();
    let requests = recorder["requests"].as_array().unwrap();
    assert_eq!((&requests[0]["kind"], &requests[0]["outcome"]), (&"frame".into(), &"ok".into()));
    assert_eq!(requests[0]["body_bytes"], sample.len());
    assert!(requests[0]["inference_us"].as_u64().unwrap() > 0);
    assert_eq!(requests[1]["outcome"], "invalid");
}

#[test]
fn what_may_be_long_is_compressed_for_whoever_wants_that() {
    let fake = FakeBox::new();
    let daemon = fake.setup().ready();
    samples(&daemon, 5);
    for path in ["/api/v1/history", "/api/v1/recorder"] {
        let answer = daemon.send("GET", path, &[("Accept-Encoding", "gzip")], &[]);
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{path}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert!(json["samples"].as_array().unwrap().len() >= 5 && text.len() > 2 * answer.body.len(), "{path}");
        assert_eq!(daemon.get(path).header("content-encoding"), None);
    }
}

#[test]
fn a_webhook_that_never_answers_delays_neither_alert_nor_stop() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let fake = FakeBox::new();
    let daemon = fake.setup().set("alerts.webhook.url", url).set("alerts.webhook.timeout_seconds", 60).ready();
    for _ in 0..3 {
        let count = daemon.log.of("alert").len();
        fake.memory(95);
        daemon.log.wait_for("alert", count + 1);
        fake.memory(50);
        daemon.log.wait_for("alert", count + 2);
    }
    let began = std::time::Instant::now();
    daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_thousand_questions_for_the_status_during_an_alert_are_answered_at_once() {
    let fake = FakeBox::new();
    let daemon = fake.setup().ready();
    fake.memory(95);
    // The log has it first, the board a moment later.
    daemon.wait_until("the status shows it", |daemon| !status(daemon)["alerts"]["firing"][0].is_null());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let status = status(&daemon);
                    assert_eq!(status["alerts"]["firing"][0]["alert"], "memory");
                }
            });
        }
    });
    samples(&daemon, 3);
    daemon.log.exactly("alert", 1);
}

#[test]
fn the_recorder_is_written_on_an_alert_on_a_panic_and_on_sigusr1() {
    let fake = FakeBox::new();
    let daemon = fake.setup().set("recorder.entries", 5).ready();
    for _ in 0..8 {
        daemon.post("/api/v1/frames", b"no picture");
    }
    let read = |daemon: &Daemon, name: &str| -> Value {
        let path = daemon.state.path().join(format!("recording-{name}.json"));
        daemon.wait_until("the file", |_| path.exists());
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    daemon.signal("USR1");
    let by_signal = read(&daemon, "signal");
    assert_eq!(by_signal["data"]["why"], "SIGUSR1");
    assert_eq!(by_signal["data"]["requests"].as_array().unwrap().len(), 5);
    assert!(!by_signal["data"]["samples"].as_array().unwrap().is_empty());
    fake.memory(95);
    assert_eq!(read(&daemon, "alert")["data"]["why"], "alert memory");
    daemon.post("/test/panic/alert", &[]);
    assert_eq!(read(&daemon, "panic")["data"]["why"], "the alert room died");
    assert_eq!(daemon.get("/api/v1/recorder").json()["requests"].as_array().unwrap().len(), 5);
}

#[test]
fn a_disk_that_takes_no_recording_is_said_and_nothing_else_happens() {
    let fake = FakeBox::new();
    let daemon = fake.setup().ready();
    // A folder in the place of the file, which any user can put there.
    std::fs::create_dir_all(daemon.state.path().join("recording-signal.json/in-the-way")).unwrap();
    daemon.signal("USR1");
    assert!(daemon.log.wait("record_failed")["message"].as_str().unwrap().contains("could not be written"));
    assert_eq!(daemon.get("/v2/health/ready").status, 200);
}

#[test]
fn a_disk_that_is_full_is_said_and_the_recording_before_stays() {
    let fake = FakeBox::new();
    let Some(setup) = fake.setup().set("recorder.entries", 2000).on_a_small_disk() else {
        println!("no tiny disk can be mounted here: only a folder in the file's way was tried");
        return;
    };
    let daemon = setup.ready();
    daemon.signal("USR1");
    daemon.log.wait("recorded");
    let state = PathBuf::from(format!("/proc/{}/root{}", daemon.pid(), daemon.state.path().display()));
    let file = state.join("recording-signal.json");
    let before = std::fs::read(&file).unwrap();
    for _ in 0..600 {
        daemon.post("/api/v1/frames", b"no picture");
    }
    daemon.signal("USR1");
    let said = daemon.log.wait("record_failed")["message"].as_str().unwrap().to_owned();
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(daemon.get("/v2/health/ready").status, 200);
    fake.memory(95);
    assert_eq!(daemon.log.wait("alert")["alert"], "memory");
}

#[test]
fn a_mount_that_disappears_takes_its_figures_and_its_alert_with_it() {
    let fake = FakeBox::new();
    let mounts = |lines: &str| fake.write("proc/self/mountinfo", lines);
    std::fs::create_dir(fake.0.path().join("usb")).unwrap();
    mounts("36 35 98:0 / /usb rw,noatime master:1 - ext4 /dev/sdb1 rw\n");
    let daemon =
        fake.setup().set("alerts.rules.disk.raise_above", 0.0001).set("alerts.rules.disk.clear_below", 0.00001).ready();
    let fired = daemon.log.wait("alert");
    assert_eq!((&fired["alert"], &fired["instance"]), (&"disk".into(), &"/usb".into()));
    mounts("");
    assert_eq!(daemon.log.wait_for("alert", 2)[1]["state"], "resolved");
    assert!(!daemon.get("/metrics").text().contains("disk_usage_bytes{"));
}

#[test]
fn the_status_answers_at_once_while_the_engine_is_saturated_and_a_probe_hangs() {
    let fake = FakeBox::new();
    let meminfo = fake.0.path().join("proc/meminfo");
    std::fs::remove_file(&meminfo).unwrap();
    make_pipe(&meminfo);
    let daemon = fake.setup().set("model.queue_limit", 2).set("model.canary_seconds", 0).ready();
    let sample = std::fs::read(crate::harness::repository("models/digits/samples/7-03.png")).unwrap();
    assert_eq!(daemon.post("/test/answer/silent", &[]).status, 202);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6).map(|_| scope.spawn(|| daemon.post("/api/v1/frames", &sample).status)).collect();
        // Of two that come before the engine has taken the first, one waits; the others may all be refused.
        daemon.wait_until("requests wait", |daemon| status(daemon)["queue"]["waiting"].as_u64() >= Some(1));
        let began = std::time::Instant::now();
        for _ in 0..20 {
            assert!(status(&daemon)["current_resources"]["memory"].is_null());
        }
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(daemon.post("/test/answer/right", &[]).status, 202);
        let answers: Vec<u16> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    });
}

#[test]
fn a_bundle_for_a_support_case_holds_everything_but_secrets() {
    let fake = FakeBox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let secret = format!("http://user:hunter2@{}/hook", listener.local_addr().unwrap());
    let daemon = fake.setup().set("alerts.webhook.url", &secret).ready();
    let file = daemon.state.path().join("bundle.json");
    let (code, said, complaint) = Setup::default()
        .set("alerts.webhook.url", &secret)
        .arg("--listen")
        .arg(&daemon.address.to_string())
        .arg("--bundle")
        .arg(file.to_str().unwrap())
        .run("status");
    assert_eq!(code, 0, "{said}{complaint}");
    let text = std::fs::read_to_string(file).unwrap();
    let bundle: Value = serde_json::from_str(&text).unwrap();
    for part in ["status", "alerts", "recorder", "configuration"] {
        assert!(bundle[part].is_object(), "{part}");
    }
    assert!(!text.contains("hunter2"));
    let (code, json, _) = Setup::default().arg("--listen").arg(&daemon.address.to_string()).arg("--json").run("status");
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["ready"], true);
}

#[test]
fn a_full_disk_under_the_log_costs_log_lines_and_nothing_else() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_edge-service"))
        .args(["run", "--listen", &address.to_string()])
        .args(["--model", crate::harness::repository("models/digits/model.onnx").to_str().unwrap()])
        .env("STATE_DIRECTORY", state.path())
        .stderr(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .current_dir(crate::harness::repository(""))
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    let ready = || ureq::get(format!("http://{address}/readyz")).call().is_ok();
    while !ready() {
        assert!(std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
