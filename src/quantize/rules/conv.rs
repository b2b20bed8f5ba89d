//! Convolutions of one to three dimensions, in groups or depthwise.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn rule(node: &NodeProto, view: &View) -> Verdict {
    let (input, result) = view.ends(node)?;
    let weight = view.weight(node.source(1).ok_or("it has no weights")?)?;
    let channels = weight.dims.first().copied().unwrap_or(0);
    let mut edits = vec![Edit::Own(input.to_owned()), Edit::Own(result.to_owned())];
    edits.push(view.weight_edit(weight.label(), 1, Some(0))?);
    edits.extend(view.bias(node, 2, channels)?);
    Ok(Patch::heavy(edits))
}
