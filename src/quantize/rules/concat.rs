//! Concatenation. An input that nothing else reads takes the result's scale and zero point, so that its numbers are copied
//! as they are, without a loss: they would be brought to that scale anyway.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn rule(node: &NodeProto, view: &View) -> Verdict {
    let result = node.result(0).ok_or("it has no result")?;
    if !node.input.iter().any(|input| view.is_marked(input)) {
        return Err("none of its inputs is on 8-bit numbers".into());
    }
    let mut edits = vec![Edit::Own(result.to_owned())];
    for (place, input) in node.input.iter().enumerate() {
        let shares = view.settings.refine && view.index.has_one_reader(input);
        let own = view.marked.get(input.as_str()).copied().unwrap_or(true);
        if shares && own && !view.index.initializers.contains_key(input.as_str()) {
            edits.push(Edit::Same { tensor: input.clone(), like: result.to_owned() });
        } else {
            edits.extend(view.operand(node, place)?);
        }
    }
    Ok(Patch::light(edits))
}
