//! Every setting, its type and its default. `config/edge-service.toml` documents the same keys for people.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::variant::{QualifyConfig, RollbackConfig};
use super::watch::{AlertsConfig, MonitorConfig, RecorderConfig};
use crate::core::standing::Prefer;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The HTTP server, the process and its state.
    pub server: ServerConfig,
    /// The model, its session and its queue.
    pub model: ModelConfig,
    /// The log.
    pub log: LogConfig,
    /// What is sampled.
    pub monitor: MonitorConfig,
    /// What is kept of requests.
    pub recorder: RecorderConfig,
    /// When trouble is said.
    pub alerts: AlertsConfig,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The name that `GET /v2` answers.
    pub name: String,
    /// HTTP worker threads.
    pub workers: usize,
    /// Connections at once, over all workers; further ones wait to be accepted.
    pub max_connections: usize,
    /// The largest request body, in bytes, as sent and after it is inflated.
    pub max_body_bytes: usize,
    /// Bytes of request bodies held at once, over all requests that are being read, waiting or running.
    pub max_body_memory_bytes: usize,
    /// Bytes that pictures may take together while they are decoded, at 12 a pixel; one alone may take more.
    pub max_image_memory_bytes: usize,
    /// Seconds that a client may take for its request head, and between two pieces of its body.
    pub client_timeout_seconds: f64,
    /// Seconds that an idle connection is kept open.
    pub keep_alive_seconds: f64,
    /// Seconds that a stop waits for what was admitted.
    pub shutdown_timeout_seconds: f64,
    /// Restarts of one room within `restart_window_seconds` before the daemon gives up with exit code 70.
    pub restart_budget: u32,
    /// The window in which restarts count against the budget, in seconds.
    pub restart_window_seconds: f64,
    /// The wait before a room's first restart, in milliseconds; it doubles with every further one in the window.
    pub restart_backoff_ms: u64,
    /// A file whose first line is the token that admin calls need; unset: they are taken from loopback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_token_file: Option<PathBuf>,
    /// Where state is kept; unset: `$STATE_DIRECTORY`, else the XDG state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<PathBuf>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            name: "edge-service".to_owned(),
            workers: 2,
            max_connections: 1024,
            max_body_bytes: 64 << 20,
            max_body_memory_bytes: 512 << 20,
            max_image_memory_bytes: 1 << 30,
            client_timeout_seconds: 10.0,
            keep_alive_seconds: 75.0,
            shutdown_timeout_seconds: 30.0,
            restart_budget: 5,
            restart_window_seconds: 60.0,
            restart_backoff_ms: 50,
            admin_token_file: None,
            state_directory: None,
        }
    }
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The ONNX file; `model.toml` and the labels are read beside it.
    pub path: PathBuf,
    /// The name to serve it under; unset: the file's stem, or its folder's name where the stem is `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version to serve it under: digits.
    pub version: String,
    /// The file's SHA-256 in hexadecimal; a file with another one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// A quantised form of the same model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantized_path: Option<PathBuf>,
    /// Which form of the model is served.
    pub prefer: Prefer,
    /// Whether a `ZipMap` at the end of the graph stays: its maps are no tensors, and its output is left out.
    pub keep_zipmap: bool,
    /// The ONNX Runtime library; unset: looked for in the known places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_library: Option<PathBuf>,
    /// Sessions, each run by a thread of its own.
    pub sessions: usize,
    /// Threads within a session; 0: the cores that the cgroup allows.
    pub threads: usize,
    /// Whether the session's idle threads spin: quicker on an idle box, harmful on a busy one.
    pub spinning: bool,
    /// Whether the runtime keeps an arena of memory between runs.
    pub memory_arena: bool,
    /// Requests that may wait for the engine; past it the answer is 503.
    pub queue_limit: usize,
    /// The deadline of a request that names none, in milliseconds.
    pub default_timeout_ms: u64,
    /// The longest deadline that a request may ask for, in milliseconds.
    pub max_timeout_ms: u64,
    /// Seconds that a load with its warm-up may take.
    pub load_timeout_seconds: f64,
    /// Whether a file is loaded in a child process first, so that one that crashes the runtime does no harm.
    pub trial: bool,
    /// Seconds between two known-answer canaries; 0 switches them off.
    pub canary_seconds: f64,
    /// The time a canary may take without any run being completed, in milliseconds.
    pub canary_timeout_ms: u64,
    /// How far a canary's outputs may stray from those at warm-up, relative to the largest of them.
    pub canary_tolerance: f64,
    /// The largest picture, in pixels, that is decoded.
    pub max_image_pixels: u64,
    /// Predictions that a frame is answered with where `model.toml` does not say.
    pub top_k: usize,
    /// How a quantised form is held against the original.
    pub qualify: QualifyConfig,
    /// When a quantised form that took the original's place is taken back.
    pub rollback: RollbackConfig,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            path: PathBuf::from("models/digits/model.onnx"),
            name: None,
            version: "1".to_owned(),
            sha256: None,
            quantized_path: None,
            prefer: Prefer::default(),
            keep_zipmap: false,
            runtime_library: None,
            sessions: 1,
            threads: 0,
            spinning: false,
            memory_arena: true,
            queue_limit: 64,
            default_timeout_ms: 30_000,
            max_timeout_ms: 300_000,
            load_timeout_seconds: 120.0,
            trial: true,
            canary_seconds: 10.0,
            canary_timeout_ms: 10_000,
            canary_tolerance: 0.001,
            max_image_pixels: 50_000_000,
            top_k: 5,
            qualify: QualifyConfig::default(),
            rollback: RollbackConfig::default(),
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`; also by module: `info,edge_service::engine=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
    /// Seconds in which a repeated warning is written once, with its count.
    pub repeat_seconds: f64,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { level: "info".to_owned(), format: LogFormat::Text, repeat_seconds: 60.0 }
    }
}
