//! Given a model that says less of itself than others, it is served all the same.

use edge_service::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TensorShapeProtoDimension,
    TensorShapeProtoDimensionValue, TypeProto, TypeProtoTensor, TypeProtoValue, ValueInfoProto,
};
use prost::Message;
use serde_json::json;

use crate::harness::{Daemon, Setup};

const FP32: i32 = 1;

/// A tensor at the graph's edge; without a shape it may have any.
fn value(name: &str, shape: Option<&[&str]>) -> ValueInfoProto {
    let open = |name: &&str| TensorShapeProtoDimension {
        value: Some(TensorShapeProtoDimensionValue::DimParam((*name).to_owned())),
        ..TensorShapeProtoDimension::default()
    };
    let shape = shape.map(|dims| TensorShapeProto { dim: dims.iter().map(open).collect() });
    let tensor = TypeProtoTensor { elem_type: Some(FP32), shape };
    let of = TypeProto { value: Some(TypeProtoValue::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(of), ..ValueInfoProto::default() }
}

/// Serves a model of one operator from all its inputs to `y`.
fn serve(operator: &str, inputs: Vec<ValueInfoProto>, output: ValueInfoProto) -> (tempfile::TempDir, Daemon) {
    let names = inputs.iter().map(|input| input.name.clone().unwrap()).collect();
    let node = NodeProto {
        input: names,
        output: vec!["y".to_owned()],
        op_type: Some(operator.to_owned()),
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: Some("g".to_owned()),
        node: vec![node],
        input: inputs,
        output: vec![output],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { version: Some(17), ..OperatorSetIdProto::default() };
    let model =
        ModelProto { ir_version: Some(8), graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd.onnx");
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    let daemon = Setup::default().model(&file).ready();
    (folder, daemon)
}

#[test]
fn an_input_without_a_shape_takes_any() {
    let (_folder, daemon) = serve("Neg", vec![value("x", None)], value("y", None));
    let metadata = daemon.get("/v2/models/odd").json();
    assert_eq!((&metadata["inputs"][0]["shape"], &metadata["outputs"][0]["shape"]), (&json!([-1]), &json!([-1])));
    for shape in [json!([]), json!([2]), json!([1, 2, 1]), json!([0, 3])] {
        let count = shape.as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap()).product::<u64>();
        let data: Vec<f64> = (0..count).map(|number| number as f64 + 1.0).collect();
        let request = json!({"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}]});
        let answer = daemon.infer("odd", &request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let output = answer.json()["outputs"][0].clone();
        let negative: Vec<f64> = data.iter().map(|value| -value).collect();
        assert_eq!((&output["shape"], &output["data"]), (&shape, &json!(negative)));
    }
}

#[test]
fn what_fails_inside_is_told_without_the_runtimes_source() {
    let vector = |name| value(name, Some(&["n"]));
    let (_folder, daemon) = serve("Add", vec![vector("a"), vector("b")], vector("y"));
    let input =
        |name: &str, data: &[f64]| json!({"name": name, "shape": [data.len()], "datatype": "FP32", "data": data});
    let answer = daemon.infer("odd", &json!({"inputs": [input("a", &[1.0, 2.0]), input("b", &[1.0, 2.0, 3.0])]}));
    assert_eq!(answer.status, 500);
    let error = answer.error();
    assert!(error.contains("2 by 3"), "{error}");
    for leak in ["/onnxruntime", ".h:", ".cc:", "::"] {
        assert!(!error.contains(leak), "{leak} in {error}");
    }
}
