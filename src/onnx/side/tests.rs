//! Models made up for the look beside them.

use std::io::Cursor;

use super::*;
use crate::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
};

fn tensor(location: &str) -> TensorProto {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    TensorProto {
        external_data: vec![entry("offset", "0"), entry("location", location)],
        data_location: Some(1),
        ..TensorProto::default()
    }
}

fn node(attribute: AttributeProto) -> NodeProto {
    NodeProto { attribute: vec![attribute], ..NodeProto::default() }
}

fn found(model: &ModelProto) -> Vec<String> {
    locations(Cursor::new(model.encode_to_vec())).unwrap().into_iter().collect()
}

#[test]
fn every_tensor_is_found_wherever_it_stands() {
    let inner = GraphProto { initializer: vec![tensor("in-a-branch")], ..GraphProto::default() };
    let sparse =
        SparseTensorProto { values: Some(tensor("values")), indices: Some(tensor("indices")), ..Default::default() };
    let attributes = [
        AttributeProto { g: Some(Box::new(inner.clone())), ..AttributeProto::default() },
        AttributeProto { t: Some(tensor("in-an-attribute")), ..AttributeProto::default() },
        AttributeProto { tensors: vec![tensor("in-a-list")], ..AttributeProto::default() },
    ];
    let graph = GraphProto {
        initializer: vec![
            tensor("weights"),
            tensor("weights"),
            TensorProto { raw_data: Some(vec![0xff; 999].into()), ..Default::default() },
        ],
        sparse_initializer: vec![sparse],
        node: attributes.map(node).to_vec(),
        ..GraphProto::default()
    };
    let within = AttributeProto { t: Some(tensor("in-a-function")), ..AttributeProto::default() };
    let function = FunctionProto { node: vec![node(within)], ..FunctionProto::default() };
    let model = ModelProto { graph: Some(graph), functions: vec![function], ..ModelProto::default() };
    let wanted = ["in-a-branch", "in-a-function", "in-a-list", "in-an-attribute", "indices", "values", "weights"];
    assert_eq!(found(&model), wanted);
}

#[test]
fn a_location_outside_of_the_models_folder_is_left_out() {
    let initializer = ["../up", "/abs", "", "down/here", "./here"].map(tensor).to_vec();
    let graph = GraphProto { initializer, ..GraphProto::default() };
    assert_eq!(found(&ModelProto { graph: Some(graph), ..ModelProto::default() }), ["./here", "down/here"]);
}

#[test]
fn what_is_no_model_names_no_file() {
    let graph = GraphProto { initializer: vec![tensor("weights")], ..GraphProto::default() };
    let whole = ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec();
    for length in 0..whole.len() {
        assert!(locations(Cursor::new(&whole[..length])).unwrap().len() <= 1);
    }
    assert!(locations(Cursor::new([0xff; 64])).unwrap().is_empty());
    assert!(locations(Cursor::new(b"# not a model")).unwrap().is_empty());
}
