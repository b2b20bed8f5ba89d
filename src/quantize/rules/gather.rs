//! Look-ups: of embeddings in a constant table, or of places of a tensor.

use super::{Verdict, View};
use crate::onnx::proto::NodeProto;
use crate::quantize::patch::{Edit, Patch};

pub(super) fn rule(node: &NodeProto, view: &View) -> Verdict {
    let (table, result) = node.source(0).zip(node.result(0)).ok_or("it has no input or no result")?;
    if !view.index.initializers.contains_key(table) {
        return super::pass::rule(node, view);
    }
    if view.weight(table)?.dims.len() < 2 {
        return Err("its table is a list of single values".into());
    }
    view.weight(table)?;
    view.finite(table)?;
    Ok(Patch::heavy(vec![Edit::Operand { place: 0 }, Edit::Same { tensor: result.to_owned(), like: table.to_owned() }]))
}
