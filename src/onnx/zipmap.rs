//! `ZipMap`, the last step of scikit-learn's usual exports: it makes a sequence of maps, which no client of the protocol can
//! receive, of the tensor of probabilities that stands before it. Here it is taken out, and the tensor answers under its name.
//!
//! Source: `ZipMap` of the domain `ai.onnx.ml` in the ONNX specification. Its input is `[N, classes]` or `[classes]`, FP32, and its
//! attributes name the classes. A `ZipMap` whose maps the graph goes on with, or that stands in a subgraph, stays.

use std::io::{self, ErrorKind, Read, Seek};

use super::proto::{
    AttributeProto, ElementType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TensorShapeProtoDimension, TensorShapeProtoDimensionValue, TypeProto, TypeProtoTensor, TypeProtoValue,
};

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
pub fn found_in(mut file: impl Read + Seek) -> io::Result<bool> {
    let length = file.seek(io::SeekFrom::End(0))?;
    file.rewind()?;
    let mut reader = Reader { file: io::BufReader::new(file), at: 0 };
    match reader.finds(length, &PATH) {
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Ok(false),
        found => found,
    }
}

/// `ModelProto.graph`, `GraphProto.node` and `NodeProto.op_type` by their numbers.
const PATH: [u64; 3] = [7, 1, 4];

struct Reader<R> {
    file: io::BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Whether the message that ends at `end` has the operator's name where `path` leads.
    fn finds(&mut self, end: u64, path: &[u64]) -> io::Result<bool> {
        while self.at < end {
            let key = self.varint()?;
            let size = match key & 7 {
                0 => self.varint().map(|_| 0)?,
                1 => 8,
                2 => self.varint()?,
                5 => 4,
                _ => return Err(ErrorKind::InvalidData.into()),
            };
            let stop = self.at.checked_add(size).filter(|stop| *stop <= end).ok_or(ErrorKind::InvalidData)?;
            let leads_on = key & 7 == 2 && path.first() == Some(&(key >> 3));
            let found = leads_on
                && match path {
                    [_, deeper @ ..] if !deeper.is_empty() => self.finds(stop, deeper)?,
                    _ => self.is_operator(size)?,
                };
            if found {
                return Ok(true);
            }
            self.go_to(stop)?;
        }
        Ok(false)
    }

    fn is_operator(&mut self, size: u64) -> io::Result<bool> {
        let mut name = [0; OPERATOR.len()];
        if size != name.len() as u64 {
            return Ok(false);
        }
        self.file.read_exact(&mut name)?;
        self.at += size;
        Ok(name == OPERATOR.as_bytes())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn go_to(&mut self, place: u64) -> io::Result<()> {
        let ahead = i64::try_from(place - self.at).map_err(|_| ErrorKind::InvalidData)?;
        self.file.seek_relative(ahead)?;
        self.at = place;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
