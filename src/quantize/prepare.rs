//! One form for all models, before anything is measured: names, order, constants, opset.

use super::Error;
use crate::onnx::check::check;
use crate::onnx::graph::{self, Names};
use crate::onnx::proto::ModelProto;

/// Brings a model into the form that rewriting expects, or says why it cannot be quantised.
pub fn prepare(mut model: ModelProto) -> Result<ModelProto, Error> {
    check(&model)?;
    if let Some(graph) = model.graph.as_mut() {
        let _ = graph::sort(&mut graph.node);
        let mut names = Names::of(graph);
        for node in graph.node.iter_mut().filter(|node| node.label().is_empty()) {
            let fallback = format!("{}_{}", node.operator(), node.result(0).unwrap_or("none"));
            node.name = Some(names.fresh(&fallback));
        }
    }
    Ok(model)
}
