//! `Resize` and `Pad` that name their axes, since opset 18, say the same for all axes: the runtime lays images out otherwise around
//! operators on 8-bit numbers, and then takes such axes for those of the other layout.

use std::collections::HashMap;

use crate::onnx::graph::{Index, Names};
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto, TypeProtoValue, ValueInfoProto};

/// Changes those whose number of axes is known, and leaves the rest.
pub(super) fn spell_out(graph: &mut GraphProto) {
    let names_axes = |node: &NodeProto| match node.operator() {
        "Resize" => node.find("axes").is_some(),
        "Pad" => node.source(3).is_some(),
        _ => false,
    };
    if !graph.node.iter().any(|node| node.is_standard() && names_axes(node)) {
        return;
    }
    let mut names = Names::of(graph);
    let (index, ranks) = (Index::new(graph), ranks(graph));
    let mut made: Vec<TensorProto> = Vec::new();
    let mut nodes: Vec<NodeProto> = Vec::with_capacity(graph.node.len());
    for node in &graph.node {
        let rank = node.source(0).and_then(|name| ranks.get(name)).copied();
        let changed = rank.filter(|_| node.is_standard() && names_axes(node)).and_then(|rank| match node.operator() {
            "Resize" => resize(node, rank, &index, &mut names, &mut made),
            _ => pad(node, rank, &index, &mut names, &mut made).map(|node| vec![node]),
        });
        nodes.extend(changed.unwrap_or_else(|| vec![node.clone()]));
    }
    graph.node = nodes;
    graph.initializer.extend(made);
}

/// How many axes tensors have, as far as that is said or follows from weights of convolutions.
fn ranks(graph: &GraphProto) -> HashMap<String, usize> {
    let said = |value: &ValueInfoProto| match value.r#type.as_ref()?.value.as_ref()? {
        TypeProtoValue::TensorType(tensor) => Some((value.label().to_owned(), tensor.shape.as_ref()?.dim.len())),
        _ => None,
    };
    let mut ranks: HashMap<String, usize> =
        graph.input.iter().chain(&graph.output).chain(&graph.value_info).filter_map(said).collect();
    let weights: HashMap<&str, usize> =
        graph.initializer.iter().map(|tensor| (tensor.label(), tensor.dims.len())).collect();
    for node in graph.node.iter().filter(|node| node.is_standard()) {
        let rank = match node.operator() {
            "Conv" => node.source(1).and_then(|name| weights.get(name)).copied(),
            "Relu" | "Clip" | "Sigmoid" | "HardSwish" | "HardSigmoid" | "LeakyRelu" | "Tanh" | "Identity"
            | "Resize" | "Pad" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "BatchNormalization" | "Concat" => {
                node.source(0).and_then(|name| ranks.get(name)).copied()
            }
            // The smaller one is spread over the larger.
            "Add" | "Mul" => {
                let rank = |place| node.source(place).and_then(|name| ranks.get(name).or_else(|| weights.get(name)));
                rank(0).max(rank(1)).filter(|_| rank(0).is_some() && rank(1).is_some()).copied()
            }
            _ => None,
        };
        if let Some((rank, result)) = rank.zip(node.result(0)) {
            ranks.entry(result.to_owned()).or_insert(rank);
        }
    }
    ranks
}

/// Axes counted from the front; `None` where one is none of the tensor's.
fn places(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let rank = i64::try_from(rank).ok()?;
    let place = |axis: &i64| usize::try_from(if *axis < 0 { axis + rank } else { *axis }).ok();
    axes.iter()
        .filter(|axis| (-rank..rank).contains(*axis))
        .map(place)
        .collect::<Option<Vec<usize>>>()
        .filter(|places| places.len() == axes.len())
}

fn resize(
    node: &NodeProto,
    rank: usize,
    index: &Index,
    names: &mut Names,
    made: &mut Vec<TensorProto>,
) -> Option<Vec<NodeProto>> {
    let places = places(node.ints("axes")?, rank)?;
    let stretches = matches!(node.text("keep_aspect_ratio_policy"), None | Some("stretch"));
    if !stretches || node.text("coordinate_transformation_mode") == Some("tf_crop_and_resize") {
        return None;
    }
    let (input, output) = node.source(0).zip(node.result(0))?;
    let mut changed = node.clone();
    changed.take("axes");
    // A region belongs to the mode above alone.
    changed.input.get_mut(1).into_iter().for_each(String::clear);
    if let Some(sizes) = node.source(3) {
        let [shape, axes, all] = ["shape", "axes", "sizes"].map(|what| names.fresh(&format!("{output}_{what}")));
        let labels = ["Shape", "ScatterElements"].map(|what| names.fresh(&format!("{output}_{what}")));
        let numbers: Vec<i64> = places.iter().filter_map(|place| i64::try_from(*place).ok()).collect();
        made.push(TensorProto::of_integers(&axes, &numbers));
        changed.input[3].clone_from(&all);
        return Some(vec![
            NodeProto::new("Shape", &labels[0], &[input], &[&shape]),
            NodeProto::new("ScatterElements", &labels[1], &[&shape, &axes, sizes], &[&all]),
            changed,
        ]);
    }
    let factors = index.constant(node.source(2)?)?.floats().ok().filter(|factors| factors.len() == places.len())?;
    let mut all = vec![1.0; rank];
    for (place, factor) in places.iter().zip(factors) {
        *all.get_mut(*place)? = factor;
    }
    changed.input[2] = names.fresh(&format!("{output}_scales"));
    made.push(TensorProto::of_floats(&changed.input[2], &[rank], &all));
    Some(vec![changed])
}

fn pad(
    node: &NodeProto,
    rank: usize,
    index: &Index,
    names: &mut Names,
    made: &mut Vec<TensorProto>,
) -> Option<NodeProto> {
    let places = places(&index.constant(node.source(3)?)?.integers().ok()?, rank)?;
    let pads = index.constant(node.source(1)?)?.integers().ok().filter(|pads| pads.len() == 2 * places.len())?;
    let mut all = vec![0; 2 * rank];
    let (before, after) = pads.split_at(places.len());
    for ((place, before), after) in places.iter().zip(before).zip(after) {
        *all.get_mut(*place)? = *before;
        *all.get_mut(rank + place)? = *after;
    }
    let mut changed = node.clone();
    changed.input.truncate(3);
    changed.input[1] = names.fresh(&format!("{}_pads", node.result(0)?));
    made.push(TensorProto::of_integers(&changed.input[1], &all));
    Some(changed)
}
