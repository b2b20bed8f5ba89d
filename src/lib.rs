//! edge-service: one daemon that serves an ONNX model, watches its box, and keeps itself alive.

pub mod actors;
pub mod config;
pub mod core;
pub mod engine;
pub mod image;
pub mod metrics;
pub mod state;
pub mod telemetry;
