//! ONNX files as data: messages, files, tensors, graphs and their validity, without a runtime.

pub mod check;
pub mod file;
pub mod graph;
pub mod proto;
pub mod side;
pub mod tensor;
mod wire;
pub mod zipmap;
