//! Matrix products.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn rule(node: &NodeProto, view: &View) -> Verdict {
    let (input, result) = view.ends(node)?;
    let other = node.source(1).ok_or("it has no second input")?;
    let mut edits = vec![Edit::Own(input.to_owned())];
    if !view.index.initializers.contains_key(other) {
        // The product of two activations is of unsigned numbers on both sides, which the runtime has no quick form of.
        if view.settings.refine {
            return Err("it has no constant weights".into());
        }
        edits.push(Edit::Own(other.to_owned()));
        edits.push(Edit::Own(result.to_owned()));
        return Ok(Patch::heavy(edits));
    }
    let axis = (view.weight(other)?.dims.len() == 2).then_some(1);
    edits.push(Edit::Own(result.to_owned()));
    edits.push(view.weight_edit(other, 1, axis)?);
    Ok(Patch::heavy(edits))
}
