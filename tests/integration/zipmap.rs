//! Classifiers that end in a `ZipMap`, as scikit-learn's exports do: their probabilities are a tensor here.

use serde_json::{Value, json};

use crate::harness::{Daemon, Setup, repository};

fn known(name: &str) -> Value {
    let path = repository("target/fixtures/classifiers/manifest.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{error}: run `make fixtures`"));
    serde_json::from_slice::<Value>(&text).unwrap()[name].take()
}

fn setup(name: &str) -> Setup {
    Setup::default().model(&repository(&format!("target/fixtures/classifiers/{name}.onnx")))
}

fn request(known: &Value) -> Value {
    json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 4], "data": known["x"]}]})
}

fn output<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer["outputs"].as_array().unwrap().iter().find(|output| output["name"] == name).unwrap()
}

/// The probabilities are those of the runtime's maps, row by row in the order of the classes.
fn check_probabilities(daemon: &Daemon, name: &str, known: &Value) -> Value {
    let answer = daemon.infer(name, &request(known));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let probabilities = output(&answer, "probabilities");
    let classes = known["classes"].as_array().unwrap();
    assert_eq!(probabilities["shape"], json!([3, classes.len()]));
    assert_eq!(probabilities["datatype"], "FP32");
    let data = probabilities["data"].as_array().unwrap();
    let maps = known["maps"].as_array().unwrap();
    let wanted = maps.iter().flat_map(|map| classes.iter().map(|class| map[class.as_str().unwrap()].as_f64().unwrap()));
    assert_eq!(data.len(), maps.len() * classes.len());
    for (got, wanted) in data.iter().zip(wanted) {
        assert!((got.as_f64().unwrap() - wanted).abs() < 1e-6, "{got} is not {wanted}");
    }
    answer
}

#[test]
fn probabilities_answer_as_a_tensor_with_the_classes_in_the_metadata() {
    for (name, datatype) in [("linear", "BYTES"), ("tree", "INT64")] {
        let known = known(name);
        let daemon = setup(name).set("model.canary_seconds", 0.05).ready();
        let outputs = daemon.get(&format!("/v2/models/{name}")).json()["outputs"].clone();
        assert_eq!(outputs[0], json!({"name": "label", "datatype": datatype, "shape": [-1]}));
        let classes = known["classes"].clone();
        let wanted = json!({"name": "probabilities", "datatype": "FP32", "shape": [-1, 3], "classes": classes});
        assert_eq!(outputs[1], wanted);
        let answer = check_probabilities(&daemon, name, &known);
        assert_eq!(output(&answer, "label")["data"], known["label"]);
        // The file that is served is the file on the disk.
        let pinned = daemon.get("/api/v1/monitoring/status").json()["model"]["sha256"].clone();
        let (code, stdout, _) = setup(name).run("check");
        assert_eq!(code, 0, "{stdout}");
        assert!(stdout.contains(pinned.as_str().unwrap()) && stdout.contains("probabilities FP32[-1, 3]"), "{stdout}");
        // The canary asks for that output too.
        daemon.wait_until("the canary answers", |daemon| daemon.metric("canary_runs_total{outcome=\"ok\"}") >= 2.0);
    }
}

#[test]
fn the_classes_are_labels_where_there_are_no_others() {
    let known = known("linear");
    let daemon = setup("linear").ready();
    let mut request = request(&known);
    request["outputs"] = json!([{"name": "probabilities", "parameters": {"classification": 1}}]);
    let answer = daemon.infer("linear", &request).json();
    let best = answer["outputs"][0]["data"].as_array().unwrap();
    for (best, label) in best.iter().zip(known["label"].as_array().unwrap()) {
        assert!(best.as_str().unwrap().ends_with(&format!(":{}", label.as_str().unwrap())), "{best} {label}");
    }
}

#[test]
fn a_model_with_nothing_but_maps_is_served_and_weights_beside_it_are_found() {
    for name in ["alone", "beside"] {
        let known = known(name);
        // The working directory is another one than the model's.
        let daemon = setup(name).ready();
        check_probabilities(&daemon, name, &known);
        assert_eq!(daemon.log.of("zipmap_kept").len(), 0);
    }
}

#[test]
fn a_zipmap_can_be_kept() {
    let daemon = setup("tree").set("model.keep_zipmap", true).ready();
    let outputs = daemon.get("/v2/models/tree").json()["outputs"].clone();
    let names: Vec<_> = outputs.as_array().unwrap().iter().map(|output| output["name"].clone()).collect();
    assert_eq!(names, ["label", "scores"]);
    let (code, _, log) = setup("alone").set("model.keep_zipmap", true).run("run");
    assert_eq!(code, 65, "{log}");
}

#[test]
fn infer_names_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.npy");
    let known = known("linear");
    let row: Vec<f32> = known["x"][0].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect();
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }").as_bytes());
    bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(&file, bytes).unwrap();
    let (code, stdout, stderr) = setup("linear").arg(file.to_str().unwrap()).run("infer");
    assert_eq!(code, 0, "{stderr}");
    let best = known["label"][0].as_str().unwrap();
    let value = known["maps"][0][best].as_f64().unwrap();
    assert!(stdout.contains("probabilities FP32[1, 3]"), "{stdout}");
    assert!(stdout.contains(&format!("{best}: {value:.6}")), "{stdout}");
    let (_, stdout, _) = setup("linear").arg("--json").arg(file.to_str().unwrap()).run("infer");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["outputs"][1]["classes"], known["classes"]);
}
