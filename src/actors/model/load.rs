//! From a configured file to a model that is warm: runs on an engine thread, never on the event loop.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::ServedModel;
use crate::config::ModelConfig;
use crate::core::canary::{self, Baseline};
use crate::core::tensor::{ModelSpec, Tensor};
use crate::engine::cancel::{Cancel, Reason};
use crate::engine::{Call, LoadError, RunError, Session};
use crate::image::{self, BoundImageModel, ImageModel};

/// Makes sessions of a file; what stands behind it is not this room's business.
pub trait Loader: Send + Sync {
    /// Tries the file, whose SHA-256 this is, where a crash does no harm.
    ///
    /// # Errors
    /// [`LoadError`]: it must not be loaded here.
    fn try_out(&self, path: &Path, sha256: &str) -> Result<(), LoadError>;

    /// Makes one session, within `limit`.
    ///
    /// # Errors
    /// [`LoadError`]
    fn session(&self, path: &Path, limit: Duration) -> Result<Box<dyn Session>, LoadError>;

    /// Ends what [`Loader::try_out`] is doing: the daemon leaves.
    fn leave(&self);
}

/// The loader of this process.
pub type SessionLoader = Arc<dyn Loader>;

/// A model that is ready to take the place of the one before.
pub struct Loaded {
    /// One session a thread, all warm.
    pub sessions: Vec<Box<dyn Session>>,
    /// What is known of them.
    pub served: ServedModel,
}

/// A file that is the pinned one, where one is pinned, and has passed its trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    path: PathBuf,
    sha256: String,
    quantized: bool,
}

/// Loads the configured model: the quantised form where it is preferred and usable, else the original.
///
/// # Errors
/// [`LoadError`] of the original.
pub fn load(config: &ModelConfig, name: &str, loader: &SessionLoader) -> Result<Loaded, LoadError> {
    load_chosen(config, name, choose(config, loader)?, loader)
}

/// Looks at the configured files and tries one out, which takes as long as a load and needs no engine thread.
///
/// # Errors
/// [`LoadError`] of the original.
pub fn choose(config: &ModelConfig, loader: &SessionLoader) -> Result<Chosen, LoadError> {
    if config.use_quantized {
        match &config.quantized_path {
            None => leave_out("model.use_quantized is set, but model.quantized_path is not"),
            Some(path) => match examine(path, None, loader) {
                Ok(chosen) => return Ok(Chosen { quantized: true, ..chosen }),
                Err(error) => leave_out(&error.to_string()),
            },
        }
    }
    examine(&config.path, config.sha256.as_deref(), loader)
}

/// Loads the file that [`choose`] gave; the original where that was the quantised form and it does not load here.
///
/// # Errors
/// [`LoadError`] of the original.
pub fn load_chosen(
    config: &ModelConfig,
    name: &str,
    chosen: Chosen,
    loader: &SessionLoader,
) -> Result<Loaded, LoadError> {
    match load_file(config, name, &chosen, loader) {
        Err(error) if chosen.quantized => {
            leave_out(&error.to_string());
            load_file(config, name, &examine(&config.path, config.sha256.as_deref(), loader)?, loader)
        }
        result => result,
    }
}

fn leave_out(why: &str) {
    tracing::warn!(event = "quantized_left_out", "the original model is served: {why}");
}

fn examine(path: &Path, pin: Option<&str>, loader: &SessionLoader) -> Result<Chosen, LoadError> {
    let sha256 = hash(path)?;
    if let Some(pin) = pin.filter(|pin| !pin.eq_ignore_ascii_case(&sha256)) {
        let reason = format!("its SHA-256 is {sha256}, but model.sha256 asks for {pin}");
        return Err(LoadError::Unusable { path: path.display().to_string(), reason });
    }
    loader.try_out(path, &sha256)?;
    Ok(Chosen { path: path.to_owned(), sha256, quantized: false })
}

fn load_file(config: &ModelConfig, name: &str, chosen: &Chosen, loader: &SessionLoader) -> Result<Loaded, LoadError> {
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(config.load_timeout_seconds);
    let path = chosen.path.as_path();
    let unusable = |reason: String| LoadError::Unusable { path: path.display().to_string(), reason };
    let left = || until.saturating_duration_since(Instant::now());
    let mut sessions = Vec::new();
    for _ in 0..config.sessions {
        sessions.push(loader.session(path, left())?);
    }
    let Some(spec) = sessions.first().map(|session| session.spec().clone()) else {
        return Err(unusable("no session was made".to_owned()));
    };
    let (image, sample) = image_model(path, &spec).map_err(unusable)?;
    let canary_inputs = canary_inputs(image.as_ref().zip(sample.as_deref()), config, &spec).map_err(unusable)?;
    let mut baseline = None;
    for session in &mut sessions {
        let learnt = warm_up(session.as_mut(), &canary_inputs, config, until).map_err(unusable)?;
        baseline.get_or_insert(learnt);
    }
    let baseline = baseline.unwrap_or(Baseline::AnswerOnly { reason: "no session was warmed up".to_owned() });
    if let Baseline::AnswerOnly { reason } = &baseline {
        tracing::warn!(event = "canary_answer_only", "the canary asks only for an answer in time: {reason}");
    }
    let served = ServedModel {
        name: name.to_owned(),
        version: config.version.clone(),
        path: path.to_owned(),
        sha256: chosen.sha256.clone(),
        quantized: chosen.quantized,
        spec,
        image,
        sample,
        canary_inputs,
        baseline,
        loaded_at: SystemTime::now(),
        load_duration: begun.elapsed(),
    };
    Ok(Loaded { sessions, served })
}

/// The SHA-256 of a file in hexadecimal; a file that cannot be read is a missing one.
///
/// # Errors
/// [`LoadError::Missing`]
pub fn hash(path: &Path) -> Result<String, LoadError> {
    let missing = |reason: String| LoadError::Missing { path: path.display().to_string(), reason };
    let cannot = |error: std::io::Error| missing(format!("{error}; set model.path or --model"));
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(missing("it is not a file; set model.path or --model".to_owned()));
    }
    let mut file = File::open(path).map_err(cannot)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => digest.update(&buffer[..count]),
            Err(error) => return Err(missing(error.to_string())),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// How pictures become input, and the sample, as `model.toml` beside the model says.
fn image_model(path: &Path, spec: &ModelSpec) -> Result<(Option<BoundImageModel>, Option<PathBuf>), String> {
    let Some(model) = ImageModel::beside(path).map_err(|error| error.to_string())? else { return Ok((None, None)) };
    let bound = model.check(spec).map_err(|problems| format!("{}: {}", model.path().display(), problems.join("; ")))?;
    Ok((Some(bound), model.sample().map(Path::to_owned)))
}

/// The sample that `model.toml` names, else inputs made up for the model.
fn canary_inputs(
    sample: Option<(&BoundImageModel, &Path)>,
    config: &ModelConfig,
    spec: &ModelSpec,
) -> Result<Vec<Tensor>, String> {
    let Some((image, sample)) = sample else { return Ok(canary::synthetic_inputs(spec).unwrap_or_default()) };
    let limits = image::Limits { max_pixels: config.max_image_pixels };
    image::read_input(image, sample, &limits)
        .map(|tensor| vec![tensor])
        .map_err(|error| format!("the sample of model.toml, {}: {error}", sample.display()))
}

/// Two runs: the first warms the session, and what both agree on is what the canary will ask for.
fn warm_up(
    session: &mut dyn Session,
    inputs: &[Tensor],
    config: &ModelConfig,
    until: Instant,
) -> Result<Baseline, String> {
    let outputs: Vec<String> = session.spec().outputs.iter().map(|output| output.name.clone()).collect();
    let mut run = || run_within(session, inputs, &outputs, until.saturating_duration_since(Instant::now()));
    let first = run();
    let second = if first.is_ok() { run() } else { first.clone() };
    if [&first, &second].iter().any(|result| matches!(result, Err(RunError::Cancelled))) {
        return Err("it did not answer its warm-up in time; see model.load_timeout_seconds".to_owned());
    }
    let text = |result: Result<Vec<Tensor>, RunError>| result.map_err(|error| error.to_string());
    Ok(canary::learn(text(first), text(second), config.canary_tolerance))
}

fn run_within(
    session: &mut dyn Session,
    inputs: &[Tensor],
    outputs: &[String],
    limit: Duration,
) -> Result<Vec<Tensor>, RunError> {
    let cancel = Arc::new(Cancel::default());
    let (finished, watch) = mpsc::channel::<()>();
    let watched = Arc::clone(&cancel);
    let watcher = std::thread::spawn(move || {
        if watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            watched.cancel(Reason::Deadline);
        }
    });
    let result = session.run(&[Call { inputs, outputs, cancel: &cancel }]).pop();
    drop(finished);
    let _ = watcher.join();
    result.unwrap_or_else(|| Err(RunError::Graph("the session gave no answer".to_owned())))
}
