//! The passes that make an INT8 model.

use std::collections::BTreeSet;

use super::prepare::WORK;
use super::{Error, Left, Method, Ranges, Rewritten, Settings};
use crate::onnx::check::{Fault, check};
use crate::onnx::graph::Index;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto};

mod dynamic;
mod emit;
mod plan;
mod recurrent;

use plan::Plan;

/// What made an INT8 model, as its file says.
const PRODUCER: &str = "edge-service";

/// The tensors whose ranges [`rewrite`] needs. None for dynamic quantisation.
pub fn observed(model: &ModelProto, settings: &Settings) -> Vec<String> {
    observed_by_any(model, [settings.clone()]).into_iter().collect()
}

/// The tensors whose ranges any of these settings needs. The graph is looked through once.
pub fn observed_by_any(model: &ModelProto, settings: impl IntoIterator<Item = Settings>) -> BTreeSet<String> {
    let Some(graph) = &model.graph else { return BTreeSet::new() };
    let index = Index::new(graph);
    let needed = settings.into_iter().filter(|settings| settings.method == Method::Static);
    needed.flat_map(|settings| Plan::new(graph, &index, model.opset(), &settings, None).roots(graph)).collect()
}

/// Makes the INT8 model. `model` is what [`super::prepare`] gave, `ranges` those of [`observed`]: nodes around a tensor of which
/// there is none stay in float.
pub fn rewrite(model: &ModelProto, ranges: &Ranges, settings: &Settings) -> Result<Rewritten, Error> {
    let graph = model.graph.as_ref().ok_or(Fault::NoGraph)?;
    settings.check()?;
    let mut rewritten = match settings.method {
        Method::Static => {
            let plan = Plan::new(graph, &Index::new(graph), model.opset(), settings, Some(ranges));
            let changed = emit::emit(graph, &plan, ranges, settings);
            finish(model, changed, &plan.verdicts())
        }
        Method::Dynamic => {
            let (changed, verdicts) = dynamic::rewrite(graph, settings);
            finish(model, changed, &verdicts)
        }
    };
    check(&rewritten.model).map_err(Error::Rewritten)?;
    if rewritten.quantized.is_empty() {
        let work = rewritten.left.iter().find(|left| WORK.contains(&left.operator.as_str()));
        let left = work.or(rewritten.left.first());
        let why = left
            .map_or("it has no node".to_owned(), |left| format!("{} {}: {}", left.operator, left.node, left.reason));
        return Err(Error::NothingToQuantize { why });
    }
    if let Some(graph) = &rewritten.model.graph
        && graph.nodes_within().iter().any(|node| node.domain.as_deref() == Some(dynamic::VENDOR))
        && !rewritten.model.opset_import.iter().any(|set| set.domain.as_deref() == Some(dynamic::VENDOR))
    {
        rewritten.model.set_opset(dynamic::VENDOR, 1);
    }
    Ok(rewritten)
}

/// A node, and why it stayed in float; `None` where it did not.
type Verdicts<'a> = Vec<(&'a NodeProto, Option<String>)>;

fn finish(model: &ModelProto, graph: GraphProto, verdicts: &Verdicts) -> Rewritten {
    let mut model = ModelProto { graph: Some(graph), ..model.clone() };
    model.producer_name = Some(PRODUCER.to_owned());
    model.producer_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let name = |node: &NodeProto| node.label().to_owned();
    let left = verdicts.iter().filter_map(|(node, reason)| {
        let reason = reason.clone()?;
        Some(Left { node: name(node), operator: node.operator().to_owned(), reason })
    });
    let quantized = verdicts.iter().filter(|(_, reason)| reason.is_none()).map(|(node, _)| name(node));
    Rewritten { left: left.collect(), quantized: quantized.collect(), model }
}

/// Whether the user or the search keeps a node in float, and the words for it.
fn kept(node: &NodeProto, settings: &Settings) -> Option<&'static str> {
    if settings.exclude.iter().any(|name| name == node.label() || name == node.operator()) {
        return Some("excluded as asked");
    }
    if settings.faster_in_float.contains(node.label()) {
        return Some("faster in float on this box");
    }
    settings.keep_float.contains(node.label()).then_some("kept in float for accuracy")
}
