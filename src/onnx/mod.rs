//! ONNX files as data: the messages, without a runtime.

pub mod proto;
pub mod zipmap;
