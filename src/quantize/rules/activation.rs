//! Relu and Clip: the 8-bit result of the node before is cut off at the ends of its range anyway, so where that is all, the
//! node goes, and its maker makes its result.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn rule(node: &NodeProto, view: &View) -> Verdict {
    let (input, result) = view.ends(node)?;
    let own = *view.marked.get(input).ok_or("its input is not on 8-bit numbers")?;
    if node.operator() == "Clip" && !holds_zero(node, view) {
        return Err("its limits are not constants around 0".into());
    }
    // Its maker makes one result, and graphs inside others find that by its name, before it is cut off.
    let free = view.index.has_one_reader(input) && !view.cut.contains(input) && !view.index.captured.contains(result);
    if own && free && view.index.producers.contains_key(input) {
        let (upstream, result) = (input.to_owned(), result.to_owned());
        return Ok(Patch::light(vec![Edit::Absorb { upstream, result }]));
    }
    Ok(Patch::light(vec![Edit::Own(input.to_owned()), Edit::Own(result.to_owned())]))
}

/// Whether both limits are constants with 0 between them: the range of its result then ends where it cuts.
fn holds_zero(node: &NodeProto, view: &View) -> bool {
    let limit = |place: usize, attribute: &str, default: f32| match node.source(place) {
        Some(name) => view.index.constant(name).and_then(|tensor| tensor.floats().ok()?.first().copied()),
        None => Some(node.float(attribute).unwrap_or(default)),
    };
    let low = limit(1, "min", f32::NEG_INFINITY);
    let high = limit(2, "max", f32::INFINITY);
    low.zip(high).is_some_and(|(low, high)| low <= 0.0 && high >= 0.0)
}
