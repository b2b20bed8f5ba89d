//! `edge-service qualify`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::{complain, say};
use crate::actors::model::load::hash;
use crate::actors::model::measure;
use crate::config::{Config, captured_environment};
use crate::core::standing::{Receipt, Standing};
use crate::engine::cancel::Cancel;
use crate::qualify::Receipts;
use crate::state::StateDirectory;
use crate::{daemon, telemetry};

/// Exit code where there is nothing to measure (`EX_NOINPUT`).
const EXIT_NO_INPUT: u8 = 66;

/// What `qualify` takes.
#[derive(Args, Debug)]
pub struct QualifyArgs {
    /// A quantised form, once for each [default: model.quantized_path, else the _int8 file beside the model]
    #[arg(long = "candidate", value_name = "FILE")]
    candidates: Vec<PathBuf>,
    /// Real frames: a folder or a .npz [default: model.qualify.samples, else the folder "frames" beside the model]
    #[arg(long, value_name = "DIR|FILE.npz")]
    samples: Option<PathBuf>,
    /// Measure also where a receipt stands
    #[arg(long)]
    anew: bool,
    /// One JSON array, an object a candidate
    #[arg(long)]
    json: bool,
}

/// A candidate and what is known of it.
struct Row {
    candidate: PathBuf,
    standing: Standing,
}

/// Measures every candidate and keeps the receipts where the daemon finds them: 0 where each is accepted, 1 where one is
/// not, 66 where a file is missing.
pub fn qualify(config: &Config, args: &QualifyArgs) -> ExitCode {
    if let Err(error) = telemetry::start_quiet() {
        complain(&error);
    }
    let mut model = config.model.clone();
    if let Some(samples) = &args.samples {
        model.qualify.samples = Some(samples.clone());
    }
    let mut candidates = args.candidates.clone();
    if candidates.is_empty() {
        candidates.extend(model.candidate());
    }
    if candidates.is_empty() {
        let beside = model.beside();
        complain(&format!(
            "no quantised form to measure: name one with --candidate ({} is not there)",
            beside.display()
        ));
        return ExitCode::from(EXIT_NO_INPUT);
    }
    for path in std::iter::once(&model.path).chain(&candidates) {
        if let Err(error) = hash(path) {
            complain(&error);
            return ExitCode::from(EXIT_NO_INPUT);
        }
    }
    // A daemon may serve on this box meanwhile; before any thread is made, so that all of them are below it.
    measure::lower_priority();
    let state = Arc::new(StateDirectory::open(config, &captured_environment()));
    if let Some(reason) = state.memory_reason() {
        complain(&format!("the receipt is not kept: {reason}"));
    }
    let runtime = match daemon::open_runtime(&model) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    let loader = daemon::session_loader(runtime, &model, Arc::clone(&state));
    let mut rows = Vec::new();
    for candidate in candidates {
        let sha256 = hash(&candidate).unwrap_or_default();
        if args.anew {
            loader.receipts().forget(&sha256);
        }
        let standing = match measure::qualify(&model, &candidate, &loader, &Cancel::default()) {
            Ok(receipt) => Standing::by(receipt, &model.qualify.bounds()),
            Err(reason) => Standing::Unmeasured { reason },
        };
        let standing = reconciled(standing, &candidate, &sha256, args.anew, loader.receipts());
        rows.push(Row { candidate, standing });
    }
    if args.json {
        say(&Value::Array(rows.iter().map(as_json).collect()).to_string());
    } else {
        say(&table(&model.path, &rows));
    }
    if rows.iter().all(|row| row.standing.is_accepted()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The standing of one that may have been taken back: whoever measures it again and finds it good says that it may serve
/// again, and a receipt from before says nothing of that.
fn reconciled(standing: Standing, candidate: &Path, sha256: &str, anew: bool, receipts: &Receipts) -> Standing {
    let Some(relapse) = receipts.relapse(sha256).filter(|_| standing.is_accepted()) else { return standing };
    if anew || standing.receipt().is_some_and(|receipt| relapse.is_answered_by(receipt)) {
        receipts.forgive(sha256);
        complain(&format!("{} had been taken back, and is refused no longer", candidate.display()));
        return standing;
    }
    complain(&format!("{} was taken back after it was measured: measure it again with --anew", candidate.display()));
    Standing::RolledBack(relapse)
}

fn as_json(row: &Row) -> Value {
    let receipt = row.standing.receipt();
    json!({
        "candidate": row.candidate,
        "verdict": row.standing.name(),
        "reason": reason(&row.standing),
        "key": receipt.map(|receipt| &receipt.key),
        "measured": receipt.map(|receipt| &receipt.measured),
        "at_ms": receipt.map(|receipt| receipt.at_ms),
    })
}

/// What stands against it; empty where nothing does.
fn reason(standing: &Standing) -> String {
    match standing {
        Standing::Measured { verdict, .. } => verdict.objections(),
        Standing::Unmeasured { reason } => reason.clone(),
        Standing::RolledBack(relapse) => format!("it was taken back: {}", relapse.reason),
        _ => String::new(),
    }
}

fn table(original: &Path, rows: &[Row]) -> String {
    let mut lines = vec![format!("{:<12} {}", "original", original.display())];
    for row in rows {
        lines.push(String::new());
        let mut add = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
        add("candidate", row.candidate.display().to_string());
        add("verdict", row.standing.name().to_owned());
        if let Some(receipt) = row.standing.receipt() {
            figures(receipt).into_iter().for_each(|(name, value)| add(name, value));
        }
        reason(&row.standing)
            .split("; ")
            .filter(|part| !part.is_empty())
            .for_each(|part| add("because", part.to_owned()));
    }
    lines.join("\n")
}

fn figures(receipt: &Receipt) -> Vec<(&'static str, String)> {
    let measured = &receipt.measured;
    let unknown = || "–".to_owned();
    let agreement =
        measured.agreement.map(|agreement| format!("{:.2} % ({})", agreement * 100.0, measured.agreement_text));
    let speed = measured.speedup.map(|speedup| {
        format!(
            "{speedup}, {:.3} ms instead of {:.3} ms, {} pairs",
            measured.candidate_ms, measured.original_ms, speedup.pairs
        )
    });
    vec![
        ("agreement", agreement.unwrap_or_else(unknown)),
        ("speed", speed.unwrap_or_else(unknown)),
        ("frames", format!("{} real, {} left out that quantising used", measured.frames, measured.frames_used)),
        ("measured in", format!("{:.1} s, {} threads", measured.seconds, receipt.key.threads)),
    ]
}
