//! edge-service: one daemon that serves an ONNX model, watches its box, and keeps itself alive.

pub mod config;
pub mod core;
pub mod http;
