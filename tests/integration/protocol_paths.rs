//! A: paths and methods, by requirement number of docs/http.md.

use serde_json::json;

use crate::harness::Setup;
use crate::wire::{Line, fails, floats, identity, inferred};

#[test]
fn req_1_to_4_live_and_ready_say_so_in_status_and_body() {
    let daemon = identity("fp32");
    for path in ["/v2/health/live", "/healthz"] {
        let answer = daemon.get(path);
        assert_eq!((answer.status, answer.json()), (200, json!({"live": true})), "{path}");
    }
    for path in ["/v2/health/ready", "/readyz"] {
        let answer = daemon.get(path);
        assert_eq!((answer.status, answer.json()), (200, json!({"ready": true})), "{path}");
    }
    assert_eq!(daemon.post("/v2/repository/models/identity_fp32/unload", b"").status, 200);
    assert_eq!(daemon.get("/v2/health/live").status, 200);
    let answer = daemon.get("/v2/health/ready");
    assert_eq!((answer.status, &answer.json()["ready"]), (503, &json!(false)));
}

#[test]
fn req_5_and_15_and_16_the_server_names_itself_with_and_without_a_slash() {
    let daemon = identity("fp32");
    for path in ["/v2", "/v2/"] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert_eq!(json["name"], "edge-service");
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        let works = [
            "binary_tensor_data",
            "classification",
            "parameters",
            "model_repository",
            "model_configuration",
            "statistics",
        ];
        assert_eq!(json["extensions"], json!(works));
    }
    let named = Setup::fixture("identity_fp32").set("server.name", "box 7").ready();
    assert_eq!(named.get("/v2").json()["name"], "box 7");
}

#[test]
fn req_6_to_10_every_model_route_is_there_with_and_without_a_version() {
    let daemon = Setup::fixture("identity_fp32").set("model.version", "7").ready();
    let request = floats(&[1.5]).to_string();
    for base in ["/v2/models/identity_fp32", "/v2/models/identity_fp32/versions/7"] {
        assert_eq!(daemon.get(base).json()["versions"], json!(["7"]), "{base}");
        let ready = daemon.get(&format!("{base}/ready"));
        assert_eq!((ready.status, ready.json()), (200, json!({"name": "identity_fp32", "ready": true})));
        let answer = daemon.post(&format!("{base}/infer"), request.as_bytes());
        assert_eq!((answer.status, &answer.json()["model_version"]), (200, &json!("7")));
        assert_eq!(daemon.get(&format!("{base}/config")).status, 200);
        assert_eq!(daemon.get(&format!("{base}/stats")).status, 200);
    }
    for version in ["8", "07", "v7", "latest"] {
        let base = format!("/v2/models/identity_fp32/versions/{version}");
        let says = format!("Request for unknown model: 'identity_fp32' version {version} is not found");
        fails(&daemon.get(&base), 404, &says);
        fails(&daemon.post(&format!("{base}/infer"), request.as_bytes()), 404, &says);
    }
    daemon.post("/v2/repository/models/identity_fp32/unload", b"");
    let ready = daemon.get("/v2/models/identity_fp32/ready");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
}

#[test]
fn req_11_a_wrong_method_is_405_with_the_right_one_and_an_unknown_path_404() {
    let daemon = identity("fp32");
    for (method, path, allowed) in [
        ("POST", "/v2", "GET"),
        ("DELETE", "/v2/health/live", "GET"),
        ("POST", "/v2/models/identity_fp32", "GET"),
        ("GET", "/v2/models/identity_fp32/infer", "POST"),
        ("PUT", "/v2/models/identity_fp32/versions/1/infer", "POST"),
        ("GET", "/v2/repository/index", "POST"),
        ("GET", "/api/v1/frames", "POST"),
    ] {
        let answer = daemon.send(method, path, &[], b"");
        fails(&answer, 405, "Method Not Allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
    for path in
        ["/v3", "/v2/nothing", "/v2/models", "/v2/models/identity_fp32/", "/v2/models/identity_fp32/ready/x", "/%zz"]
    {
        fails(&daemon.get(path), 404, "Not Found");
        fails(&daemon.post(path, b"{}"), 404, "Not Found");
    }
    assert_eq!(daemon.get("/").header("content-type"), Some("text/html; charset=utf-8"));
}

#[test]
fn req_12_query_strings_are_ignored() {
    let daemon = identity("fp32");
    let query = "?test_1=1&test_2=2";
    for path in
        ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/identity_fp32", "/v2/models/identity_fp32/ready"]
    {
        assert_eq!(daemon.get(&format!("{path}{query}")).status, 200, "{path}");
    }
    let path = format!("/v2/models/identity_fp32/infer{query}");
    assert_eq!(daemon.post(&path, floats(&[1.0]).to_string().as_bytes()).status, 200);
}

#[test]
fn req_13_names_are_percent_decoded_once_and_never_a_path() {
    let daemon = Setup::fixture("odd_names").set("model.name", "größe 1%41").ready();
    let base = "/v2/models/gr%C3%B6%C3%9Fe%201%2541";
    let metadata = daemon.get(base);
    assert_eq!(metadata.status, 200, "{}", metadata.text());
    assert_eq!(metadata.json()["name"], "größe 1%41");
    assert_eq!(metadata.json()["inputs"][0]["name"], "serving default/x:0");
    let request = json!({"inputs": [{"name": "serving default/x:0", "datatype": "FP32", "shape": [1], "data": [2]}]});
    let answer = daemon.post(&format!("{base}/infer"), request.to_string().as_bytes());
    assert_eq!(
        answer.json()["outputs"][0],
        json!({"name": "größe/y:0", "datatype": "FP32", "shape": [1], "data": [-2.0]})
    );
    fails(&daemon.get("/v2/models/gr%C3%B6%C3%9Fe%201%41"), 404, "Request for unknown model");
    for name in ["..", "%2E%2E", "%2e%2e%2fetc%2fpasswd", "a%2Fb", "a%00b", "%252e%252e", "%FF", "odd_names"] {
        let answer = daemon.get(&format!("/v2/models/{name}/ready"));
        assert_eq!(answer.status, 404, "{name}: {}", answer.text());
        assert!(!answer.error().contains('\0'));
    }
}

#[test]
fn req_14_and_98_to_103_what_is_not_served_is_404() {
    let daemon = identity("fp32");
    for path in [
        "/v2/models",
        "/v2/logging",
        "/v2/trace/setting",
        "/v2/models/identity_fp32/trace/setting",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/status",
        "/v2/models/identity_fp32/generate",
        "/v2/models/identity_fp32/generate_stream",
    ] {
        fails(&daemon.get(path), 404, "Not Found");
        fails(&daemon.post(path, b"{}"), 404, "Not Found");
    }
    let mut request = floats(&[1.0]);
    request["parameters"] = json!({"sequence_id": 7, "sequence_start": true, "priority": 1});
    inferred(&daemon, "identity_fp32", &request);
}

#[test]
fn req_56_head_and_options_are_405_and_head_has_no_body() {
    let daemon = identity("fp32");
    for path in ["/v2", "/v2/health/live", "/v2/models/identity_fp32/infer"] {
        let raw = daemon.raw(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(raw.starts_with("HTTP/1.1 405") && raw.ends_with("\r\n\r\n"), "{raw}");
        fails(&daemon.send("OPTIONS", path, &[], b""), 405, "Method Not Allowed");
    }
    let mut line = Line::new(&daemon);
    line.send(b"HEAD /v2 HTTP/1.1\r\nHost: x\r\n\r\n");
    line.send(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    let raw = {
        line.send(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut all = String::new();
        while let Some(text) = line.text_line() {
            all.push_str(&text);
        }
        all
    };
    assert_eq!(raw.matches("HTTP/1.1 ").count(), 3, "{raw}");
    assert_eq!(raw.matches(r#"{"live":true}"#).count(), 2, "{raw}");
}
