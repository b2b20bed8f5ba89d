//! From a camera's picture to what an operator sees of it.

use std::fs;

use serde_json::json;

use crate::harness::Setup;
use crate::stage::{Stage, classify, status};

const STAGES: [&str; 4] = ["decode", "preprocess", "queue", "run"];

/// JPEG and PNG, twenty pictures, and at most one of them is misread.
pub fn pictures(stage: &mut Stage) {
    let samples = stage.samples();
    let daemon = stage.daemon();
    assert_eq!(status(daemon)["model"]["variant"], "quantized");
    let right =
        |(file, digit): &&(std::path::PathBuf, char)| classify(daemon, &fs::read(file).unwrap()) == digit.to_string();
    let right = samples.iter().filter(right).count();
    assert!(right + 1 >= samples.len(), "{right} of {}", samples.len());
    let answer = daemon.post("/api/v1/frames", b"not a picture");
    assert_eq!(answer.status, 400, "{}", answer.text());
    stage.answered += samples.len() as u64;
}

/// Each stage of a frame's way is measured once.
pub fn metrics(stage: &mut Stage) {
    let picture = fs::read(&stage.samples()[1].0).unwrap();
    let daemon = stage.daemon();
    let counts = || STAGES.map(|stage| daemon.metric(&format!("inference_{stage}_duration_seconds_count")));
    let before = counts();
    classify(daemon, &picture);
    assert_eq!(counts(), before.map(|count| count + 1.0));
    assert!(daemon.metric("inference_requests_total{model=\"digits\",outcome=\"ok\"}") >= stage.answered as f64 + 1.0);
    stage.answered += 1;
}

/// The status names the form that runs and why, and what the last requests took; so does the command.
pub fn status_of(stage: &mut Stage) {
    let picture = fs::read(&stage.samples()[2].0).unwrap();
    let daemon = stage.daemon();
    classify(daemon, &picture);
    let now = status(daemon);
    assert_eq!((&now["ready"], &now["phase"]), (&json!(true), &json!("running")), "{now}");
    assert_eq!(now["model"]["variant"], "quantized");
    assert!(!now["model"]["variant_reason"].as_str().unwrap().is_empty());
    assert_eq!(now["model"]["canary"]["state"], "well");
    let recorded = daemon.get("/api/v1/recorder").json();
    assert!(recorded["requests"].as_array().unwrap().iter().any(|entry| entry["outcome"] == "ok"), "{recorded}");
    let address = daemon.address.to_string();
    let (code, said, _) = Setup::default().arg("--listen").arg(&address).run("status");
    assert!(code == 0 && said.contains("digits"), "{said}");
    stage.answered += 1;
}
