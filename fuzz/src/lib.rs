//! The rooms of edge-service that read and rewrite ONNX files, and nothing of the rest: they build in seconds.
//!
//! What of `quantize` knows a runtime is left out by `cfg(fuzzing)`, which cargo-fuzz sets.

#![allow(dead_code, missing_docs)]

#[path = "../../src/engine"]
pub mod engine {
    pub mod cpu;
}
#[path = "../../src/onnx/mod.rs"]
pub mod onnx;
#[path = "../../src/quantize/mod.rs"]
pub mod quantize;

pub mod graphs;
