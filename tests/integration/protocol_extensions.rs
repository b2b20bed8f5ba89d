//! I and J: statistics, classification, the `timeout`, by requirement number of docs/http.md.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Daemon, Setup};
use crate::wire::{data, fails, floats, identity, inferred, parts, refused, x};

fn entry(daemon: &Daemon, path: &str) -> Value {
    let answer = daemon.get(path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let stats = answer.json()["model_stats"].clone();
    assert_eq!(stats.as_array().unwrap().len(), 1);
    stats[0].clone()
}

#[test]
fn req_92_and_93_and_95_statistics_have_one_entry_with_every_member() {
    let daemon = Setup::fixture("identity_fp32").set("model.name", "stats").ready();
    inferred(&daemon, "stats", &floats(&[1.0]));
    for path in ["/v2/models/stats", "/v2/models/stats/stats", "/v2/models/stats/versions/1/stats"] {
        let entry = entry(&daemon, path);
        assert_eq!((&entry["name"], &entry["version"]), (&json!("stats"), &json!("1")));
        assert!(entry["last_inference"].as_u64().unwrap() > 1_700_000_000_000);
        for member in ["success", "queue", "compute_input", "compute_infer", "compute_output"] {
            let duration = &entry["inference_stats"][member];
            assert_eq!(duration["count"], 1, "{member}: {entry}");
            assert!(duration["ns"].as_u64().unwrap() < 10_000_000_000, "{member}: {entry}");
        }
        for member in ["fail", "cache_hit", "cache_miss"] {
            assert_eq!(entry["inference_stats"][member], json!({"count": 0, "ns": 0}));
        }
        assert!(entry["inference_stats"]["compute_infer"]["ns"].as_u64().unwrap() > 0);
        assert!(entry["batch_stats"].is_array());
    }
    fails(&daemon.get("/v2/models/other/stats"), 404, "Request for unknown model");
}

#[test]
fn req_94_inferences_are_batch_entries_executions_are_runs_and_failures_count_apart() {
    let daemon = Setup::fixture("mlp").ready();
    let batch = |entries: usize| x("FP32", json!([entries, 64]), json!(vec![0; entries * 64]));
    inferred(&daemon, "mlp", &batch(3));
    inferred(&daemon, "mlp", &batch(5));
    refused(&daemon, "mlp", "{", "invalid JSON");
    let entry = entry(&daemon, "/v2/models/mlp/stats");
    assert_eq!((&entry["inference_count"], &entry["execution_count"]), (&json!(8), &json!(2)));
    let stats = &entry["inference_stats"];
    assert_eq!((&stats["success"]["count"], &stats["fail"]["count"]), (&json!(2), &json!(1)));
    assert_eq!((&stats["queue"]["count"], &stats["compute_infer"]["count"]), (&json!(2), &json!(2)));
    // A batch of a fixed size is one entry, as a model without a batch is.
    let fixed = Setup::fixture("fixed_batch").ready();
    inferred(&fixed, "fixed_batch", &x("FP32", json!([4, 8]), json!(vec![0; 32])));
    assert_eq!(self::entry(&fixed, "/v2/models/fixed_batch/stats")["inference_count"], 1);
}

#[test]
fn req_96_classification_gives_the_highest_with_index_and_label() {
    let daemon = Setup::fixture("two_d_out").ready();
    let classes = |k: Value| {
        let mut request = floats(&[1.0, 3.0, 2.0]);
        request["outputs"] = json!([{"name": "table", "parameters": {"classification": k}}]);
        daemon.infer("two_d_out", &request)
    };
    let output = &classes(json!(2)).json()["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([3, 2])));
    let expected = ["3.000000:1", "2.000000:2", "9.000000:1", "6.000000:2", "6.000000:1", "4.000000:2"];
    assert_eq!(output["data"], json!(expected));
    assert_eq!(classes(json!(99)).json()["outputs"][0]["shape"], json!([3, 3]));
    assert_eq!(classes(json!(0)).json()["outputs"][0]["datatype"], "FP32");
    for wrong in [json!(-1), json!(1.5), json!("1"), json!(true)] {
        fails(&classes(wrong), 400, "'classification' of output 0 must be a non-negative integer");
    }
    let vector = identity("int64");
    let mut request = x("INT64", json!([3]), json!([-5, 7, 7]));
    request["outputs"] = json!([{"name": "y", "parameters": {"classification": 2, "binary_data": true}}]);
    let answer = vector.infer("identity_int64", &request);
    let (head, tail) = parts(&answer);
    assert_eq!((&head["outputs"][0]["shape"], tail), (&json!([2]), &b"\x03\0\0\x007:1\x03\0\0\x007:2"[..]));
    let strings = identity("bytes");
    let mut request = x("BYTES", json!([1]), json!(["a"]));
    request["outputs"] = json!([{"name": "y", "parameters": {"classification": 1}}]);
    refused(&strings, "identity_bytes", &request.to_string(), "has datatype BYTES, which cannot be classified");
}

#[test]
fn req_96_labels_come_from_the_models_own_file() {
    let daemon = Setup::digits().ready();
    let metadata = daemon.get("/v2/models/digits").json();
    let shape: Vec<usize> = metadata["inputs"][0]["shape"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dim| usize::try_from(dim.as_i64().unwrap()).unwrap_or(1))
        .collect();
    let request = json!({
        "inputs": [{"name": metadata["inputs"][0]["name"], "datatype": "FP32", "shape": shape,
                    "data": vec![0; shape.iter().product()]}],
        "outputs": [{"name": metadata["outputs"][0]["name"], "parameters": {"classification": 10}}],
    });
    for string in data(&daemon, "digits", &request).as_array().unwrap() {
        let parts: Vec<&str> = string.as_str().unwrap().split(':').collect();
        assert_eq!((parts.len(), parts[1]), (3, parts[2]), "{string}");
    }
}

/// A run of `steps` rounds; very many of them never end.
fn rounds(steps: i64, timeout: Option<Value>) -> Value {
    let eye: Vec<f32> = (0..64 * 64).map(|at| if at % 65 == 0 { 1.0 } else { 0.0 }).collect();
    let mut request = json!({"inputs": [
        {"name": "steps", "datatype": "INT64", "shape": [1], "data": [steps]},
        {"name": "x", "datatype": "FP32", "shape": [64, 64], "data": eye}]});
    if let Some(timeout) = timeout {
        request["parameters"] = json!({"timeout": timeout});
    }
    request
}

const ENDLESS: i64 = 1 << 40;

#[test]
fn req_100_the_timeout_is_the_deadline_and_the_next_request_is_right() {
    let daemon = Setup::fixture("slow").set("model.default_timeout_ms", 700).set("model.max_timeout_ms", 1500).ready();
    for (timeout, limit) in [
        (Some(json!(200_000)), 200),
        // None, and 0, mean the default; what is over the limit is cut to it.
        (None, 700),
        (Some(json!(0)), 700),
        (Some(json!(3_600_000_000u64)), 1500),
        (Some(json!(u64::MAX)), 1500),
    ] {
        let begun = Instant::now();
        let answer = daemon.infer("slow", &rounds(ENDLESS, timeout));
        fails(&answer, 504, &format!("was not answered within its deadline of {limit} ms"));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(limit) && took < Duration::from_millis(limit + 5000), "{took:?}");
        assert_eq!(inferred(&daemon, "slow", &rounds(3, None))["outputs"][0]["shape"], json!([64, 64]));
    }
    assert_eq!(daemon.metric("inference_expired_total{reason=\"deadline\"}"), 5.0);
    for wrong in [json!(-1), json!(1.5), json!("1000"), json!(true)] {
        let request = rounds(1, Some(wrong)).to_string();
        refused(&daemon, "slow", &request, "'timeout' of the request's parameters must be a non-negative integer");
    }
    let mut request = rounds(1, Some(json!(10_000_000)));
    request["parameters"]["priority"] = json!(1);
    inferred(&daemon, "slow", &request);
}

#[test]
fn req_100_a_client_that_leaves_ends_its_run() {
    let daemon = Setup::fixture("slow").ready();
    let mut line = crate::wire::Line::new(&daemon);
    line.send(&crate::wire::post("/v2/models/slow/infer", "", rounds(ENDLESS, None).to_string().as_bytes()));
    std::thread::sleep(Duration::from_millis(200));
    drop(line);
    inferred(&daemon, "slow", &rounds(3, None));
    daemon.wait_until("the run has ended", |daemon| {
        daemon.metric("inference_expired_total{reason=\"client_gone\"}") == 1.0
    });
}

#[test]
fn req_104_headers_do_not_reach_the_model() {
    let daemon = identity("fp32");
    let body = floats(&[1.0]).to_string();
    let plain = daemon.send("POST", "/v2/models/identity_fp32/infer", &[], body.as_bytes());
    let with = daemon.send("POST", "/v2/models/identity_fp32/infer", &[("x", "2"), ("triton_x", "3")], body.as_bytes());
    assert_eq!(plain.body, with.body);
}
