//! Given a file where the quantised form should be, the daemon looks at what it is before it serves it.

use std::path::{Path, PathBuf};

use edge_service::onnx::file;
use serde_json::Value;

use crate::harness::{Daemon, Setup, repository};

/// The shipped model with one more word about itself: another file, and the same answers.
pub fn marked(path: &Path, key: &str, value: &str) -> PathBuf {
    let mut model = file::read(&repository("models/digits/model.onnx")).unwrap();
    model.set_property(key, value);
    file::write(path, &model).unwrap();
    path.to_owned()
}

/// A daemon that prefers this form of the shipped model wherever it loads.
fn with(candidate: &Path) -> Daemon {
    Setup::default()
        .set("model.path", repository("models/digits/model.onnx").display())
        .env("EDGE_SERVICE_QUANTIZED_MODEL_PATH", candidate.to_str().unwrap())
        .env("EDGE_SERVICE_USE_QUANTIZED_MODEL", "true")
        // Nothing is measured here.
        .set("model.qualify.max_seconds", 0.1)
        .ready()
}

fn model(daemon: &Daemon) -> Value {
    daemon.get("/api/v1/monitoring/status").json()["model"].take()
}

fn serves_the_original(candidate: &Path, why: &str) {
    let daemon = with(candidate);
    let model = model(&daemon);
    assert_eq!(model["variant"], "original");
    assert!(model["variant_reason"].as_str().unwrap().contains(why), "{model}");
    let line = daemon.log.wait("quantized_left_out");
    assert!(line["message"].as_str().unwrap().contains(why), "{line}");
}

#[test]
fn an_original_in_place_of_its_quantised_form_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let candidate = folder.path().join("model_int8.onnx");
    std::fs::copy(repository("models/digits/model.onnx"), &candidate).unwrap();
    serves_the_original(&candidate, "is the original itself");
}

#[test]
fn a_form_of_another_model_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let other = "0123456789abcdef".repeat(4);
    let candidate = marked(&folder.path().join("model_int8.onnx"), "edge_service.source_sha256", &other);
    serves_the_original(&candidate, &other);
}

#[test]
fn a_form_in_another_folder_takes_pictures_as_the_original_does() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = with(&marked(&folder.path().join("form.onnx"), "made", "by hand"));
    assert_eq!(model(&daemon)["variant"], "quantized");
    let picture = std::fs::read(repository("models/digits/samples/7-03.png")).unwrap();
    let answer = daemon.post("/api/v1/frames", &picture);
    assert_eq!(answer.json()["predictions"][0]["label"], "7", "{}", answer.text());
}
