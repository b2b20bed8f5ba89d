//! `edge-service health`

use std::process::ExitCode;

use super::ask::ask;
use super::{complain, say};
use crate::config::Config;

/// Asks the daemon that listens where the configuration says: 0 when it is ready, else 1.
pub fn health(config: &Config) -> ExitCode {
    match ask(config, "/readyz") {
        Ok((200, _)) => {
            say("ready");
            ExitCode::SUCCESS
        }
        Ok((_, body)) => {
            complain(&format!("not ready: {}", reason(&body)));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn reason(body: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let reason = parsed.as_ref().and_then(|value| value.get("reason")?.as_str());
    reason.unwrap_or_else(|| body.trim()).to_owned()
}
