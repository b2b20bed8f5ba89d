//! The Open Inference Protocol V2: from bytes to tensors and back. Pure functions; no connection, no status code.
//!
//! Sources: `kserve/open-inference-protocol`, `specification/protocol/inference_rest.md`; Triton's extensions
//! `binary_tensor_data`, `classification` and `parameters`. `docs/http.md` numbers what they ask for, and the tests
//! here carry those numbers.
//!
//! | door                    | what it does                                                    |
//! |-------------------------|-----------------------------------------------------------------|
//! | [`parse_header_length`] | reads `Inference-Header-Content-Length`                         |
//! | [`parse`]               | a request's body to tensors and to a plan for every output      |
//! | [`render`]              | tensors to an answer's body, by those plans                     |
//! | [`metadata`]            | the protocol's other answers: metadata, index, statistics, ...  |
//!
//! Binary tensors and plain strings are slices of the body: no copy is made, and the body lives as long as they do.
//! They have whatever alignment the client gave them.

mod binary;
mod classify;
mod data;
mod error;
mod json;
pub mod metadata;
mod number;
mod parameters;
mod quote;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use binary::parse_header_length;
pub use error::{CLIP, ErrorKind, ProtocolError};
pub use request::parse;
pub use response::{Rendered, render};

use crate::core::tensor::Tensor;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferRequest {
    /// To be returned unchanged.
    pub id: Option<String>,
    /// The `timeout` parameter, in microseconds; `None` also for 0, which in the protocol means "none given".
    pub timeout_us: Option<u64>,
    /// The inputs, checked against the model, in the model's order; optional ones may be missing.
    pub inputs: Vec<Tensor>,
    /// The outputs to send, in the request's order, else all in the model's order.
    pub outputs: Vec<OutputPlan>,
}

/// How one output is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputForm {
    /// As numbers, booleans or strings in the JSON.
    Json,
    /// As bytes behind the JSON.
    Binary,
    /// As the highest values with their indices and labels.
    Classification {
        /// How many, per batch entry; more than there are means all.
        classes: usize,
        /// Whether the strings go behind the JSON.
        binary: bool,
    },
}

/// One output to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPlan {
    /// Its name in the graph.
    pub name: String,
    /// How it is sent.
    pub form: OutputForm,
}

/// What a request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolLimits {
    /// Bytes of all tensors of one request together, checked before room is made for any of them. An element of
    /// `BYTES` counts as much as the handle that it is kept by, 32 bytes on a 64-bit machine; its characters lie in
    /// the body.
    pub max_tensor_bytes: usize,
}
