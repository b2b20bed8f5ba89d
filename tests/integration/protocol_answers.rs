//! D to F: answers, errors and datatypes, by requirement number of docs/http.md.

use serde_json::{Value, json};

use crate::harness::Setup;
use crate::wire::{binary, binary_x, data, fails, floats, identity, inferred, parts, refused, row, x};

#[test]
fn req_48_to_51_an_answer_is_flat_json_with_every_member() {
    let daemon = Setup::fixture("two_d_out").ready();
    let answer = daemon.infer("two_d_out", &floats(&[1.0, 2.0]));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("inference-header-content-length"), None);
    let expected = json!({"model_name": "two_d_out", "model_version": "1", "outputs": [
        {"name": "table", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 2.0, 4.0]},
        {"name": "total", "datatype": "FP32", "shape": [], "data": [3.0]},
    ]});
    assert_eq!(answer.json(), expected);
    let daemon = Setup::fixture("values_decide_shape").ready();
    let answer = inferred(&daemon, "values_decide_shape", &floats(&[0.0, 3.0, 0.0]));
    assert_eq!(answer["outputs"][0]["shape"], json!([1]));
}

#[test]
fn req_53_every_datatype_goes_through_in_json() {
    for (datatype, values) in [
        ("BOOL", json!([true, false, true])),
        ("UINT8", json!([0, 255])),
        ("UINT16", json!([0, 65535])),
        ("UINT32", json!([0, 4294967295u64])),
        ("UINT64", json!([0, u64::MAX])),
        ("INT8", json!([-128, 127])),
        ("INT16", json!([-32768, 32767])),
        ("INT32", json!([-2147483648, 2147483647])),
        ("INT64", json!([i64::MIN, i64::MAX])),
        ("FP32", json!([-1.5, 0.25])),
        ("FP64", json!([-1.5, 1e300])),
        ("BYTES", json!(["", "ä😀", "line\nbreak \"quoted\""])),
    ] {
        let model = format!("identity_{}", datatype.to_lowercase());
        let daemon = identity(&datatype.to_lowercase());
        let request = x(datatype, json!([values.as_array().unwrap().len()]), values.clone());
        let answer = inferred(&daemon, &model, &request);
        assert_eq!((&answer["outputs"][0]["datatype"], &answer["outputs"][0]["data"]), (&json!(datatype), &values));
        let none = inferred(&daemon, &model, &x(datatype, json!([0]), json!([])));
        assert_eq!(none["outputs"][0]["data"], json!([]));
    }
}

/// The binary form of strings.
fn strings(strings: &[&[u8]]) -> Vec<u8> {
    strings.iter().flat_map(|s| [&u32::try_from(s.len()).unwrap().to_le_bytes()[..], s].concat()).collect()
}

#[test]
fn req_54_strings_that_are_not_utf8_ask_for_binary() {
    let daemon = identity("bytes");
    let tail = strings(&[b"ok", b"\xff\x00\xfe"]);
    let mut request = binary_x("BYTES", json!([2]), tail.len());
    assert_eq!(parts(&binary(&daemon, "identity_bytes", &request, &tail)).1, tail);
    request["parameters"] = json!({});
    let answer = binary(&daemon, "identity_bytes", &request, &tail);
    fails(&answer, 400, "element 1 of output 'y' is not UTF-8 and cannot be sent in JSON; set 'binary_data'");
}

#[test]
fn req_55_nul_in_strings_is_kept_both_ways() {
    let daemon = identity("bytes");
    let nul = json!(["he\u{0}llo", "\u{0}", "", "\u{0}\u{0}end"]);
    assert_eq!(data(&daemon, "identity_bytes", &x("BYTES", json!([4]), nul.clone())), nul);
    let tail = strings(&[b"he\0llo", b"\0", b"", b"\0\0end"]);
    let answer = binary(&daemon, "identity_bytes", &binary_x("BYTES", json!([4]), tail.len()), &tail);
    assert_eq!(parts(&answer).1, tail);
}

#[test]
fn req_57_and_58_every_failure_has_the_one_body() {
    let daemon = Setup::fixture("identity_fp32").set("server.max_body_bytes", 4096).ready();
    let infer = "/v2/models/identity_fp32/infer";
    fails(&daemon.get("/nowhere"), 404, "Not Found");
    fails(&daemon.get(infer), 405, "Method Not Allowed");
    fails(&daemon.post(infer, b"{"), 400, "invalid JSON");
    fails(&daemon.post(infer, &[b' '; 4097]), 413, "over the limit of 4096 bytes");
    fails(&daemon.send("POST", infer, &[("Content-Encoding", "br")], b"{}"), 415, "content encoding 'br' is not read");
    fails(&daemon.post("/v2/models/other/infer", b"{}"), 404, "Request for unknown model");
    fails(&daemon.post("/test/panic/handler", b""), 500, "internal error: see the log");
    fails(&daemon.post("/api/v1/frames", b"no picture"), 400, "the model takes no pictures");
    // What the framework refuses by itself has no other words.
    fails(&daemon.post("/v2/repository/index", &[b' '; 65537]), 413, "over the limit of 65536 bytes");
    fails(&daemon.post("/v2/repository/index", b"[]"), 400, "must be a JSON object");
    let packed = [("Content-Encoding", "gzip")];
    fails(&daemon.send("POST", "/v2/repository/index", &packed, b"xxx"), 400, "could not be inflated");
    daemon.post("/v2/repository/models/identity_fp32/unload", b"");
    let answer = daemon.infer("identity_fp32", &floats(&[1.0]));
    fails(&answer, 503, "the model is unloaded: try again");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn req_59_and_60_unknown_models_and_versions_begin_with_tritons_words() {
    let daemon = identity("fp32");
    for path in ["/v2/models/other", "/v2/models/other/ready", "/v2/models/other/config", "/v2/models/other/stats"] {
        let error = daemon.get(path).error();
        assert!(error.starts_with("Request for unknown model: 'other' is not found"), "{path}: {error}");
    }
    for path in
        ["/v2/models/other/infer", "/v2/models/identity_fp32/versions/2/infer", "/v2/repository/models/other/load"]
    {
        let answer = daemon.post(path, b"{}");
        assert!(answer.status == 404 && answer.error().starts_with("Request for unknown model"), "{path}");
    }
}

#[test]
fn req_61_a_full_queue_is_503_with_retry_after_and_a_passed_deadline_504() {
    let daemon = Setup::fixture("slow").set("model.queue_limit", 1).ready();
    let eye: Vec<f32> = (0..64 * 64).map(|at| if at % 65 == 0 { 1.0 } else { 0.0 }).collect();
    let request = |steps: i64, timeout_us: u64| {
        json!({"parameters": {"timeout": timeout_us}, "inputs": [
            {"name": "steps", "datatype": "INT64", "shape": [1], "data": [steps]},
            {"name": "x", "datatype": "FP32", "shape": [64, 64], "data": eye}]})
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| daemon.infer("slow", &request(1 << 40, 2_000_000)));
        // The first one runs, so that the second one waits, and a third finds no place.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let waiting = scope.spawn(|| daemon.infer("slow", &request(10, 10_000_000)));
        daemon.wait_until("a full queue", |daemon| daemon.metric("inference_queue_depth") == 1.0);
        let refused = daemon.infer("slow", &request(10, 0));
        fails(&refused, 503, "the queue is full (model.queue_limit): try again");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(daemon.get("/v2/health/live").status, 200);
        fails(&running.join().unwrap(), 504, "the request was not answered within its deadline of 2000 ms");
        assert_eq!(waiting.join().unwrap().status, 200);
    });
    assert_eq!(daemon.infer("slow", &request(10, 0)).status, 200);
}

#[test]
fn req_63_errors_hold_no_paths_traces_or_memory() {
    let daemon = Setup::fixture("fails_inside").ready();
    let answer = daemon.infer("fails_inside", &row(99));
    assert_eq!(answer.status, 500);
    let mut texts = vec![answer.error()];
    let long = "z".repeat(10_000);
    for body in [format!("{{\"inputs\":[{{\"name\":\"{long}\"}}]}}"), long.clone(), format!("{{\"{long}\":")] {
        texts.push(daemon.post("/v2/models/fails_inside/infer", body.as_bytes()).error());
    }
    texts.push(daemon.get(&format!("/v2/models/{long}")).error());
    texts.push(daemon.post("/v2/repository/models/fails_inside/load", br#"{"parameters":{"config":"{}"}}"#).error());
    for text in texts {
        assert!(text.len() < 700, "{text}");
        for secret in [env!("CARGO_MANIFEST_DIR"), "target/fixtures", ".onnx", ".cc:", ".rs:", "0x"] {
            assert!(!text.contains(secret), "'{secret}' is in: {text}");
        }
    }
}

#[test]
fn req_65_an_unknown_datatype_is_400() {
    let daemon = identity("fp32");
    for word in ["STRING", "fp32", "FLOAT", "TYPE_FP32", ""] {
        let request: Value = x(word, json!([1]), json!([1]));
        refused(&daemon, "identity_fp32", &request.to_string(), &format!("unknown datatype '{word}' of input 'x'"));
    }
}
