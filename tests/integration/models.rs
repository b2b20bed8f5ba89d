//! Given a file that is no good model, the daemon says in one line why, and serves on where it serves already.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Daemon, Setup, model};

/// The log's lines of a level.
fn lines(log: &str, level: &str) -> Vec<Value> {
    let all =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line:?} in {log}")));
    all.filter(|line| line["level"] == level).collect()
}

/// Starts on a file that is of no use: the exit code and the one line.
fn refused(path: &Path, setup: Setup) -> (i32, String) {
    let (code, out, log) = setup.model(path).run("run");
    let errors = lines(&log, "ERROR");
    assert_eq!((out.as_str(), errors.len(), lines(&log, "WARN").len()), ("", 1, 0), "{path:?}: {log}");
    let message = errors[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(path.to_str().unwrap()) && !message.contains('\n'), "{message}");
    (code, message)
}

/// What never comes to an end, and is given a second; the others have as long as they need on a busy box.
const ENDLESS: [&str; 2] = ["infinite_loop", "never_loads"];

const UNUSABLE: [(&str, &str); 10] = [
    ("truncated", "not an ONNX model, or cut short"),
    ("not_onnx", "not an ONNX model, or cut short"),
    ("empty", "not an ONNX model, or cut short"),
    ("unknown_op", "operator"),
    ("future_opset", "opset"),
    ("lost_weights", "lost_weights.bin"),
    ("seq_only", "none of its outputs is a tensor"),
    ("lost_locale", "locale xx_YY"),
    ("crashes_at_load", "crashes ONNX Runtime (signal 8): "),
    ("crashes_in_modulo", "crashes ONNX Runtime (signal 8): "),
];

#[test]
fn a_start_on_an_unusable_model_ends_with_65_and_the_reason() {
    for (name, words) in UNUSABLE {
        let (code, message) = refused(&model(name), Setup::default());
        assert_eq!(code, 65, "{name}: {message}");
        assert!(message.contains(words), "{name}: {message}");
        assert!(message.len() < 600, "{name}: {message}");
    }
    for name in ENDLESS {
        let (code, message) = refused(&model(name), Setup::default().set("model.load_timeout_seconds", 1));
        assert_eq!(code, 65, "{name}: {message}");
        assert!(message.contains("model.load_timeout_seconds"), "{name}: {message}");
    }
}

#[test]
fn a_start_without_a_model_file_ends_with_66() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.onnx");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, words) in [
        (folder.path().join("none.onnx"), "No such file"),
        (folder.path().to_owned(), "not a file"),
        (pipe, "not a file"),
        ("/dev/zero".into(), "not a file"),
    ] {
        let (code, message) = refused(&path, Setup::default());
        assert_eq!(code, 66, "{message}");
        assert!(message.contains(words) && message.contains("--model"), "{message}");
    }
}

fn double(daemon: &Daemon, number: f32) -> f64 {
    let request = json!({"inputs": [{"name": "x", "shape": [], "datatype": "FP32", "data": [number]}]});
    let answer = daemon.infer("m", &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["outputs"][0]["data"][0].as_f64().unwrap()
}

fn load(daemon: &Daemon) -> u16 {
    daemon.post("/v2/repository/models/m/load", b"").status
}

/// A model in a folder of its own, to be replaced.
fn replaceable() -> (tempfile::TempDir, std::path::PathBuf, Setup) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::copy(model("scalar"), &path).unwrap();
    let setup = Setup::default().model(&path);
    (folder, path, setup)
}

#[test]
fn after_the_first_ready_no_file_ends_the_daemon() {
    let (_folder, path, setup) = replaceable();
    let daemon = setup.ready();
    for (round, (name, words)) in UNUSABLE.into_iter().enumerate() {
        std::fs::copy(model(name), &path).unwrap();
        assert_eq!(load(&daemon), 400, "{name}");
        assert_eq!(double(&daemon, 2.5), 5.0, "{name}");
        assert_eq!(daemon.get("/v2/health/ready").status, 200, "{name}");
        let failed = daemon.log.wait_for("load_failed", round + 1);
        assert_eq!(failed.len(), round + 1, "{name}: {failed:#?}");
        assert!(failed[round]["message"].as_str().unwrap().contains(words), "{name}: {failed:#?}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(load(&daemon), 400);
    assert_eq!(double(&daemon, 3.0), 6.0);
    std::fs::copy(model("scalar"), &path).unwrap();
    assert_eq!(load(&daemon), 200);
    assert_eq!(double(&daemon, 3.5), 7.0);
    assert_eq!(daemon.metric("actor_restarts_total{actor=\"engine\"}"), 0.0);
}

#[test]
fn after_the_first_ready_a_file_that_never_loads_is_given_up() {
    let (_folder, path, setup) = replaceable();
    let daemon = setup.set("model.load_timeout_seconds", 5).ready();
    for (round, name) in ENDLESS.into_iter().enumerate() {
        std::fs::copy(model(name), &path).unwrap();
        assert_eq!(load(&daemon), 400, "{name}");
        assert_eq!(double(&daemon, 2.5), 5.0, "{name}");
        let failed = daemon.log.wait_for("load_failed", round + 1);
        assert!(failed[round]["message"].as_str().unwrap().contains("model.load_timeout_seconds"), "{failed:#?}");
    }
}

#[test]
fn a_file_that_takes_long_to_refuse_holds_up_no_request() {
    let (_folder, path, setup) = replaceable();
    let mut daemon = setup.set("model.load_timeout_seconds", 20).ready();
    std::fs::copy(model("never_loads"), &path).unwrap();
    let mut loading = daemon.connect();
    use std::io::Write;
    loading
        .write_all(b"POST /v2/repository/models/m/load HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    daemon.wait_until("a trial", |daemon| !children(daemon.pid()).is_empty());
    for number in 0..20 {
        assert_eq!(double(&daemon, number as f32), f64::from(number) * 2.0);
    }
    assert_eq!(children(daemon.pid()).len(), 1, "it is still being tried");
    // Half a dozen more wait for their turn, and are not tried at the same time.
    let more: Vec<_> = (0..6).map(|_| daemon.connect()).collect();
    for mut one in more.iter() {
        one.write_all(b"POST /v2/repository/models/m/load HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    }
    assert_eq!(double(&daemon, 8.0), 16.0);
    assert_eq!(children(daemon.pid()).len(), 1);
    daemon.signal("KILL");
    assert_eq!(daemon.wait_exit(), -1);
}

#[test]
fn an_unload_ends_the_loads_before_it() {
    let (_folder, path, setup) = replaceable();
    let daemon = setup.set("model.load_timeout_seconds", 5).ready();
    std::fs::copy(model("never_loads"), &path).unwrap();
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..3).map(|_| scope.spawn(|| load(&daemon))).collect();
        daemon.wait_until("a trial", |daemon| !children(daemon.pid()).is_empty());
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(daemon.post("/v2/repository/models/m/unload", b"").status, 200);
        assert!(loads.into_iter().all(|load| load.join().unwrap() == 503));
    });
    assert_eq!(daemon.get("/v2/health/ready").status, 503);
    std::fs::copy(model("scalar"), &path).unwrap();
    assert_eq!(load(&daemon), 200);
    assert_eq!(double(&daemon, 1.5), 3.0);
    // The verdict on the file of before comes, and changes nothing.
    daemon.wait_until("no trial", |daemon| children(daemon.pid()).is_empty());
    assert_eq!(double(&daemon, 1.5), 3.0);
    assert_eq!(daemon.log.of("load_failed").len(), 0);
}

/// The child processes of a process.
fn children(pid: i32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// Whether a process is there and no corpse.
fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

#[test]
fn a_trial_ends_with_the_daemon_even_if_that_is_killed() {
    let mut daemon = Setup::fixture("never_loads").start();
    daemon.wait_until("a trial", |daemon| !children(daemon.pid()).is_empty());
    let child = children(daemon.pid())[0];
    daemon.signal("KILL");
    assert_eq!(daemon.wait_exit(), -1);
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while lives(child) {
        assert!(std::time::Instant::now() < deadline, "the child outlives the daemon");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_stop_during_a_trial_is_obeyed_at_once() {
    let begun = std::time::Instant::now();
    let daemon = Setup::fixture("never_loads").start();
    daemon.wait_until("a trial", |daemon| !children(daemon.pid()).is_empty());
    let child = children(daemon.pid())[0];
    daemon.stop();
    assert!(!lives(child));
    // server.shutdown_timeout_seconds is 30, model.load_timeout_seconds 120.
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn a_file_is_tried_once_and_remembered_over_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let setup = Setup::fixture("scalar")
        .set("server.state_directory", state.path().display())
        .set("log.level", "info,edge_service=debug");
    let daemon = setup.clone().ready();
    daemon.log.exactly("model_tried", 1);
    assert_eq!(daemon.post("/v2/repository/models/scalar/load", b"").status, 200);
    daemon.log.wait_for("model_ready", 2);
    daemon.log.exactly("model_tried", 1);
    daemon.stop();
    let file = state.path().join("trials.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["version"], 1);
    assert_eq!(kept["data"].as_array().unwrap().len(), 1);
    let again = setup.clone().ready();
    assert_eq!(again.log.of("model_tried").len(), 0);
    again.stop();
    std::fs::write(&file, "{").unwrap();
    let anew = setup.ready();
    anew.log.exactly("model_tried", 1);
    anew.log.exactly("state_unreadable", 1);
}

#[test]
fn a_trial_can_be_switched_off() {
    let setup = Setup::fixture("scalar").set("log.level", "info,edge_service=debug");
    let daemon = setup.set("model.trial", false).ready();
    assert_eq!(daemon.log.of("model_tried").len(), 0);
    assert!(!daemon.state.path().join("trials.json").exists());
}

#[test]
fn outputs_that_are_no_tensors_are_left_out() {
    for (name, output) in [("seq_beside", "y"), ("optional_beside", "y"), ("zipmap", "label")] {
        let daemon = Setup::fixture(name).set("model.keep_zipmap", true).ready();
        let shape = if name == "zipmap" { json!([1, 3]) } else { json!([3]) };
        let answer = daemon
            .infer(name, &json!({"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": [1, 5, 2]}]}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let outputs = answer.json()["outputs"].as_array().unwrap().clone();
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0]["name"], output);
        assert_eq!(daemon.get(&format!("/v2/models/{name}")).json()["outputs"].as_array().unwrap().len(), 1);
    }
}
