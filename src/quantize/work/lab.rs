//! Models that run: sessions of models that are values, and what they answer.

use std::path::Path;
use std::time::{Duration, Instant};

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
    /// A session that calibrates: every tensor is there, computed as the graph says, by all threads.
    pub fn calibrating(&self, model: ModelProto) -> Result<OrtSession, String> {
        let stored = Stored::keep(model)?;
        // The runtime's own store of memory grows to a power of two above what such a graph needs: the allocator's will do.
        let options = LoadOptions { memory_arena: false, ..options(self.threads) };
        ort::load_file(&self.runtime, &stored.path(), &options, Optimize::Nothing)
    }

    /// A session of a model, which is put away for it: what nobody else holds of it is free before the session is made.
    pub fn session(&self, model: ModelProto, threads: usize) -> Result<OrtSession, String> {
        let stored = Stored::keep(model)?;
        ort::load_file(&self.runtime, &stored.path(), &options(threads), Optimize::All)
    }

    /// A session of the model as it was given.
    pub fn original(&self, path: &Path, threads: usize) -> Result<OrtSession, Failure> {
        let unusable = |reason| Failure::Unusable(format!("model file {}: {reason}", path.display()));
        self.session_at(path, threads).map_err(unusable)
    }

    /// A session of a model's file.
    pub fn session_at(&self, path: &Path, threads: usize) -> Result<OrtSession, String> {
        ort::load_file(&self.runtime, path, &options(threads), Optimize::All)
    }
}

/// Memory is kept between runs: taking it anew for every tensor costs more than the arithmetic of small ones.
fn options(threads: usize) -> LoadOptions {
    LoadOptions { threads, spinning: false, memory_arena: true, keep_zipmap: false }
}

/// While it lives, freed memory of any size is kept for the next tensor; then it goes back to the system.
pub struct Reuse;

/// Blocks of so many bytes and more go back to the system as soon as they are free.
const GIVEN_BACK: libc::c_int = 128 << 10;
/// The largest that the allocator's own bound may be set to.
const NEVER_GIVEN_BACK: libc::c_int = 32 << 20;

impl Reuse {
    /// From now on, until it is dropped.
    pub fn begin() -> Reuse {
        give_back_from(NEVER_GIVEN_BACK, 1 << 30);
        Reuse
    }
}

impl Drop for Reuse {
    fn drop(&mut self) {
        give_memory_back();
    }
}

/// Left alone, the allocator keeps large blocks once it has seen some, and a model that is loaded several times is held
/// several times.
pub fn give_memory_back() {
    give_back_from(GIVEN_BACK, GIVEN_BACK);
}

#[cfg(target_env = "gnu")]
fn give_back_from(block: libc::c_int, top: libc::c_int) {
    // SAFETY: these only set numbers of the allocator, and give back what is free.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, block);
        libc::mallopt(libc::M_TRIM_THRESHOLD, top);
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn give_back_from(_block: libc::c_int, _top: libc::c_int) {}

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
    /// How long each answer took, with all threads.
    pub took: Vec<Duration>,
    bytes: usize,
}

impl HeldOut {
    /// Whether another sample has room.
    pub fn has_room(&self) -> bool {
        self.bytes < KEPT_BYTES
    }

    /// Runs a sample, and keeps it with the answer to it.
    pub fn ask(&mut self, float: &mut dyn Session, inputs: Vec<Tensor>, outputs: &[String]) -> Result<(), String> {
        let begun = Instant::now();
        let answer = run(float, &inputs, outputs)?;
        self.took.push(begun.elapsed());
        self.keep(inputs, answer);
        Ok(())
    }

    fn keep(&mut self, inputs: Vec<Tensor>, outputs: Vec<Tensor>) {
        let size = |tensor: &Tensor| tensor.len() * tensor.datatype().element_bytes().unwrap_or(16);
        self.bytes += inputs.iter().chain(&outputs).map(size).sum::<usize>();
        self.pairs.push((inputs, outputs));
    }
}
