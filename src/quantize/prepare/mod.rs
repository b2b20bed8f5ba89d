//! One form for all models, before anything is measured: names, order, constants, opset. What cannot be quantised is refused here.

use std::collections::{HashMap, HashSet};

use super::Error;
use crate::onnx::check::check;
use crate::onnx::graph::{self, Names};
use crate::onnx::proto::{ElementType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

mod axes;
mod constants;
mod filled;
mod fold;
mod upgrade;

/// The oldest opset that is read, which is the runtime's.
const OLDEST: i64 = 7;
/// The opset from which weights can have a scale a channel.
const PER_CHANNEL: i64 = 13;
/// The opset from which activations can become numbers at every run.
const INTEGERS: i64 = 11;

/// Brings a model into the form that rewriting expects, or says why it cannot be quantised. A prepared model does not change.
pub fn prepare(model: ModelProto) -> Result<ModelProto, Error> {
    check(&model)?;
    refuse(&model)?;
    let version = model.opset();
    if version < OLDEST {
        // A model of trees may not name the standard operators at all.
        model.graph.as_ref().map_or(Ok(()), any_candidate)?;
        return Err(Error::Opset { version });
    }
    let mut model = tidy(model);
    if let Some(graph) = model.graph.as_mut() {
        settle(graph);
        name(graph);
    }
    if version < PER_CHANNEL {
        match upgrade::upgrade(&mut model, version, PER_CHANNEL) {
            Ok(()) => model.ir_version = model.ir_version.map(|version| version.max(7)),
            Err(operator) if version < INTEGERS => return Err(Error::Upgrade { version, operator }),
            Err(_) => {}
        }
    }
    if let Some(graph) = model.graph.as_mut() {
        fold::fold(graph);
        axes::spell_out(graph);
        name(graph);
        let _ = graph::sort(&mut graph.node);
        any_candidate(graph)?;
    }
    check(&model).map_err(Error::Rewritten)?;
    Ok(model)
}

/// The version of the file's form before which constants stand among the inputs.
const CONSTANTS_APART: i64 = 4;

/// What goes before the runtime's own pass over a file. The constants of one older than IR 4 leave the inputs, among which they
/// had to stand: the runtime folds them and leaves the inputs, now without a value. Weights that the file only describes are
/// written out, so that normalisations are folded into them.
pub fn tidy(mut model: ModelProto) -> ModelProto {
    let old = model.ir_version.unwrap_or(0) < CONSTANTS_APART;
    if let Some(graph) = model.graph.as_mut() {
        if old {
            let constants: HashSet<String> = graph.initializer.iter().map(|tensor| tensor.label().to_owned()).collect();
            graph.input.retain(|input| !constants.contains(input.label()));
            model.ir_version = Some(CONSTANTS_APART);
        }
        filled::fill(graph);
    }
    model
}

/// Whether [`tidy`] changes a model.
pub fn is_untidy(model: &ModelProto) -> bool {
    model.ir_version.unwrap_or(0) < CONSTANTS_APART || model.graph.as_ref().is_some_and(filled::any)
}

/// Puts nodes in order and constants among the initialisers, in the graphs inside too.
fn settle(graph: &mut GraphProto) {
    graph.node.iter_mut().flat_map(NodeProto::subgraphs_mut).for_each(settle);
    let _ = graph::sort(&mut graph.node);
    constants::lift(graph);
}

/// Gives every node a name of its own.
fn name(graph: &mut GraphProto) {
    let mut names = Names::of(graph);
    name_within(graph, &mut names, &mut HashSet::new());
}

fn name_within(graph: &mut GraphProto, names: &mut Names, seen: &mut HashSet<String>) {
    for node in &mut graph.node {
        node.subgraphs_mut().for_each(|inner| name_within(inner, names, seen));
        if node.label().is_empty() || !seen.insert(node.label().to_owned()) {
            let fallback = match node.label() {
                "" => format!("{}_{}", node.operator(), node.result(0).unwrap_or("none")),
                label => label.to_owned(),
            };
            node.name = Some(names.fresh(&fallback));
        }
    }
}

/// Whether an operator works on 8-bit numbers or makes them.
fn is_integer(operator: &str) -> bool {
    operator.starts_with("QLinear")
        || matches!(
            operator,
            "QuantizeLinear"
                | "DequantizeLinear"
                | "DynamicQuantizeLinear"
                | "ConvInteger"
                | "MatMulInteger"
                | "QGemm"
                | "QAttention"
                | "MatMulIntegerToFloat"
                | "DynamicQuantizeMatMul"
                | "DynamicQuantizeLSTM"
                | "MatMulNBits"
                | "QEmbedLayerNormalization"
                | "QMoE"
                | "ConvIntegerToFloat"
        )
}

/// Refuses models that are quantised already, and those of 16-bit floats.
fn refuse(model: &ModelProto) -> Result<(), Error> {
    fn integer(nodes: &[NodeProto]) -> Option<&str> {
        nodes.iter().find_map(|node| match is_integer(node.operator()) {
            true => Some(node.operator()),
            false => node.subgraphs().find_map(|graph| integer(&graph.node)),
        })
    }
    let Some(graph) = &model.graph else { return Ok(()) };
    let functions = model.functions.iter().map(|function| function.node.as_slice());
    if let Some(operator) = std::iter::once(graph.node.as_slice()).chain(functions).find_map(integer) {
        return Err(Error::AlreadyQuantized { operator: operator.to_owned() });
    }
    let constants: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.label(), tensor)).collect();
    for node in graph.node.iter().filter(|node| WORK.contains(&node.operator())) {
        for tensor in node.input.iter().filter_map(|name| constants.get(name.as_str())) {
            let element = match tensor.element() {
                Some(ElementType::Float16) => "FP16",
                Some(ElementType::Bfloat16) => "BF16",
                _ => continue,
            };
            return Err(Error::HalfPrecision { name: tensor.label().to_owned(), element });
        }
    }
    Ok(())
}

/// Whether there is an operator whose work 8-bit numbers make cheaper, with constant weights or not.
pub fn has_work(model: &ModelProto) -> bool {
    let mut all = model.graph.iter().flat_map(GraphProto::nodes_within);
    all.any(|node| node.is_standard() && WORK.contains(&node.operator()))
}

/// Whether one of these operators has weights in the graph, or one of those that need no ranges has them in a graph inside.
fn has_weights(graph: &GraphProto, operators: &[&str]) -> bool {
    let inputs: HashSet<&str> = graph.input.iter().map(ValueInfoProto::label).collect();
    let float = |tensor: &&TensorProto| tensor.element() == Some(ElementType::Float) && tensor.dims.len() >= 2;
    let constants: HashSet<&str> = graph.initializer.iter().filter(float).map(TensorProto::label).collect();
    let works = |node: &NodeProto| {
        let place = if node.operator() == "Gather" { 0 } else { 1 };
        let weight = node.source(place).filter(|name| constants.contains(name) && !inputs.contains(name));
        let here = node.is_standard() && operators.contains(&node.operator()) && weight.is_some();
        here || node.subgraphs().any(|inner| has_weights(inner, &WORK_WITHIN))
    };
    graph.node.iter().any(works)
}

/// Those of [`WORK`] that are quantised without ranges, which cannot be found inside `If`, `Loop` and `Scan`.
const WORK_WITHIN: [&str; 4] = ["MatMul", "Gemm", "Gather", "LSTM"];

/// Operators whose work 8-bit numbers make cheaper.
pub(super) const WORK: [&str; 5] = ["Conv", "MatMul", "Gemm", "Gather", "LSTM"];

/// Refuses a graph in which no rule will find anything.
fn any_candidate(graph: &GraphProto) -> Result<(), Error> {
    if has_weights(graph, &WORK) {
        return Ok(());
    }
    let all = graph.nodes_within();
    let mut operators: Vec<&str> = all.iter().map(|node| node.operator()).collect();
    operators.sort_unstable();
    operators.dedup();
    let more = if operators.len() > 6 { ", ..." } else { "" };
    operators.truncate(6);
    let why = match operators.is_empty() {
        true => "it has no node at all".to_owned(),
        false => format!(
            "no convolution or product with constant FP32 weights is among its {} nodes ({}{more})",
            all.len(),
            operators.join(", ")
        ),
    };
    Err(Error::NothingToQuantize { why })
}

#[cfg(test)]
mod tests;
