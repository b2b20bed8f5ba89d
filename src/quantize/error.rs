//! Why a model cannot be quantised.

use crate::onnx::check::Fault;

/// A model that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The graph is not a valid one.
    #[error("the model's graph is not valid: {0}")]
    Graph(#[from] Fault),
    /// Rewriting made a graph that is not valid: a defect of this program.
    #[error("the rewritten graph is not valid ({0}), which is a defect of this program; the original still serves")]
    Rewritten(Fault),
    /// Integer operators are in it already.
    #[error("the model is quantised already: it has the operator {operator}; give the float model it was made from")]
    AlreadyQuantized {
        /// The first of them.
        operator: String,
    },
    /// Weights of 16 bits.
    #[error("the model is in half precision ({name} is {element}); give the model in FP32")]
    HalfPrecision {
        /// The first such tensor.
        name: String,
        /// Its element type.
        element: &'static str,
    },
    /// Signed activations with unsigned weights.
    #[error("the runtime has no operators of S8 activations and U8 weights; ask for S8 weights, or U8 activations")]
    Types,
    /// Nothing in it can run on 8-bit numbers.
    #[error("the model has no node that can be quantised: {why}")]
    NothingToQuantize {
        /// What it has instead.
        why: String,
    },
    /// Older than what the runtime reads.
    #[error("the model's opset is {version}; quantising wants 7 or newer: export it again")]
    Opset {
        /// The version found.
        version: i64,
    },
    /// An operator that keeps the model at an opset without integers.
    #[error(
        "the model's opset is {version}, and its {operator} cannot be brought to 13; export it with opset 13 or newer"
    )]
    Upgrade {
        /// The version found.
        version: i64,
        /// The operator in the way.
        operator: String,
    },
}
