//! Sums, products and functions of single elements. They follow: a node of which no input is on 8-bit numbers stays in float.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn binary(node: &NodeProto, view: &View) -> Verdict {
    let (first, second) = node.source(0).zip(node.source(1)).ok_or("it has less than two inputs")?;
    if !view.is_marked(first) && !view.is_marked(second) {
        return Err("none of its inputs is on 8-bit numbers".into());
    }
    if let Some(patch) = multiple(node, view) {
        return Ok(patch);
    }
    if node.operator() == "Div" {
        return Err("no INT8 form of it pays".into());
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
    Ok(Patch::light(vec![Edit::Own(input.to_owned()), Edit::Own(result.to_owned())]))
}

/// A product with a positive constant, or a quotient by one: the numbers stay, and what each is worth changes.
fn multiple(node: &NodeProto, view: &View) -> Option<Patch> {
    if !view.settings.refine || !matches!(node.operator(), "Mul" | "Div") {
        return None;
    }
    let (first, second, tensor) = (node.source(0)?, node.source(1)?, node.result(0)?);
    let single = |name: &str| {
        let constant = view.index.constant(name).filter(|constant| constant.dims.len() <= 1)?.floats().ok()?;
        if let [value] = constant[..] { Some(value) } else { None }
    };
    let (like, value) = match (node.operator(), single(first), single(second)) {
        ("Mul", Some(value), None) => (second, value),
        ("Mul", None, Some(value)) => (first, value),
        ("Div", None, Some(value)) => (first, 1.0 / value),
        _ => return None,
    };
    // What reads nothing but a caller's input gains no node on 8-bit numbers, and graphs inside others find tensors by name.
    let fits = view.is_marked(like) && !view.index.inputs.contains(like) && !view.index.captured.contains(tensor);
    if !fits || !(1e-6..=1e6).contains(&value) {
        return None;
    }
    let (tensor, like, factor) = (tensor.to_owned(), like.to_owned(), value.to_bits());
    Some(Patch::light(vec![Edit::Own(like.clone()), Edit::Scale { tensor, like, factor }]))
}
