//! Configuration: types and defaults, where they come from, and all that is wrong with them at once.

mod types;

pub use types::{Config, LogConfig, LogFormat, ModelConfig, ServerConfig};
