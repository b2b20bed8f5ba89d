//! B: metadata, and the configuration of the model, by requirement number of docs/http.md.

use serde_json::{Value, json};

use crate::harness::Setup;
use crate::wire::{data, fails, floats, identity, inferred};

fn metadata(fixture: &str) -> Value {
    let answer = Setup::fixture(fixture).ready().get(&format!("/v2/models/{fixture}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn req_17_and_19_model_metadata_has_every_member() {
    let tensor = |name| json!({"name": name, "datatype": "INT32", "shape": [-1, 16]});
    let expected = json!({
        "name": "add_sub_int32", "versions": ["1"], "platform": "onnxruntime_onnx",
        "inputs": [tensor("a"), tensor("b")], "outputs": [tensor("sum"), tensor("difference")],
    });
    assert_eq!(metadata("add_sub_int32"), expected);
}

#[test]
fn req_18_open_dimensions_are_minus_one_and_scalars_have_none() {
    assert_eq!(metadata("scalar")["inputs"][0]["shape"], json!([]));
    assert_eq!(metadata("mlp")["inputs"][0]["shape"], json!([-1, 64]));
    assert_eq!(metadata("fixed_batch")["inputs"][0]["shape"], json!([4, 8]));
    assert_eq!(metadata("no_inputs")["inputs"], json!([]));
}

#[test]
fn req_20_and_64_every_datatype_has_the_protocols_name() {
    for word in [
        "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32",
        "FP64", "BYTES",
    ] {
        let metadata = metadata(&format!("identity_{}", word.to_lowercase()));
        assert_eq!(
            (&metadata["inputs"][0]["datatype"], &metadata["outputs"][0]["datatype"]),
            (&json!(word), &json!(word))
        );
    }
}

#[test]
fn req_21_outputs_that_are_no_tensors_are_left_out_and_refused() {
    for (fixture, kept, left_out, request) in [
        ("seq_beside", "y", "pieces", floats(&[1.0])),
        ("optional_beside", "y", "maybe", floats(&[1.0])),
        ("zipmap", "label", "probabilities", crate::wire::x("FP32", json!([1, 3]), json!([1, 5, 2]))),
    ] {
        let daemon = Setup::fixture(fixture).set("model.keep_zipmap", true).ready();
        let outputs = daemon.get(&format!("/v2/models/{fixture}")).json()["outputs"].clone();
        assert_eq!((outputs.as_array().unwrap().len(), &outputs[0]["name"]), (1, &json!(kept)));
        assert_eq!(inferred(&daemon, fixture, &request)["outputs"].as_array().unwrap().len(), 1);
        let mut request = request;
        request["outputs"] = json!([{"name": left_out}]);
        fails(&daemon.infer(fixture, &request), 400, "is no tensor (a sequence or a map)");
    }
    let (code, _, log) = Setup::fixture("seq_only").run("run");
    assert_eq!(code, 65, "{log}");
}

#[test]
fn req_22_an_input_with_an_initialiser_may_be_left_out() {
    let daemon = Setup::fixture("optional_input").ready();
    let inputs = daemon.get("/v2/models/optional_input").json()["inputs"].clone();
    assert_eq!(inputs, json!([{"name": "x", "datatype": "FP32", "shape": [-1]}]));
    let mut request = floats(&[1.0, 2.0]);
    assert_eq!(data(&daemon, "optional_input", &request), json!([11.0, 12.0]));
    let offset = json!({"name": "offset", "datatype": "FP32", "shape": [1], "data": [0.5]});
    request["inputs"].as_array_mut().unwrap().insert(0, offset);
    assert_eq!(data(&daemon, "optional_input", &request), json!([1.5, 2.5]));
    assert_eq!(data(&daemon, "optional_input", &floats(&[1.0])), json!([11.0]));
}

#[test]
fn req_97_the_configuration_is_read_only_and_agrees_with_the_metadata() {
    let daemon = identity("bytes");
    for path in ["/v2/models/identity_bytes/config", "/v2/models/identity_bytes/versions/1/config"] {
        let config = daemon.get(path).json();
        assert_eq!(config["name"], "identity_bytes");
        assert_eq!(config["platform"], "onnxruntime_onnx");
        assert_eq!(config["max_batch_size"], 0);
        assert_eq!(config["input"], json!([{"name": "x", "data_type": "TYPE_STRING", "dims": [-1]}]));
        assert_eq!(config["output"], json!([{"name": "y", "data_type": "TYPE_STRING", "dims": [-1]}]));
        assert_eq!(config["instance_group"][0]["count"], 1);
        fails(&daemon.post(path, b"{}"), 405, "Method Not Allowed");
    }
}
