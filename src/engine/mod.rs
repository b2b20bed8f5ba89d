//! The engine: what runs a model, the job it takes, and the threads that own it.
//!
//! Only `ort` knows ONNX Runtime; the rest of the house knows the [`Session`] trait.

pub mod cancel;
pub mod cpu;
#[cfg(test)]
pub mod fake;
pub mod job;
pub mod memory;
pub mod ort;
mod pool;
mod queue;
pub mod runtime;
pub mod threads;

use crate::core::tensor::{ModelSpec, Tensor};

use cancel::Cancel;

/// One call of a model within a slice.
pub struct Call<'a> {
    /// Inputs, checked against the model's spec.
    pub inputs: &'a [Tensor],
    /// Names of the outputs to compute, in the order in which they are wanted.
    pub outputs: &'a [String],
    /// Ends the run from another thread.
    pub cancel: &'a Cancel,
}

/// Why a run gave no outputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The inputs do not fit the model that is loaded now.
    #[error("{0}")]
    Input(String),
    /// The graph itself failed on these values.
    #[error("the model failed on this input: {0}")]
    Graph(String),
    /// No model is loaded now.
    #[error("no model is loaded")]
    NoModel,
    /// The run was ended from outside: a deadline, a client that left, a stop.
    #[error("the run was ended before its answer")]
    Cancelled,
}

/// Why a model could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file is not there or cannot be read.
    #[error("model file {path}: {reason}")]
    Missing {
        /// The path as configured.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The file is there and no model can be made of it.
    #[error("model file {path}: {reason}")]
    Unusable {
        /// The path as configured.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl LoadError {
    /// What is wrong and what to do, without the path.
    pub fn reason(&self) -> &str {
        match self {
            LoadError::Missing { reason, .. } | LoadError::Unusable { reason, .. } => reason,
        }
    }
}

/// A loaded model.
pub trait Session: Send {
    /// What it takes and gives.
    fn spec(&self) -> &ModelSpec;

    /// Runs a slice of calls and answers each, in order.
    fn run(&mut self, calls: &[Call<'_>]) -> Vec<Result<Vec<Tensor>, RunError>>;
}
