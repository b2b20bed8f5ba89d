//! The log: text or JSON on standard error, and a line for every panic.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogConfig, LogFormat};

/// Starts the log and the panic hook; once a process.
///
/// # Errors
/// One line: the level cannot be read, or a log was started before.
pub fn start(config: &LogConfig) -> Result<(), String> {
    // What libraries do between their warnings is their own business.
    let directives = format!("ort=warn,actix_server=warn,{}", config.level);
    let filter = EnvFilter::try_new(&directives).map_err(|error| format!("log.level: {error}"))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_span_events(FmtSpan::NONE);
    match config.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    }
    .map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Warnings and errors only, as text: for commands that answer on standard output.
///
/// # Errors
/// One line: a log was started before.
pub fn start_quiet() -> Result<(), String> {
    start(&LogConfig { level: "warn".to_owned(), ..LogConfig::default() })
}

fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let message = info.payload_as_str().unwrap_or("no message");
    let thread = std::thread::current();
    tracing::error!(event = "panic", place, thread = thread.name().unwrap_or("unnamed"), "panic: {message}");
}
