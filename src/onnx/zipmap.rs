//! `ZipMap`, the last step of scikit-learn's usual exports: it makes a sequence of maps, which no client of the protocol can
//! receive, of the tensor of probabilities that stands before it. Here it is taken out, and the tensor answers under its name.
//!
//! Source: `ZipMap` of the domain `ai.onnx.ml` in the ONNX specification. Its input is `[N, classes]` or `[classes]`, FP32, and its
//! attributes name the classes. A `ZipMap` whose maps the graph goes on with, or that stands in a subgraph, stays.

use std::io::{self, Read, Seek};

use super::proto::{
    AttributeProto, ElementType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TensorShapeProtoDimension, TensorShapeProtoDimensionValue, TypeProto, TypeProtoTensor, TypeProtoValue,
};
use super::wire::{Reader, is_no_model};

const OPERATOR: &str = "ZipMap";
const DOMAIN: &str = "ai.onnx.ml";
/// An opset that has `Identity`, for a graph that needed none so far.
const PLAIN_OPSET: i64 = 13;

/// A `ZipMap` that was taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOut {
    /// The graph's output, which is a tensor `[N, classes]` now.
    pub output: String,
    /// The classes' names in the order of the tensor's last axis; numbers where the classes are numbers.
    pub classes: Vec<String>,
}

/// Takes out every `ZipMap` that makes an output of the graph and nothing else; says which those were.
pub fn take_out(model: &mut ModelProto) -> Vec<TakenOut> {
    let Some(graph) = &mut model.graph else { return Vec::new() };
    let mut taken = Vec::new();
    for index in 0..graph.node.len() {
        let Some(found) = graph.node.get(index).and_then(zip_map).filter(|found| !reads(graph, &found.output)) else {
            continue;
        };
        let shape = shape(graph, graph.node[index].input.first(), found.classes.len());
        let Some(output) = graph.output.iter_mut().find(|output| output.name.as_ref() == Some(&found.output)) else {
            continue;
        };
        let tensor = TypeProtoTensor { elem_type: Some(ElementType::Float.into()), shape: Some(shape) };
        output.r#type = Some(TypeProto { value: Some(TypeProtoValue::TensorType(tensor)), denotation: None });
        // The tensor may have other readers and other names: one more name for it is right whatever they are.
        let node = &mut graph.node[index];
        *node = NodeProto {
            input: std::mem::take(&mut node.input),
            output: std::mem::take(&mut node.output),
            name: node.name.take(),
            op_type: Some("Identity".to_owned()),
            ..NodeProto::default()
        };
        taken.push(found);
    }
    let plain = |import: &OperatorSetIdProto| matches!(import.domain.as_deref(), None | Some("" | "ai.onnx"));
    if !taken.is_empty() && !model.opset_import.iter().any(plain) {
        model.opset_import.push(OperatorSetIdProto { domain: Some(String::new()), version: Some(PLAIN_OPSET) });
    }
    taken
}

/// What the node would make, if it is a `ZipMap` that names its classes.
fn zip_map(node: &NodeProto) -> Option<TakenOut> {
    let is_one = node.op_type.as_deref() == Some(OPERATOR) && node.domain.as_deref() == Some(DOMAIN);
    let ([_], [output], true) = (node.input.as_slice(), node.output.as_slice(), is_one) else { return None };
    let attribute = |name| node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name));
    let names = |attribute: &AttributeProto| {
        attribute.strings.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
    };
    let numbers = |attribute: &AttributeProto| attribute.ints.iter().map(i64::to_string).collect::<Vec<_>>();
    let classes = attribute("classlabels_strings").map(names).filter(|classes| !classes.is_empty());
    let classes = classes.or_else(|| attribute("classlabels_int64s").map(numbers).filter(|all| !all.is_empty()))?;
    Some(TakenOut { output: output.clone(), classes })
}

/// Whether a node of the graph, or of one within it, reads the value.
fn reads(graph: &GraphProto, name: &str) -> bool {
    graph.node.iter().any(|node| {
        let within =
            node.attribute.iter().flat_map(|attribute| attribute.g.as_deref().into_iter().chain(&attribute.graphs));
        node.input.iter().any(|input| input == name)
            || within.into_iter().any(|inner| {
                reads(inner, name) || inner.output.iter().any(|output| output.name.as_deref() == Some(name))
            })
    })
}

/// The shape of the tensor: one row for each of the batch's, unless the graph says that there is only one.
fn shape(graph: &GraphProto, input: Option<&String>, classes: usize) -> TensorShapeProto {
    let mut known = graph.input.iter().chain(&graph.value_info).filter(|value| value.name.as_ref() == input);
    let rank = known.find_map(|value| match value.r#type.as_ref()?.value.as_ref()? {
        TypeProtoValue::TensorType(tensor) => Some(tensor.shape.as_ref()?.dim.len()),
        _ => None,
    });
    let classes = TensorShapeProtoDimensionValue::DimValue(i64::try_from(classes).unwrap_or(i64::MAX));
    let classes = TensorShapeProtoDimension { value: Some(classes), denotation: None };
    let batch = TensorShapeProtoDimension::default();
    TensorShapeProto { dim: if rank == Some(1) { vec![classes] } else { vec![batch, classes] } }
}

/// Whether a model file has a `ZipMap` in its graph. Only the names of operators are read: weights are skipped, so that the
/// look costs nothing for a model of any size. A file that is no model has none.
///
/// # Errors
/// The file cannot be read.
pub fn found_in(file: impl Read + Seek) -> io::Result<bool> {
    let (mut reader, length) = Reader::open(file)?;
    match finds(&mut reader, length, &PATH) {
        Err(error) if is_no_model(&error) => Ok(false),
        found => found,
    }
}

/// `ModelProto.graph`, `GraphProto.node` and `NodeProto.op_type` by their numbers.
const PATH: [u64; 3] = [7, 1, 4];

/// Whether the message that ends at `end` has the operator's name where `path` leads.
fn finds<R: Read + Seek>(reader: &mut Reader<R>, end: u64, path: &[u64]) -> io::Result<bool> {
    let [next, deeper @ ..] = path else { return Ok(false) };
    while let Some(field) = reader.field(end)? {
        let found = field.number == Some(*next)
            && match deeper {
                [] => is_operator(reader, field.size)?,
                _ => finds(reader, field.end, deeper)?,
            };
        if found {
            return Ok(true);
        }
        reader.leave(&field)?;
    }
    Ok(false)
}

fn is_operator<R: Read + Seek>(reader: &mut Reader<R>, size: u64) -> io::Result<bool> {
    let mut name = [0; OPERATOR.len()];
    if size != name.len() as u64 {
        return Ok(false);
    }
    reader.read(&mut name)?;
    Ok(name == OPERATOR.as_bytes())
}

#[cfg(test)]
mod tests;
