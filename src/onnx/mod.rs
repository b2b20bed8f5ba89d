//! ONNX files as data: the messages, files that are whole or absent, and graphs that hold together, without a runtime.

pub mod check;
pub mod file;
pub mod graph;
pub mod proto;
pub mod tensor;
