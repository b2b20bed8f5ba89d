//! A model file, read, simplified by the runtime and brought into the form that rewriting expects.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;

use super::stored::Stored;
use super::{Failure, Watch};
use crate::engine::cpu::Cpu;
use crate::engine::ort::{self, Runtime};
use crate::onnx::file;
use crate::onnx::proto::ModelProto;
use crate::quantize::{self, Choice, Settings, choose};

/// Larger models do not fit one message together with what is added to them: they are not simplified.
const LARGEST_SIMPLIFIED: usize = 1800 << 20;
/// The most nodes for which it is asked one by one what must be known once they are in float.
const MOST_ASKED: usize = 600;

/// A model that can be quantised.
pub(super) struct Prepared {
    /// In the form that rewriting expects.
    pub stored: Stored,
    /// How its graph is best quantised.
    pub choice: Choice,
    /// Bytes of the original, contents beside it included.
    pub bytes: u64,
}

/// Reads and prepares a model. No more than one copy of it is in memory at a time, the runtime's aside.
pub(super) fn prepare(path: &Path, runtime: &Runtime, cpu: &Cpu, watch: &dyn Watch) -> Result<Prepared, Failure> {
    let unusable = |reason: String| Failure::Unusable(format!("model file {}: {reason}", path.display()));
    let named = |error: quantize::Error| match Failure::from(error) {
        Failure::Unusable(reason) => unusable(reason),
        other => other,
    };
    let read = || file::read(path).map_err(Failure::from);
    let original = read()?;
    let bytes = original.encoded_len();
    let untidy = quantize::is_untidy(&original);
    let computed = quantize::has_work(&original) && bytes <= LARGEST_SIMPLIFIED;
    // Refused as it is, before the runtime is asked: the words are those for this file. Only where weights are computed the
    // runtime may know better, which folds what is computed of constants alone.
    let (choice, refusal) = match quantize::prepare(original) {
        Ok(model) => (Some(choose(&model, cpu)), None),
        Err(error @ quantize::Error::NothingToQuantize { .. }) if computed => (None, Some(error)),
        Err(error) => return Err(named(error)),
    };
    let keep = |model: ModelProto| {
        let choice = choice.unwrap_or_else(|| choose(&model, cpu));
        let stored = Stored::keep(model).map_err(Failure::Made)?;
        Ok(Prepared { stored, choice, bytes: bytes as u64 })
    };
    if bytes > LARGEST_SIMPLIFIED {
        watch.tell("the model is too large to be simplified first: normalisations are not folded");
        return keep(quantize::prepare(read()?).map_err(named)?);
    }
    let tidied = if untidy { Some(file::encode(&quantize::tidy(read()?))) } else { None };
    let simpler = Stored::file().map(Stored::of).map_err(|error| Failure::Made(error.to_string()))?;
    let simplified = ort::simplify(runtime, path, tidied.as_deref(), &simpler.path());
    drop(tidied);
    let model = match simplified {
        Ok(()) => simpler.open().and_then(|mut model| {
            // Contents that lay beside the model still do.
            file::bring_in(&mut model, path).map_err(|error| error.to_string())?;
            quantize::prepare(model).map_err(|error| error.to_string())
        }),
        Err(reason) => return Err(refusal.map_or_else(|| unusable(reason), named)),
    };
    drop(simpler);
    // What the runtime leaves is its own business: where that cannot be quantised, the model as it was can.
    match (model, refusal) {
        (Ok(model), _) => keep(model),
        (Err(_), Some(refusal)) => Err(named(refusal)),
        (Err(reason), None) => {
            watch.tell(&format!("the model is quantised as it is, not in the runtime's simpler form: {reason}"));
            keep(quantize::prepare(read()?).map_err(named)?)
        }
    }
}

/// The tensors whose ranges must be known for these settings and, `with_search`, for any node left in float besides.
pub(super) fn observed(model: &ModelProto, settings: &Settings, with_search: bool) -> Vec<String> {
    let tensors = quantize::observed(model, settings);
    if !with_search || tensors.is_empty() {
        return tensors;
    }
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let operators: BTreeSet<String> = nodes.clone().map(|node| node.operator().to_owned()).collect();
    let names = nodes.map(|node| node.label().to_owned()).take(MOST_ASKED);
    let one_out =
        |name: String| Settings { exclude: [settings.exclude.clone(), vec![name]].concat(), ..settings.clone() };
    let asked = std::iter::once(settings.clone()).chain(operators.into_iter().chain(names).map(one_out));
    quantize::observed_by_any(model, asked).into_iter().collect()
}
