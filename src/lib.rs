//! edge-service: one daemon that serves an ONNX model, watches its box, and keeps itself alive.
//!
//! Where things are, from the bottom up; an arrow never runs back:
//!
//! | floor | rooms |
//! |---|---|
//! | [`core`] | pure decisions: restarts, admission, the canary, readiness, tensors |
//! | [`config`], [`engine`], [`image`], [`metrics`], [`notify`], [`onnx`], [`probe`], [`state`] | settings; what runs a model; pictures; what is measured; the service manager; ONNX files as data; what is read of the box; files that survive |
//! | [`quantize`], [`samples`] | a float model in, an INT8 model out; real frames |
//! | [`qualify`] | an INT8 model held against the original on this box |
//! | [`trial`] | a child process that loads a model before the daemon does |
//! | [`actors`] | supervisor, model and web, which speak by messages |
//! | [`http`] | connections to jobs and back |
//! | [`daemon`] | the composition root: start order, stop order, joins |
//! | [`cli`] | commands to exit codes |

pub mod actors;
pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod engine;
#[cfg(feature = "test-hooks")]
pub mod hooks;
pub mod http;
pub mod image;
pub mod limits;
pub mod metrics;
pub mod notify;
pub mod onnx;
pub mod probe;
pub mod qualify;
pub mod quantize;
pub mod samples;
pub mod signals;
pub mod state;
pub mod telemetry;
pub mod trial;
