//! A model file, read, simplified by the runtime and brought into the form that rewriting expects.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use prost::Message;

use super::{Failure, Watch};
use crate::engine::ort::{self, Runtime};
use crate::onnx::file;
use crate::onnx::proto::ModelProto;
use crate::quantize::{self, Settings};

/// Larger models do not fit one message together with what is added to them: they are not simplified.
const LARGEST_SIMPLIFIED: usize = 1800 << 20;
/// The version of the file's form before which constants stand among the inputs.
const CONSTANTS_APART: i64 = 4;
/// The most nodes for which it is asked one by one what must be known once they are in float.
const MOST_ASKED: usize = 600;

/// A model that can be quantised.
pub(super) struct Prepared {
    /// In the form that rewriting expects.
    pub model: ModelProto,
    /// Bytes of the original, contents beside it included.
    pub bytes: u64,
}

/// Reads and prepares a model.
pub(super) fn prepare(path: &Path, runtime: &Runtime, watch: &dyn Watch) -> Result<Prepared, Failure> {
    let original = file::read(path)?;
    let size = original.encoded_len();
    let named = |error: quantize::Error| match Failure::from(error) {
        Failure::Unusable(reason) => Failure::Unusable(format!("model file {}: {reason}", path.display())),
        other => other,
    };
    // Refused as it is, before the runtime is asked: the words are those for this file.
    let plain = quantize::prepare(original.clone()).map_err(named)?;
    if size > LARGEST_SIMPLIFIED {
        watch.tell("the model is too large to be simplified first: normalisations are not folded");
        return Ok(Prepared { model: plain, bytes: size as u64 });
    }
    let tidied =
        (original.ir_version.unwrap_or(0) < CONSTANTS_APART).then(|| file::encode(&quantize::tidy(original.clone())));
    drop(original);
    let simpler = ort::simplify(runtime, path, tidied.as_deref())
        .map_err(|reason| Failure::Unusable(format!("model file {}: {reason}", path.display())))?;
    // What the runtime leaves is its own business: where that cannot be quantised, the model as it was can.
    let simpler = file::decode(Bytes::from(simpler))
        .and_then(|model| quantize::prepare(model).map_err(|error| error.to_string()));
    let model = simpler.unwrap_or_else(|reason| {
        watch.tell(&format!("the model is quantised as it is, not in the runtime's simpler form: {reason}"));
        plain
    });
    Ok(Prepared { model, bytes: size as u64 })
}

/// The tensors whose ranges must be known for these settings and, `with_search`, for any node left in float besides.
pub(super) fn observed(model: &ModelProto, settings: &Settings, with_search: bool) -> Vec<String> {
    let mut tensors: BTreeSet<String> = quantize::observed(model, settings).into_iter().collect();
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    if with_search && !tensors.is_empty() {
        let one_out =
            |name: String| Settings { exclude: [settings.exclude.clone(), vec![name]].concat(), ..settings.clone() };
        let operators: BTreeSet<String> = nodes.clone().map(|node| node.operator().to_owned()).collect();
        let names = nodes.map(|node| node.label().to_owned()).take(MOST_ASKED);
        for name in operators.into_iter().chain(names) {
            tensors.extend(quantize::observed(model, &one_out(name)));
        }
    }
    tensors.into_iter().collect()
}
