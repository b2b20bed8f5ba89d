//! The passes that make an INT8 model.

use super::{Error, Left, Ranges, Rewritten, Settings};
use crate::onnx::proto::ModelProto;

/// The tensors whose ranges static quantisation needs.
pub fn observed(_model: &ModelProto, _settings: &Settings) -> Vec<String> {
    Vec::new()
}

/// Makes the INT8 model. `model` is what [`super::prepare`] gave.
pub fn rewrite(model: &ModelProto, _ranges: &Ranges, _settings: &Settings) -> Result<Rewritten, Error> {
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let left = nodes.map(|node| Left {
        node: node.label().to_owned(),
        operator: node.operator().to_owned(),
        reason: "no rule for it".to_owned(),
    });
    Ok(Rewritten { left: left.collect(), model: model.clone(), quantized: Vec::new() })
}
