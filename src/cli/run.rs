//! `edge-service run`

use std::process::ExitCode;

use super::{Settings, complain};
use crate::config::{Config, Loaded};
use crate::{daemon, telemetry};

/// Serves until told to stop.
pub fn run(loaded: Loaded, settings: Settings) -> ExitCode {
    if let Err(error) = telemetry::start(&loaded.config.log) {
        complain(&error);
        return ExitCode::from(daemon::EXIT_SYSTEM);
    }
    for notice in &loaded.notices {
        tracing::warn!(event = "configuration", "{notice}");
    }
    match daemon::run(loaded.config, Box::new(move || read_again(&settings))) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            tracing::error!(event = "not_started", "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn read_again(settings: &Settings) -> Result<Config, Vec<String>> {
    let loaded = settings.clone().survey().into_loaded();
    loaded.map(|loaded| loaded.config).map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}
