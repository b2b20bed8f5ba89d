//! `edge-service status`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::ask::ask;
use super::{complain, say};
use crate::config::Config;

const STATUS: &str = "/api/v1/monitoring/status";

/// What `status` takes.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The daemon's own JSON
    #[arg(long)]
    json: bool,
    /// Again every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Pack status, configuration, recorder and alerts into one JSON file for a support case
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// Shows the state of the running daemon: 1 where it gives none.
pub fn status(config: &Config, args: &StatusArgs) -> ExitCode {
    if let Some(file) = &args.bundle {
        return match bundle(config, file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        };
    }
    loop {
        match fetch(config, STATUS) {
            Ok(status) if args.json => say(&status.to_string()),
            Ok(status) => say(&table(&status)),
            Err(error) => {
                complain(&error);
                if !args.watch {
                    return ExitCode::FAILURE;
                }
            }
        }
        if !args.watch {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn fetch(config: &Config, path: &str) -> Result<Value, String> {
    let (status, body) = ask(config, path)?;
    if status != 200 {
        return Err(format!("{path} is answered with {status}"));
    }
    serde_json::from_str(&body).map_err(|error| format!("{path} is not answered with JSON: {error}"))
}

/// A webhook's address may carry a password: it is left out.
fn bundle(config: &Config, file: &Path) -> Result<(), String> {
    let mut shown = config.clone();
    if shown.alerts.webhook.url.is_some() {
        shown.alerts.webhook.url = Some("(left out)".to_owned());
    }
    let whole = json!({
        "status": fetch(config, STATUS)?,
        "alerts": fetch(config, "/api/v1/alerts")?,
        "recorder": fetch(config, "/api/v1/recorder")?,
        "configuration": shown,
    });
    let text = serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())?;
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    say(&format!("written: {}", file.display()));
    Ok(())
}

/// The status as lines of name and value.
fn table(status: &Value) -> String {
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "–".to_owned(),
        Some(other) => other.to_string(),
    };
    let number = |pointer: &str, unit: &str| match status.pointer(pointer).and_then(Value::as_f64) {
        Some(number) => format!("{number:.1}{unit}"),
        None => "–".to_owned(),
    };
    let state = match status.pointer("/ready").and_then(Value::as_bool) {
        Some(true) => "ready".to_owned(),
        _ => format!("not ready: {}", text("/reason")),
    };
    let stale = if status.pointer("/snapshot/stale") == Some(&Value::Bool(true)) { " (stale)" } else { "" };
    let mut rows = vec![
        ("state", state),
        ("model", format!("{} {}", text("/model/name"), text("/model/version"))),
        ("variant", format!("{}: {}", text("/model/variant"), text("/model/variant_reason"))),
        ("quantized", format!("{}, measured {}", text("/qualification/state"), text("/qualification/at"))),
        ("canary", text("/model/canary/state")),
        ("queue", format!("{} of {}", text("/queue/waiting"), text("/queue/limit"))),
        ("requests", number("/traffic/requests_per_second", " /s")),
        (
            "latency",
            format!(
                "p50 {}, p95 {}, p99 {}",
                number("/traffic/p50_ms", " ms"),
                number("/traffic/p95_ms", " ms"),
                number("/traffic/p99_ms", " ms")
            ),
        ),
        ("cpu", number("/current_resources/cpu/usage_percent", " %")),
        ("memory", number("/current_resources/memory/used_percent", " %")),
        ("gpu", if status["gpu_available"] == json!(true) { "there".to_owned() } else { "none".to_owned() }),
        ("sample", format!("{} old{stale}", number("/snapshot/age_seconds", " s"))),
        ("uptime", format!("{} s", text("/uptime_seconds"))),
        (
            "build",
            format!("{} ({}), ONNX Runtime {}", text("/build/version"), text("/build/commit"), text("/build/runtime")),
        ),
    ];
    let firing = status.pointer("/alerts/firing").and_then(Value::as_array);
    match firing.filter(|firing| !firing.is_empty()) {
        None => rows.push(("alerts", "nothing firing".to_owned())),
        Some(firing) => {
            for alert in firing {
                let message = alert["message"].as_str().unwrap_or("–");
                rows.push(("alert", format!("{message}, since {}", alert["since"].as_str().unwrap_or("–"))));
            }
        }
    }
    rows.iter().map(|(name, value)| format!("{name:<10} {value}")).collect::<Vec<_>>().join("\n")
}
