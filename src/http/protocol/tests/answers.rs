//! B, H, I and J: metadata, index, statistics and configuration.

use serde_json::{json, to_value};

use super::super::metadata::*;
use super::*;

#[test]
fn req_15_and_16_the_server_names_itself_and_what_works() {
    let answer = to_value(ServerMetadata::new("edge-service", "0.1.0")).unwrap();
    assert_eq!(
        answer,
        json!({"name": "edge-service", "version": "0.1.0", "extensions": ["binary_tensor_data",
        "classification", "parameters", "model_repository", "model_configuration", "statistics"]})
    );
}

#[test]
fn req_17_to_22_model_metadata_lists_real_inputs_and_tensor_outputs() {
    let mut spec = pair();
    spec.inputs[1].shape = vec![-1, 3];
    spec.outputs = vec![self::spec("sum", DataType::Bf16, &[])];
    spec.left_out = vec!["map".to_owned()];
    let answer = to_value(ModelMetadata::new("m", "1", &spec)).unwrap();
    assert_eq!(
        answer,
        json!({"name": "m", "versions": ["1"], "platform": "onnxruntime_onnx",
        "inputs": [{"name": "a", "datatype": "FP32", "shape": [2]}, {"name": "b", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "sum", "datatype": "BF16", "shape": []}]})
    );
}

#[test]
fn req_64_strings_are_bytes_but_for_tritons_configuration() {
    let spec = model(DataType::Bytes, &[-1]);
    assert_eq!(to_value(ModelMetadata::new("m", "1", &spec)).unwrap()["inputs"][0]["datatype"], "BYTES");
    assert_eq!(to_value(ModelConfiguration::new("m", &spec, 1)).unwrap()["input"][0]["data_type"], "TYPE_STRING");
}

#[test]
fn req_85_an_index_entry_leaves_an_empty_reason_out() {
    let entry = |state, reason: &str| IndexEntry {
        name: "m".to_owned(),
        version: "1".to_owned(),
        state,
        reason: reason.to_owned(),
    };
    assert_eq!(to_value(entry(ModelState::Ready, "")).unwrap(), json!({"name": "m", "version": "1", "state": "READY"}));
    let broken = to_value(entry(ModelState::Unavailable, "unloaded")).unwrap();
    assert_eq!((&broken["state"], &broken["reason"]), (&json!("UNAVAILABLE"), &json!("unloaded")));
}

#[test]
fn req_93_statistics_have_every_member() {
    let stats =
        ModelStatistics { name: "m".to_owned(), batch_stats: vec![BatchStatistics::default()], ..Default::default() };
    let answer = to_value(StatisticsAnswer { model_stats: vec![stats] }).unwrap();
    let zero = json!({"count": 0, "ns": 0});
    assert_eq!(
        answer,
        json!({"model_stats": [{"name": "m", "version": "", "last_inference": 0, "inference_count": 0,
        "execution_count": 0,
        "inference_stats": {"success": zero, "fail": zero, "queue": zero, "compute_input": zero, "compute_infer": zero,
            "compute_output": zero, "cache_hit": zero, "cache_miss": zero},
        "batch_stats": [{"batch_size": 0, "compute_input": zero, "compute_infer": zero, "compute_output": zero}]}]})
    );
}

#[test]
fn req_97_the_configuration_agrees_with_the_metadata() {
    let answer = to_value(ModelConfiguration::new("m", &pair(), 2)).unwrap();
    assert_eq!(
        answer,
        json!({"name": "m", "platform": "onnxruntime_onnx", "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}}, "max_batch_size": 0,
        "input": [{"name": "a", "data_type": "TYPE_FP32", "dims": [2]}, {"name": "b", "data_type": "TYPE_FP32", "dims": [2]}],
        "output": [{"name": "sum", "data_type": "TYPE_FP32", "dims": [2]},
            {"name": "difference", "data_type": "TYPE_FP32", "dims": [2]}],
        "instance_group": [{"name": "m_0", "kind": "KIND_CPU", "count": 2}]})
    );
}
