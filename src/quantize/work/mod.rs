//! Quantising from file to file: what runs models, around the rewriting, which does not.
//!
//! ```text
//! model ─▶ simplify ─▶ prepare ─▶ choose ─▶ calibrate ─▶ rewrite ─▶ compare ─▶ search ─▶ try ─▶ file
//!          runtime                          runtime                 runtime    both      runtime
//! ```
//!
//! Samples are read one at a time. A part of them is held out: ranges are found without it, and both models are compared on it.

mod bias;
mod calibrate;
mod failure;
mod form;
mod histogram;
mod lab;
mod make;
mod prepared;
mod report;
mod search;
mod split;
mod stored;
mod trials;
mod try_out;

use std::path::PathBuf;
use std::time::Duration;

use super::{Integer, Method};

pub use failure::Failure;
pub use histogram::Calibrator;
pub use lab::{Lab, give_memory_back};
pub use make::make;
pub use report::Report;

/// The key of the file's properties that says `static` or `dynamic`.
pub const PROPERTY_METHOD: &str = "edge_service.quantized";
/// The key that gives the original's SHA-256.
pub const PROPERTY_SOURCE: &str = "edge_service.source_sha256";
/// The key that lists the digests of all samples that were used.
pub const PROPERTY_SAMPLES: &str = "edge_service.samples_used";

/// Hears how far the work is.
pub trait Watch {
    /// A part begins that has so many steps.
    fn begin(&self, what: &str, steps: u64);
    /// One step is done.
    fn step(&self);
    /// Something that the operator should read.
    fn tell(&self, line: &str);
    /// Carries a write out that nothing may cut short.
    ///
    /// # Errors
    /// Those of the write.
    fn place(&self, write: &mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        write()
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// The float model.
    pub model: PathBuf,
    /// Where the INT8 model goes.
    pub output: PathBuf,
    /// Samples; where none are given, the folder `frames` beside the model, if it is there.
    pub samples: Option<PathBuf>,
    /// The most samples that are used.
    pub limit: usize,
    /// How ranges are found.
    pub calibrator: Calibrator,
    /// Static or dynamic, in place of what the graph suggests.
    pub method: Option<Method>,
    /// The type of activations, in place of the choice.
    pub activations: Option<Integer>,
    /// The type of weights, in place of the choice.
    pub weights: Option<Integer>,
    /// One scale for a whole weight.
    pub per_tensor: bool,
    /// Weights of 7 bits, whatever the processor.
    pub reduce_range: bool,
    /// Names of nodes or types of operators that stay in float.
    pub exclude: Vec<String>,
    /// The agreement to reach, in place of the measure's own.
    pub target: Option<f64>,
    /// How long the search for accuracy may take; `None`: there is none, and every sample serves for ranges.
    pub search: Option<Duration>,
    /// Laid out as the Python tool does, for comparing.
    pub plain: bool,
    /// The most pixels of a picture.
    pub max_pixels: u64,
}
