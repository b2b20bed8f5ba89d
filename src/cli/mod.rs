//! Commands to exit codes: what an operator types, and what comes back.

mod ask;
mod check;
mod health;
mod infer;
mod qualify;
mod quantize;
mod run;
mod status;
mod try_model;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Loaded, Overrides, Survey};

/// Serves one ONNX model on an edge box, watches the box, and keeps itself alive.
#[derive(Debug, Parser)]
#[command(name = "edge-service", version = version(), about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the model (what is done without a command)
    Run,
    /// Validate configuration, runtime and model, tell all that is wrong, and start nothing
    Check,
    /// Ask the running daemon whether it is ready: exit code 0 or 1
    Health,
    /// Show the running daemon, its box and its alerts
    Status(status::StatusArgs),
    /// Run pictures or .npy files through the model, here and now
    Infer(infer::InferArgs),
    /// Make an INT8 file of the model: right first, then fast
    Quantize(Box<quantize::QuantizeArgs>),
    /// Hold a quantised form of the model against the original on this box: exit code 0 where it is right and faster, else 1
    Qualify(qualify::QualifyArgs),
    /// Load a model where its crash does no harm: a child of the daemon
    #[command(hide = true, name = crate::trial::COMMAND)]
    TryModel,
}

/// Options of every command; each overrides the configuration.
#[derive(Args, Clone, Debug)]
struct Settings {
    /// Configuration file [default: /etc/edge-service/edge-service.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Model file; switches the quantised form off
    #[arg(long, global = true, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Name to serve the model under
    #[arg(long, global = true, value_name = "NAME")]
    name: Option<String>,
    /// Address and port to listen on
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

impl Settings {
    fn survey(self) -> Survey {
        let Settings { config, model, name, listen } = self;
        config::survey(&Overrides { config, model, name, listen }, &config::captured_environment())
    }
}

fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("EDGE_SERVICE_COMMIT"), ")")
}

/// Reads the command line of this process and does what it says.
pub fn main() -> ExitCode {
    let Cli { command, settings } = Cli::parse();
    match command.unwrap_or(Command::Run) {
        Command::Run => with_settings(settings.clone(), |loaded| run::run(loaded, settings)),
        Command::Check => check::check(&settings.survey()),
        Command::Health => with_address(settings, health::health),
        Command::Status(args) => with_address(settings, |config| status::status(config, &args)),
        Command::Infer(args) => with_settings(settings, |loaded| infer::infer(&loaded.config, &args)),
        Command::Qualify(args) => with_settings(settings, |loaded| qualify::qualify(&loaded.config, &args)),
        Command::Quantize(args) => quantize::quantize(settings, *args),
        Command::TryModel => try_model::try_model(),
    }
}

/// What all but `check` do: nothing with a configuration that is wrong.
fn with_settings(settings: Settings, command: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match settings.survey().into_loaded() {
        Ok(loaded) => command(loaded),
        Err(errors) => {
            complain(&errors);
            ExitCode::from(errors.exit_code())
        }
    }
}

/// What only asks the running daemon: all that it needs of a configuration is where that listens, and a mistake elsewhere
/// in the file is no reason to leave an operator without an answer.
fn with_address(settings: Settings, command: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    let survey = settings.survey();
    let knows = survey.knows("server.listen");
    if let Some(errors) = &survey.errors {
        complain(errors);
        if !knows {
            return ExitCode::from(errors.exit_code());
        }
    }
    command(&survey.loaded.config)
}

/// Text for the operator on standard error, each line with the program's name before it.
fn complain(text: &impl ToString) {
    use std::io::Write;
    for line in text.to_string().lines() {
        let _ = writeln!(std::io::stderr().lock(), "edge-service: {line}");
    }
}

/// An answer for the operator or a program on standard output; a closed pipe is no fault of ours.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
