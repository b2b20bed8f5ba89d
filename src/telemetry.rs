//! The log: text or JSON on standard error, and a line for every panic.

use std::fmt::{self, Write};
use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FmtSpan, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogConfig, LogFormat};

/// Starts the log and the panic hook; once a process.
///
/// # Errors
/// One line: the level cannot be read, or a log was started before.
pub fn start(config: &LogConfig) -> Result<(), String> {
    let filter = filter(&config.level)?;
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        // A line that cannot be written, on a full disk, is lost: complaining on the same stream would end the process.
        .log_internal_errors(false)
        .with_env_filter(filter);
    // The handle's type tells the form of the lines, so each form keeps it in a closure.
    let started = match config.format {
        LogFormat::Text => {
            let builder =
                builder.with_ansi(std::io::stderr().is_terminal()).event_format(Plain).with_filter_reloading();
            let handle = builder.reload_handle();
            keep(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
            builder.try_init()
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            keep(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
            builder.try_init()
        }
    };
    started.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

fn keep(set: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
    // A log is started once a process; a second start fails by itself.
    let _ = SET_FILTER.set(Box::new(set));
}

/// The target of alerts: they pass at every level, with their fields in both forms.
pub const ALERT_TARGET: &str = "alert";

/// What libraries do between their warnings is their own business, and what is no HTTP is its client's: a line for each
/// would let anybody fill the disk. An alert passes at every level.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let directives = format!("ort=warn,actix_server=warn,actix_http=off,{level},{ALERT_TARGET}=info");
    EnvFilter::try_new(&directives).map_err(|error| format!("log.level: {error}"))
}

/// Puts another `log.level` in force.
///
/// # Errors
/// One line: the level cannot be read.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    SET_FILTER.get().map_or(Ok(()), |set| set(filter))
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

/// A line for people: time, level, sentence. What programs want beside it is in the JSON form; of a warning, an error or
/// an alert it is shown here too, for whoever has nothing but this line.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        let colour = if level == Level::ERROR {
            "31"
        } else if level == Level::WARN {
            "33"
        } else if level == Level::INFO {
            "32"
        } else {
            "34"
        };
        SystemTime.format_time(&mut writer)?;
        if writer.has_ansi_escapes() {
            write!(writer, " \x1b[{colour}m{level:>5}\x1b[0m")?;
        } else {
            write!(writer, " {level:>5}")?;
        }
        let with_fields = level <= Level::WARN || event.metadata().target() == ALERT_TARGET;
        let mut line = Line { writer: &mut writer, with_fields, outcome: Ok(()) };
        event.record(&mut line);
        line.outcome?;
        writeln!(writer)
    }
}

struct Line<'a, 'b> {
    writer: &'a mut Writer<'b>,
    with_fields: bool,
    outcome: fmt::Result,
}

impl Line<'_, '_> {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        if self.outcome.is_ok() {
            self.outcome = match name {
                "message" => self.writer.write_char(' ').and_then(|()| write!(OneLine(self.writer), "{value}")),
                // It is the line's name among programs.
                "event" => Ok(()),
                // What libraries say through their own log comes with where it was said.
                _ if name.starts_with("log.") => Ok(()),
                _ if self.with_fields => write!(self.writer, " {name}={value}"),
                _ => Ok(()),
            };
        }
    }
}

/// What comes from a file or a client may hold control characters: a line stays one line, and moves no cursor.
struct OneLine<'a, 'b>(&'a mut Writer<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, piece) in text.split(char::is_control).enumerate() {
            if index > 0 {
                self.0.write_char(' ')?;
            }
            self.0.write_str(piece)?;
        }
        Ok(())
    }
}

impl Visit for Line<'_, '_> {
    /// A plain word stands as it is; whatever could be taken for something else is quoted.
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = |c: char| c.is_alphanumeric() || "-_./:+%".contains(c);
        if !value.is_empty() && value.chars().all(plain) {
            self.add(field, format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(ansi).with_writer(move || writer.clone()).event_format(Plain).finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_is_well_is_a_sentence() {
        let line = logged(false, || tracing::info!(event = "ready", model = "digits", "model '{}' is ready", "digits"));
        assert!(line.ends_with("Z  INFO model 'digits' is ready\n"), "{line:?}");
    }

    #[test]
    fn what_is_not_comes_with_its_fields() {
        let line = logged(false, || tracing::warn!(event = "refused", held_back = 3, reason = "full", "refused"));
        assert!(line.ends_with("  WARN refused held_back=3 reason=full\n"), "{line:?}");
    }

    #[test]
    fn an_alert_comes_with_its_fields_at_every_level() {
        let line = logged(false, || {
            tracing::info!(target: ALERT_TARGET, event = "alert", alert = "memory", instance = "", value = 61.5, "is well again");
        });
        assert!(line.ends_with("  INFO is well again alert=memory instance=\"\" value=61.5\n"), "{line:?}");
    }

    #[test]
    fn a_word_with_anything_odd_in_it_is_quoted() {
        let line = logged(false, || tracing::warn!(mount = "/media/a b", host = "box-1", evil = "x\n=y", "look"));
        assert!(line.ends_with("  WARN look mount=\"/media/a b\" host=box-1 evil=\"x\\n=y\"\n"), "{line:?}");
    }

    #[test]
    fn a_terminal_gets_colours_and_control_characters_are_escaped() {
        let line = logged(true, || tracing::error!(place = "a\n\x1b[2J", "d\nown: {}", "\x1b]0;x"));
        assert!(
            line.contains("\x1b[31mERROR\x1b[0m d own:  ]0;x place=") && line.matches('\x1b').count() == 2,
            "{line:?}"
        );
        assert_eq!(line.lines().count(), 1);
    }
}
