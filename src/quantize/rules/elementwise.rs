//! Sums, products and functions of single elements. They follow: a node of which no input is on 8-bit numbers stays in float.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn binary(node: &NodeProto, view: &View) -> Verdict {
    let (first, second) = node.source(0).zip(node.source(1)).ok_or("it has less than two inputs")?;
    if !view.is_marked(first) && !view.is_marked(second) {
        return Err("none of its inputs is on 8-bit numbers".into());
    }
    let mut edits: Vec<Edit> = view.operand(node, 0)?.into_iter().chain(view.operand(node, 1)?).collect();
    edits.push(Edit::Own(node.result(0).ok_or("it has no result")?.to_owned()));
    Ok(Patch::light(edits))
}

pub(super) fn unary(node: &NodeProto, view: &View) -> Verdict {
    let (input, result) = view.ends(node)?;
    if !view.is_marked(input) {
        return Err("its input is not on 8-bit numbers".into());
    }
    Ok(Patch::light(vec![Edit::Own(result.to_owned())]))
}
