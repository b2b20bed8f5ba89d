//! Operators that move numbers and leave them as they are: the result keeps the input's scale and zero point.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn rule(node: &NodeProto, view: &View) -> Verdict {
    let (input, _) = view.ends(node)?;
    if !view.is_marked(input) {
        return Err("its input is not on 8-bit numbers".into());
    }
    match node.operator() {
        "Resize" if view.opset < 11 => return Err("before opset 11 it has no INT8 form".into()),
        "Resize" if node.text("mode") == Some("cubic") => return Err("its results leave the range of its input".into()),
        "Pad" if !pads_with_what_is_there(node, view) => return Err("it pads with a value other than 0".into()),
        _ => {}
    }
    let results = node.output.iter().filter(|name| !name.is_empty());
    let same = |tensor: &String| Edit::Same { tensor: tensor.clone(), like: input.to_owned() };
    let own = std::iter::once(Edit::Own(input.to_owned()));
    Ok(Patch::light(own.chain(results.map(same)).collect()))
}

/// Whether padding adds nothing that the input's range does not hold.
fn pads_with_what_is_there(node: &NodeProto, view: &View) -> bool {
    if view.opset < 11 {
        return false;
    }
    match (node.text("mode").unwrap_or("constant"), node.source(2)) {
        ("reflect" | "edge" | "wrap", _) | ("constant", None) => true,
        ("constant", Some(value)) => {
            let value = view.index.constant(value).and_then(|tensor| tensor.floats().ok());
            value.is_some_and(|value| value.iter().all(|value| *value == 0.0))
        }
        _ => false,
    }
}
