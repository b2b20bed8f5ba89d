//! Given the shipped model, a stranger with curl gets an answer.

use serde_json::json;

use crate::harness::{Setup, repository};

#[test]
fn a_shipped_sample_is_classified_by_its_digit() {
    let daemon = Setup::digits().ready();
    for sample in std::fs::read_dir(repository("models/digits/samples")).unwrap() {
        let path = sample.unwrap().path();
        let answer = daemon.post("/api/v1/frames", &std::fs::read(&path).unwrap());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let digit = path.file_name().unwrap().to_str().unwrap().chars().next().unwrap().to_string();
        let json = answer.json();
        assert_eq!(json["predictions"][0]["label"], digit, "{path:?}: {json}");
        assert_eq!(json["model_name"], "digits");
        for stage in ["decode", "preprocess", "queue", "inference"] {
            assert!(json["timing_ms"][stage].as_f64().unwrap() >= 0.0, "{json}");
        }
    }
    assert_eq!(daemon.metric("inference_requests_total{model=\"digits\",outcome=\"ok\"}"), 20.0);
}

#[test]
fn a_model_file_without_any_configuration_is_served_under_its_own_name() {
    let daemon = Setup::fixture("scalar").ready();
    let request = json!({"inputs": [{"name": "x", "shape": [], "datatype": "FP32", "data": [2.5]}]});
    let metadata = daemon.get("/v2/models/scalar");
    assert_eq!(metadata.status, 200, "{}", metadata.text());
    let mut request = request;
    request["inputs"][0]["name"] = metadata.json()["inputs"][0]["name"].clone();
    let answer = daemon.infer("scalar", &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
}
