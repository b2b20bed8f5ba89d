//! H: the model repository, by requirement number of docs/http.md.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Daemon, Setup, model};
use crate::wire::{data, fails, floats, identity, inferred, row, x};

const LOAD: &str = "/v2/repository/models/served/load";
const UNLOAD: &str = "/v2/repository/models/served/unload";

fn index(daemon: &Daemon, body: &str) -> Value {
    let answer = daemon.post("/v2/repository/index", body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// A daemon on a model file of its own, which a test may replace.
fn own(fixture: &str) -> (tempfile::TempDir, std::path::PathBuf, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("served.onnx");
    std::fs::copy(model(fixture), &path).unwrap();
    let daemon = Setup::default().model(&path).ready();
    (folder, path, daemon)
}

#[test]
fn req_85_and_91_the_index_lists_the_model_with_state_and_reason() {
    let daemon = identity("fp32");
    let ready = json!([{"name": "identity_fp32", "version": "1", "state": "READY"}]);
    for body in ["", " ", "{}", r#"{"ready":true}"#, r#"{"ready":false}"#, r#"{"more":1}"#] {
        assert_eq!(index(&daemon, body), ready, "{body}");
    }
    assert_eq!(daemon.post("/v2/repository/anything/index", b"").json(), ready);
    for body in [r#"{"ready":1}"#, r#"{"ready":"true"}"#, r#"{"ready":null}"#] {
        fails(&daemon.post("/v2/repository/index", body.as_bytes()), 400, "'ready' must be true or false");
    }
    fails(&daemon.post("/v2/repository/index", b"{"), 400, "invalid JSON");
    assert_eq!(daemon.post("/v2/repository/models/identity_fp32/unload", b"").status, 200);
    assert_eq!(index(&daemon, r#"{"ready":true}"#), json!([]));
    let entry = &index(&daemon, "")[0];
    assert_eq!((&entry["state"], &entry["reason"]), (&json!("UNAVAILABLE"), &json!("the model is unloaded")));
}

#[test]
fn req_86_and_89_load_and_unload_hold_when_they_are_answered() {
    let (_folder, path, daemon) = own("identity_fp32");
    for _ in 0..5 {
        let unloaded = daemon.post(UNLOAD, br#"{"parameters":{"unload_dependents":true}}"#);
        assert_eq!((unloaded.status, unloaded.text().as_str()), (200, ""));
        assert_eq!(daemon.get("/v2/models/served/ready").status, 503);
        assert_eq!(daemon.get("/v2/models/served").status, 503);
        fails(&daemon.infer("served", &floats(&[1.0])), 503, "the model is unloaded");
        let loaded = daemon.post(LOAD, b"");
        assert_eq!((loaded.status, loaded.text().as_str()), (200, ""));
        assert_eq!(daemon.get("/v2/models/served/ready").status, 200);
        assert_eq!(data(&daemon, "served", &floats(&[1.0])), json!([1.0]));
    }
    // Another file in the same place is served from the answer on.
    std::fs::copy(model("nan"), &path).unwrap();
    assert_eq!(daemon.post("/v2/repository/anything/models/served/load", b"{}").status, 200);
    assert_eq!(daemon.get("/v2/models/served").json()["outputs"].as_array().unwrap().len(), 3);
    for parameters in [
        json!({"config": "{}"}),
        json!({"file:1/model.onnx": "AAAA"}),
        json!({format!("file:{}", "a/../".repeat(60)): ""}),
    ] {
        let answer = daemon.post(LOAD, json!({"parameters": parameters}).to_string().as_bytes());
        fails(&answer, 400, "is not taken: the file is configured");
    }
    fails(&daemon.post(LOAD, br#"{"parameters":[]}"#), 400, "'parameters' must be an object");
    assert_eq!(data(&daemon, "served", &floats(&[4.0])), json!([2.0]));
}

#[test]
fn req_86_a_reload_fails_no_request() {
    let (_folder, _, daemon) = own("identity_fp32");
    let done = AtomicBool::new(false);
    let (daemon, done) = (&daemon, &done);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3u8)
            .map(|client| {
                scope.spawn(move || {
                    let mut answered = 0u32;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(data(daemon, "served", &floats(&[f32::from(client)])), json!([f32::from(client)]));
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        for _ in 0..10 {
            assert_eq!(daemon.post(LOAD, b"").status, 200);
        }
        done.store(true, Ordering::Relaxed);
        assert!(clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>() > 10);
    });
}

#[test]
fn req_87_unload_lets_requests_in_flight_finish() {
    let daemon = Setup::fixture("slow").set("model.name", "served").ready();
    let eye: Vec<f32> = (0..64 * 64).map(|at| if at % 65 == 0 { 1.0 } else { 0.0 }).collect();
    let request = json!({"inputs": [
        {"name": "steps", "datatype": "INT64", "shape": [1], "data": [100_000]},
        {"name": "x", "datatype": "FP32", "shape": [64, 64], "data": eye}]});
    std::thread::scope(|scope| {
        let running = scope.spawn(|| daemon.infer("served", &request));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(daemon.post(UNLOAD, b"").status, 200);
        assert_eq!(running.join().unwrap().status, 200);
    });
    assert_eq!(daemon.get("/v2/models/served/ready").status, 503);
}

#[test]
fn req_88_to_90_a_failed_reload_says_so_and_keeps_the_old_model() {
    let (_folder, path, daemon) = own("fails_inside");
    for broken in ["truncated", "not_onnx", "empty", "unknown_op", "future_opset"] {
        std::fs::copy(model(broken), &path).unwrap();
        let answer = daemon.post(LOAD, b"");
        assert!(answer.status == 400 || answer.status == 500, "{broken}: {}", answer.text());
        assert!(answer.error().contains("failed to load"), "{}", answer.text());
        assert!(!answer.error().contains(path.parent().unwrap().to_str().unwrap()), "{}", answer.text());
        assert_eq!(data(&daemon, "served", &row(3)), json!([3.0]));
        assert_eq!(index(&daemon, "")[0]["state"], "READY");
    }
    std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n").unwrap();
    assert_eq!(daemon.post(UNLOAD, b"").status, 200);
    fails(&daemon.post(LOAD, b""), 400, "failed to load");
    let entry = &index(&daemon, "")[0];
    assert_eq!(entry["state"], "UNAVAILABLE");
    assert!(entry["reason"].as_str().unwrap().contains("could not be loaded"), "{entry}");
    std::fs::copy(model("nan"), &path).unwrap();
    assert_eq!(daemon.post(LOAD, b"").status, 200);
    inferred(&daemon, "served", &x("FP32", json!([1]), json!([1])));
    for call in ["load", "unload"] {
        let answer = daemon.post(&format!("/v2/repository/models/other/{call}"), b"");
        fails(&answer, 404, "Request for unknown model: 'other' is not found");
    }
}

#[test]
fn changes_are_taken_from_this_machine_only() {
    let daemon = Setup::fixture("identity_fp32").set("model.name", "served").ready();
    let port = daemon.address.port();
    let send = |path: &str, headers: &[(&str, &str)]| daemon.send("POST", path, headers, b"");
    for path in [LOAD, UNLOAD] {
        for headers in [
            &[("Origin", "http://example.org")][..],
            &[("Origin", "null")],
            &[("Origin", "https://localhost")],
            &[("Host", "example.org")],
            &[("Host", "localhost.example.org")],
            &[("Host", "")],
        ] {
            fails(&send(path, headers), 403, "changes are not taken from here");
        }
    }
    assert_eq!(daemon.get("/v2/models/served/ready").status, 200);
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        assert_eq!(send(LOAD, &[("Host", &host)]).status, 200, "{host}");
        let origin = format!("http://{host}");
        assert_eq!(send(LOAD, &[("Host", &host), ("Origin", &origin)]).status, 200, "{host}");
    }
}
