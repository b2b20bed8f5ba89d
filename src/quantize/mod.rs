//! A float model in, an INT8 model out: what is quantised, how, and what stays as it is.
//!
//! ```text
//! file ─▶ tidy ─▶ (folding) ─▶ prepare ─▶ choose ─▶ observed ─▶ (ranges) ─▶ rewrite ─▶ file
//!         inputs  the runtime  one form   how       what to     calibrate   patches
//!                                                   measure
//! ```
//!
//! Rewriting is pure: models are values of [`crate::onnx::proto`], and no runtime is asked.

use std::collections::{BTreeMap, BTreeSet};

mod choose;
mod error;
mod patch;
mod prepare;
mod rewrite;
mod rules;
mod scales;
// What knows the runtime: the fuzz target goes without.
#[cfg(not(fuzzing))]
pub mod work;

pub use choose::{Choice, choose};
pub use error::Error;
pub use prepare::{has_work, is_untidy, prepare, tidy};
pub use rewrite::{observed, observed_by_any, rewrite};

use crate::onnx::proto::ModelProto;

/// When the ranges of activations are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// From samples, before: for nets of convolutions.
    Static,
    /// At every run: for transformers, recurrent nets and perceptrons.
    Dynamic,
}

/// An 8-bit type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Integer {
    /// 0 to 255.
    U8,
    /// -128 to 127.
    S8,
}

/// How to quantise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When ranges of activations are found.
    pub method: Method,
    /// The type of activations.
    pub activations: Integer,
    /// The type of weights.
    pub weights: Integer,
    /// A scale for every output channel of a weight, in place of one for the whole.
    pub per_channel: bool,
    /// Weights of 7 bits, for processors that sum products in 16.
    pub reduce_range: bool,
    /// Names of nodes or types of operators that stay in float.
    pub exclude: Vec<String>,
    /// Names of nodes that the search for accuracy leaves in float.
    pub keep_float: BTreeSet<String>,
    /// Names of nodes that were measured to be faster in float.
    pub faster_in_float: BTreeSet<String>,
    /// Whether to do better than the plain form: a last matrix product answers in float, and tensors that only a `Concat`
    /// reads take its parameters. Without it the file is laid out as onnxruntime's own tool does.
    pub refine: bool,
}

impl Settings {
    /// Whether the runtime has operators for the types.
    ///
    /// # Errors
    /// [`Error::Types`]: it has none of signed activations with unsigned weights. Dynamic quantisation has unsigned ones.
    pub fn check(&self) -> Result<(), Error> {
        let signed = self.method == Method::Static && self.activations == Integer::S8;
        if signed && self.weights == Integer::U8 { Err(Error::Types) } else { Ok(()) }
    }
}

impl Default for Settings {
    /// Static, U8 activations, S8 weights, per channel.
    fn default() -> Self {
        Settings {
            method: Method::Static,
            activations: Integer::U8,
            weights: Integer::S8,
            per_channel: true,
            reduce_range: false,
            exclude: Vec::new(),
            keep_float: BTreeSet::new(),
            faster_in_float: BTreeSet::new(),
            refine: true,
        }
    }
}

/// The lowest and the highest value that a tensor takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The lowest.
    pub low: f32,
    /// The highest.
    pub high: f32,
}

/// Ranges by the name of the tensor.
pub type Ranges = BTreeMap<String, Range>;

/// What [`rewrite`] made.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    /// The INT8 model.
    pub model: ModelProto,
    /// The names of the nodes that now run on 8-bit numbers, in the graph's order.
    pub quantized: Vec<String>,
    /// The nodes that did not change, in the graph's order.
    pub left: Vec<Left>,
}

/// A node that stayed in float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its name.
    pub node: String,
    /// Its operator's type.
    pub operator: String,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests;
