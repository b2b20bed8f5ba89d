//! Which file is to be loaded: the quantised form where it is preferred and usable, else the original.

use std::path::{Path, PathBuf};

use super::load::{SessionLoader, hash};
use crate::config::ModelConfig;
use crate::core::qualify::Key;
use crate::core::standing::{Prefer, Standing};
use crate::engine::LoadError;
use crate::engine::cpu::Cpu;
use crate::qualify::golden;

/// A file that is the pinned one, where one is pinned, and has passed its trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Whether it is the quantised form.
    pub quantized: bool,
    /// What is known of the quantised form.
    pub standing: Standing,
}

/// Looks at the configured files and tries one out, which takes as long as a load and needs no engine thread.
///
/// # Errors
/// [`LoadError`] of the original.
pub fn choose(config: &ModelConfig, loader: &SessionLoader) -> Result<Chosen, LoadError> {
    loader.receipts().settle();
    let (mut standing, candidate) = look(config, loader);
    if let Some((path, sha256)) = candidate.filter(|_| standing.is_preferred(config.prefer)) {
        match examine(&path, sha256, None, loader) {
            Ok((path, sha256)) => return Ok(Chosen { path, sha256, quantized: true, standing }),
            Err(error) => standing = Standing::Unusable { reason: error.to_string() },
        }
    }
    match (config.prefer, &standing) {
        (Prefer::Quantized, Standing::Absent { path }) => {
            leave_out(&format!(
                "model.prefer is quantized, but model.quantized_path is not set and {path} is not there"
            ));
        }
        (_, Standing::Unusable { reason }) => leave_out(reason),
        _ => {}
    }
    original(config, standing, loader)
}

/// The original, with what is known of the quantised form.
///
/// # Errors
/// [`LoadError`]
pub(super) fn original(config: &ModelConfig, standing: Standing, loader: &SessionLoader) -> Result<Chosen, LoadError> {
    let (path, sha256) = examine(&config.path, hash(&config.path)?, config.sha256.as_deref(), loader)?;
    Ok(Chosen { path, sha256, quantized: false, standing })
}

pub(super) fn leave_out(why: &str) {
    tracing::warn!(event = "quantized_left_out", "the original model is served: {why}");
}

/// What is known of the quantised form, and its file with its hash where it can be read.
fn look(config: &ModelConfig, loader: &SessionLoader) -> (Standing, Option<(PathBuf, String)>) {
    if config.prefer == Prefer::Original {
        return (Standing::Off, None);
    }
    let Some(path) = config.candidate() else {
        return (Standing::Absent { path: config.beside().display().to_string() }, None);
    };
    let sha256 = match hash(&path) {
        Ok(sha256) => sha256,
        Err(error) => return (Standing::Unusable { reason: error.to_string() }, None),
    };
    // The user's rule goes before what the daemon has seen of it.
    let relapse = loader.receipts().relapse(&sha256).filter(|_| config.prefer == Prefer::Qualified);
    let standing = match (relapse, hash(&config.path)) {
        (Some(relapse), _) => Standing::RolledBack(relapse),
        (None, Err(error)) => Standing::Unmeasured { reason: error.to_string() },
        (None, Ok(original)) => {
            if let Some(reason) = foreign(&path, &sha256, &original) {
                return (Standing::Unusable { reason }, None);
            }
            let key = key(config, original, sha256.clone(), loader);
            match loader.receipts().find(&key, config.qualify.max_seconds) {
                Some(receipt) => Standing::by(receipt, &config.qualify.bounds()),
                None if loader.receipts().attempts().was_cut_off(&key) => Standing::Unmeasured { reason: cut_off() },
                None => Standing::Measuring,
            }
        }
    };
    (standing, Some((path, sha256)))
}

fn cut_off() -> String {
    "the process ended twice while it was measured, for want of memory or by a crash of the runtime: POST /api/v1/qualify or \
     `edge-service qualify` measures it again"
        .to_owned()
}

/// Why the file is no quantised form of this original, if its contents say so: the original put in its place where quantising
/// failed, or a form of another model, such as the one before an update.
pub(super) fn foreign(path: &Path, sha256: &str, original: &str) -> Option<String> {
    if original == sha256 {
        return Some(format!("{} is the original itself: it was not quantised", path.display()));
    }
    let source = golden::source(path).filter(|source| !source.eq_ignore_ascii_case(original))?;
    Some(format!("{} was made of another file, whose SHA-256 is {source}: quantise the model again", path.display()))
}

/// What a receipt of these two files holds for, here and now.
pub(super) fn key(config: &ModelConfig, original: String, candidate: String, loader: &SessionLoader) -> Key {
    Key {
        original,
        candidate,
        runtime: loader.receipts().runtime().to_owned(),
        cpu: Cpu::detect().line(),
        threads: measuring_threads(config),
        session: config.session_options(),
        samples: golden::digest(config),
    }
}

/// Threads with which both forms are measured: those of a session, and at most half of the cores.
pub(super) fn measuring_threads(config: &ModelConfig) -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let half = (allowed / 2).max(1);
    if config.threads == 0 { half } else { config.threads.min(half) }
}

fn examine(
    path: &Path,
    sha256: String,
    pin: Option<&str>,
    loader: &SessionLoader,
) -> Result<(PathBuf, String), LoadError> {
    if let Some(pin) = pin.filter(|pin| !pin.eq_ignore_ascii_case(&sha256)) {
        let reason = format!("its SHA-256 is {sha256}, but model.sha256 asks for {pin}");
        return Err(LoadError::Unusable { path: path.display().to_string(), reason });
    }
    loader.try_out(path, &sha256, None)?;
    Ok((path.to_owned(), sha256))
}
