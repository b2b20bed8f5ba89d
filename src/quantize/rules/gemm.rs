//! Matrix products with a bias.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn rule(node: &NodeProto, view: &View) -> Verdict {
    let (input, result) = view.ends(node)?;
    let weight = view.weight(node.source(1).ok_or("it has no weights")?)?;
    if node.float("alpha").is_some_and(|alpha| alpha != 1.0) {
        return Err("its products are multiplied by alpha".into());
    }
    if node.float("beta").is_some_and(|beta| beta != 1.0) && node.source(2).is_some() {
        return Err("its bias is multiplied by beta".into());
    }
    if node.int("transA").unwrap_or(0) != 0 {
        return Err("its input is transposed".into());
    }
    let axis = if node.int("transB").unwrap_or(0) != 0 { 0 } else { 1 };
    let channels = weight.dims.get(axis).copied().unwrap_or(0);
    let mut edits = vec![Edit::Own(input.to_owned()), Edit::Own(result.to_owned())];
    edits.push(view.weight_edit(weight.label(), 1, Some(axis))?);
    edits.extend(view.bias(node, 2, channels)?);
    Ok(Patch::heavy(edits))
}
