//! Constants in one place: what `Constant` and `Identity` of constants make becomes initialisers.

use std::collections::HashMap;

use crate::onnx::graph::{Index, captures};
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};

/// Makes initialisers of the constants among the nodes.
pub(super) fn lift(graph: &mut GraphProto) {
    let index = Index::new(graph);
    let outputs: Vec<String> = index.outputs.iter().map(|name| (*name).to_owned()).collect();
    let mut same: HashMap<String, String> = HashMap::new();
    let mut made: Vec<TensorProto> = Vec::new();
    let mut gone: Vec<usize> = Vec::new();
    for (place, node) in graph.node.iter().enumerate().filter(|(_, node)| node.is_standard()) {
        let Some(output) = node.result(0).filter(|name| !outputs.iter().any(|output| output == name)) else { continue };
        match node.operator() {
            "Constant" => {
                let Some(mut tensor) = value(node) else { continue };
                tensor.name = Some(output.to_owned());
                made.push(tensor);
                gone.push(place);
            }
            "Identity" if !index.captured.contains(output) => {
                let Some(input) = node.source(0) else { continue };
                let origin = same.get(input).map_or(input, String::as_str).to_owned();
                if index.constant(&origin).is_some() || made.iter().any(|tensor| tensor.label() == origin) {
                    same.insert(output.to_owned(), origin);
                    gone.push(place);
                }
            }
            _ => {}
        }
    }
    graph.initializer.extend(made);
    let mut place = 0;
    graph.node.retain(|_| {
        place += 1;
        gone.binary_search(&(place - 1)).is_err()
    });
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if let Some(origin) = same.get(input) {
            input.clone_from(origin);
        }
    }
    debug_assert!(graph.node.iter().flat_map(captures).all(|name| !same.contains_key(name)));
}

/// What a `Constant` makes; `None` for forms that stay nodes.
fn value(node: &NodeProto) -> Option<TensorProto> {
    if let Some(tensor) = node.find("value") {
        return tensor.t.clone();
    }
    if let Some(value) = node.float("value_float") {
        return Some(TensorProto::of_floats("", &[], &[value]));
    }
    if let Some(value) = node.int("value_int") {
        return Some(TensorProto { dims: Vec::new(), ..TensorProto::of_integers("", &[value]) });
    }
    if let Some(values) = node.find("value_floats") {
        return Some(TensorProto::of_floats("", &[values.floats.len()], &values.floats));
    }
    node.ints("value_ints").map(|values| TensorProto::of_integers("", values))
}
