//! `edge-service run`

use std::process::ExitCode;

use super::complain;
use crate::config::Loaded;
use crate::{daemon, telemetry};

/// Serves until told to stop.
pub fn run(loaded: Loaded) -> ExitCode {
    if let Err(error) = telemetry::start(&loaded.config.log) {
        complain(&error);
        return ExitCode::from(daemon::EXIT_SYSTEM);
    }
    for notice in &loaded.notices {
        tracing::warn!(event = "configuration", "{notice}");
    }
    match daemon::run(loaded.config) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            tracing::error!(event = "not_started", "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
