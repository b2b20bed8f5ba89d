//! Models that run: sessions of models that are values, and what they answer.

use std::path::Path;

use super::Failure;
use super::stored::Stored;
use crate::core::tensor::Tensor;
use crate::engine::cancel::Cancel;
use crate::engine::ort::{self, LoadOptions, Optimize, OrtSession, Runtime};
use crate::engine::{Call, Session};
use crate::onnx::proto::ModelProto;

/// The most bytes of samples and answers that are kept in memory for comparing.
const KEPT_BYTES: usize = 256 << 20;

/// Where models are tried: a runtime, and how many threads a session has.
pub struct Lab {
    /// The opened library.
    pub runtime: Runtime,
    /// Threads within a session that calibrates or compares.
    pub threads: usize,
}

impl Lab {
    /// A session of a model, which is put away for it: what nobody else holds of it is free before the session is made.
    pub fn session(&self, model: ModelProto, threads: usize, optimize: Optimize) -> Result<OrtSession, String> {
        let stored = Stored::keep(model)?;
        ort::load_file(&self.runtime, &stored.path(), &options(threads), optimize)
    }

    /// A session of a model's file.
    pub fn session_at(&self, path: &Path, threads: usize) -> Result<OrtSession, Failure> {
        let unusable = |reason| Failure::Unusable(format!("model file {}: {reason}", path.display()));
        ort::load_file(&self.runtime, path, &options(threads), Optimize::All).map_err(unusable)
    }

    /// A session of a model's bytes.
    pub fn session_of(&self, bytes: &[u8], threads: usize, optimize: Optimize) -> Result<OrtSession, String> {
        ort::load_bytes(&self.runtime, bytes, &options(threads), optimize)
    }
}

/// Memory is kept between runs: taking it anew for every tensor costs more than the arithmetic of small ones.
fn options(threads: usize) -> LoadOptions {
    LoadOptions { threads, spinning: false, memory_arena: true }
}

/// Runs a session on one sample: the outputs of these names.
pub fn run(session: &mut dyn Session, inputs: &[Tensor], outputs: &[String]) -> Result<Vec<Tensor>, String> {
    let call = Call { inputs, outputs, cancel: &Cancel::default() };
    let answer = session.run(&[call]).pop().ok_or("the session gave no answer")?;
    answer.map_err(|error| error.to_string())
}

/// The names of all outputs of a session.
pub fn outputs(session: &dyn Session) -> Vec<String> {
    session.spec().outputs.iter().map(|output| output.name.clone()).collect()
}

/// Samples that stay in memory with what the float model answers.
#[derive(Default)]
pub struct HeldOut {
    /// Inputs, and the outputs of the float model.
    pub pairs: Vec<(Vec<Tensor>, Vec<Tensor>)>,
    bytes: usize,
}

impl HeldOut {
    /// Whether another sample has room.
    pub fn has_room(&self) -> bool {
        self.bytes < KEPT_BYTES
    }

    /// Keeps a sample and the answer to it.
    pub fn keep(&mut self, inputs: Vec<Tensor>, outputs: Vec<Tensor>) {
        let size = |tensor: &Tensor| tensor.len() * tensor.datatype().element_bytes().unwrap_or(16);
        self.bytes += inputs.iter().chain(&outputs).map(size).sum::<usize>();
        self.pairs.push((inputs, outputs));
    }
}
