//! Pooling.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

/// The highest of numbers is the number of the highest: the result keeps the input's scale.
pub(super) fn max(node: &NodeProto, view: &View) -> Verdict {
    if view.opset < 12 {
        return Err("before opset 12 it has no INT8 form".into());
    }
    if node.result(1).is_some() {
        return Err("it also gives places".into());
    }
    super::pass::rule(node, view)
}

/// Whether an `AveragePool` is one that the runtime's INT8 form does not do, or does otherwise.
pub fn is_other_in_integers(node: &NodeProto) -> bool {
    let set = |name: &str| node.int(name).unwrap_or(0) != 0;
    let skips = node.ints("dilations").is_some_and(|steps| steps.iter().any(|step| *step != 1));
    skips || set("ceil_mode") && set("count_include_pad")
}

pub(super) fn average(node: &NodeProto, view: &View) -> Verdict {
    let (input, result) = view.ends(node)?;
    if !view.is_marked(input) {
        return Err("its input is not on 8-bit numbers".into());
    }
    if is_other_in_integers(node) {
        return Err("the runtime's INT8 form of it knows no dilations, and counts otherwise beyond the end".into());
    }
    // The plain layout gives the result of a windowed average its input's scale, although its range is smaller.
    if node.operator() == "AveragePool" && !view.settings.refine {
        return super::pass::rule(node, view);
    }
    Ok(Patch::light(vec![Edit::Own(input.to_owned()), Edit::Own(result.to_owned())]))
}
