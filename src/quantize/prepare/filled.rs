//! Weights that a file only describes: what `ConstantOfShape` makes of a constant shape is written out where it is read as weights.

use std::collections::HashSet;

use super::WORK;
use crate::onnx::graph::Index;
use crate::onnx::proto::{ElementType, GraphProto, NodeProto, TensorProto};

/// The most elements that are written out in all: a small file can describe more than there is memory.
const MOST: usize = 1 << 25;

/// Writes such weights out.
pub(super) fn fill(graph: &mut GraphProto) {
    let made = described(graph);
    let places: HashSet<usize> = made.iter().map(|(place, _)| *place).collect();
    graph.initializer.extend(made.into_iter().map(|(_, filled)| filled.tensor()));
    let mut place = 0;
    graph.node.retain(|_| {
        place += 1;
        !places.contains(&(place - 1))
    });
}

/// Whether there are any.
pub(super) fn any(graph: &GraphProto) -> bool {
    !described(graph).is_empty()
}

/// A tensor of one value.
struct Filled {
    name: String,
    shape: Vec<usize>,
    value: f32,
}

impl Filled {
    fn tensor(self) -> TensorProto {
        let count = self.shape.iter().product();
        TensorProto::of_floats(&self.name, &self.shape, &vec![self.value; count])
    }
}

/// The nodes that make such weights, by their place, and what they make.
fn described(graph: &GraphProto) -> Vec<(usize, Filled)> {
    if !graph.node.iter().any(|node| node.operator() == "ConstantOfShape") {
        return Vec::new();
    }
    let index = Index::new(graph);
    let work = graph.node.iter().filter(|node| node.is_standard() && WORK.contains(&node.operator()));
    let weights: HashSet<&str> = work
        .flat_map(|node| {
            let place = if node.operator() == "Gather" { 0 } else { 1 };
            // An LSTM has weights in two places; of all others the next is a bias, which goes with them.
            [node.source(place), node.source(place + 1)]
        })
        .flatten()
        .collect();
    let mut room = MOST;
    let makers = graph.node.iter().enumerate().filter(|(_, node)| node.operator() == "ConstantOfShape");
    let filled = makers.filter_map(|(place, node)| {
        let filled = filled(node, &index).filter(|filled| weights.contains(filled.name.as_str()))?;
        let count = filled.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
        room = room.checked_sub(count)?;
        Some((place, filled))
    });
    filled.collect()
}

fn filled(node: &NodeProto, index: &Index) -> Option<Filled> {
    let name = node.result(0).filter(|name| node.is_standard() && !index.outputs.contains(name))?;
    let sizes = index.constant(node.source(0)?)?.integers().ok()?;
    let shape = sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<usize>>>()?;
    let value = match node.find("value") {
        None => 0.0,
        Some(attribute) => {
            let tensor = attribute.t.as_ref().filter(|tensor| tensor.element() == Some(ElementType::Float))?;
            *tensor.floats().ok()?.first()?
        }
    };
    Some(Filled { name: name.to_owned(), shape, value })
}
