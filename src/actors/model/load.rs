//! From a configured file to a model that is warm: runs on an engine thread, never on the event loop.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::ServedModel;
use super::choose::{self, Chosen, choose, leave_out};
use crate::config::ModelConfig;
use crate::core::canary::{self, Baseline};
use crate::core::standing::Standing;
use crate::core::tensor::{ModelSpec, Tensor};
use crate::engine::cancel::{Cancel, Interrupt, Reason};
use crate::engine::{Call, LoadError, RunError, Session};
use crate::image::{self, BoundImageModel, ImageModel};
use crate::onnx::side;
use crate::qualify::Receipts;
use crate::trial::Within;

/// Makes sessions of a file; what stands behind it is not this room's business.
pub trait Loader: Send + Sync {
    /// Tries the file, whose SHA-256 this is, where a crash does no harm; within those bounds, or as it will be loaded.
    ///
    /// # Errors
    /// [`LoadError`]: it must not be loaded here.
    fn try_out(&self, path: &Path, sha256: &str, within: Option<Within<'_>>) -> Result<(), LoadError>;

    /// Makes one session, until the switch ends it.
    ///
    /// # Errors
    /// [`LoadError`]
    fn session(&self, path: &Path, cancel: &Cancel) -> Result<Box<dyn Session>, LoadError>;

    /// Makes one session with so many threads, for measuring.
    ///
    /// # Errors
    /// [`LoadError`]
    fn light_session(&self, path: &Path, threads: usize, cancel: &Cancel) -> Result<Box<dyn Session>, LoadError>;

    /// What was measured on this box.
    fn receipts(&self) -> &Receipts;

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

/// Loads the configured model: the quantised form where it is preferred and usable, else the original.
///
/// # Errors
/// [`LoadError`] of the original.
pub fn load(config: &ModelConfig, name: &str, loader: &SessionLoader) -> Result<Loaded, LoadError> {
    load_until(config, name, None, loader, &Cancel::default())
}

/// Loads the file that [`choose()`] gave, or gives now, until `cancel` ends it; the original where that was the quantised
/// form and it does not load here.
///
/// # Errors
/// [`LoadError`] of the original.
pub fn load_until(
    config: &ModelConfig,
    name: &str,
    chosen: Option<Chosen>,
    loader: &SessionLoader,
    cancel: &Cancel,
) -> Result<Loaded, LoadError> {
    let chosen = chosen.map_or_else(|| choose(config, loader), Ok)?;
    match load_file(config, name, &chosen, loader, cancel) {
        Err(error) if chosen.quantized => {
            leave_out(&error.to_string());
            let standing = Standing::Unusable { reason: error.to_string() };
            let original = choose::original(config, standing, loader)?;
            load_file(config, name, &original, loader, cancel)
        }
        result => result,
    }
}

fn load_file(
    config: &ModelConfig,
    name: &str,
    chosen: &Chosen,
    loader: &SessionLoader,
    cancel: &Cancel,
) -> Result<Loaded, LoadError> {
    let unusable = |reason: String| LoadError::Unusable { path: chosen.path.display().to_string(), reason };
    let limit = Duration::from_secs_f64(config.load_timeout_seconds);
    let watch = Watch::over(cancel, limit);
    let mut loaded = make(config, name, chosen, loader, &watch.cancel);
    // What was measured is a file of these contents: one that was exchanged meanwhile is another.
    if loaded.is_ok()
        && chosen.quantized
        && hash_until(&chosen.path, &watch.cancel).ok().as_ref() != Some(&chosen.sha256)
    {
        loaded = Err(unusable("it was changed while it was loaded: load it again".to_owned()));
    }
    match watch.cancel.reason() {
        None => loaded,
        Some(Reason::Deadline) => Err(unusable(format!(
            "it was not loaded and warm within {} s; see model.load_timeout_seconds",
            limit.as_secs_f64()
        ))),
        Some(_) => Err(unusable("its load was ended by a stop".to_owned())),
    }
}

/// The switch of one file's load: ended by its limit, or by the one above it.
pub(super) struct Watch {
    /// The switch.
    pub(super) cancel: Arc<Cancel>,
    finished: Option<mpsc::Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

struct Pass(Arc<Cancel>);

impl Interrupt for Pass {
    fn interrupt(&self) {
        self.0.cancel(Reason::Stopping);
    }
}

impl Watch {
    pub(super) fn over(above: &Cancel, limit: Duration) -> Watch {
        let cancel = Arc::new(Cancel::default());
        if let Err(reason) = above.begin(Arc::new(Pass(Arc::clone(&cancel)))) {
            cancel.cancel(reason);
        }
        let (finished, watch) = mpsc::channel::<()>();
        let watched = Arc::clone(&cancel);
        let watcher = std::thread::spawn(move || {
            if watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                watched.cancel(Reason::Deadline);
            }
        });
        Watch { cancel, finished: Some(finished), watcher: Some(watcher) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.finished.take();
        self.watcher.take().map(JoinHandle::join);
    }
}

fn make(
    config: &ModelConfig,
    name: &str,
    chosen: &Chosen,
    loader: &SessionLoader,
    cancel: &Cancel,
) -> Result<Loaded, LoadError> {
    let begun = Instant::now();
    let path = chosen.path.as_path();
    let unusable = |reason: String| LoadError::Unusable { path: path.display().to_string(), reason };
    let mut sessions = Vec::new();
    for _ in 0..config.sessions {
        sessions.push(loader.session(path, cancel)?);
    }
    let Some(spec) = sessions.first().map(|session| session.spec().clone()) else {
        return Err(unusable("no session was made".to_owned()));
    };
    let (image, sample) = match image_model(path, &spec).map_err(unusable)? {
        // A quantised form in a folder of its own takes pictures as the original does.
        (None, _) if chosen.quantized => image_model(&config.path, &spec).map_err(unusable)?,
        found => found,
    };
    let canary_inputs = canary_inputs(image.as_ref().zip(sample.as_deref()), config, &spec).map_err(unusable)?;
    let mut baseline = None;
    for session in &mut sessions {
        let learnt = warm_up(session.as_mut(), &canary_inputs, config, cancel);
        baseline.get_or_insert(learnt);
    }
    let baseline = baseline.unwrap_or(Baseline::AnswerOnly { reason: "no session was warmed up".to_owned() });
    if let (Baseline::AnswerOnly { reason }, None) = (&baseline, cancel.reason()) {
        tracing::warn!(event = "canary_answer_only", "the canary asks only for an answer in time: {reason}");
    }
    let served = ServedModel {
        name: name.to_owned(),
        version: config.version.clone(),
        path: path.to_owned(),
        sha256: chosen.sha256.clone(),
        quantized: chosen.quantized,
        standing: chosen.standing.clone(),
        spec,
        image,
        sample,
        canary_inputs,
        baseline,
        generation: 0,
        loaded_at: SystemTime::now(),
        load_duration: begun.elapsed(),
    };
    Ok(Loaded { sessions, served })
}

/// The SHA-256 of a model in hexadecimal: of its file, and of the files beside it that hold contents of its tensors, one
/// after another in the order of their names. A file that cannot be read is a missing one.
///
/// # Errors
/// [`LoadError::Missing`]
pub fn hash(path: &Path) -> Result<String, LoadError> {
    hash_until(path, &Cancel::default())
}

/// [`hash()`], until the switch ends it.
///
/// # Errors
/// [`LoadError::Missing`]
pub fn hash_until(path: &Path, cancel: &Cancel) -> Result<String, LoadError> {
    let missing = |reason: String| LoadError::Missing { path: path.display().to_string(), reason };
    let cannot = |error: std::io::Error| missing(format!("{error}; set model.path or --model"));
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(missing("it is not a file; set model.path or --model".to_owned()));
    }
    let mut file = File::open(path).map_err(cannot)?;
    let mut digest = Sha256::new();
    let failed = |error: std::io::Error| missing(error.to_string());
    feed(&mut digest, &mut file, cancel).map_err(failed)?;
    for location in side::locations(&mut file).map_err(failed)? {
        let beside = path.with_file_name("").join(location);
        // One that is not there is told by whoever loads the model.
        if std::fs::metadata(&beside).is_ok_and(|about| about.is_file()) {
            let mut file = File::open(&beside).map_err(failed)?;
            feed(&mut digest, &mut file, cancel).map_err(failed)?;
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn feed(digest: &mut Sha256, file: &mut File, cancel: &Cancel) -> std::io::Result<()> {
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        if cancel.reason().is_some() {
            return Err(std::io::Error::other("reading it was ended"));
        }
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// How pictures become input, and the sample, as `model.toml` beside the model says.
pub(super) fn image_model(path: &Path, spec: &ModelSpec) -> Result<(Option<BoundImageModel>, Option<PathBuf>), String> {
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
fn warm_up(session: &mut dyn Session, inputs: &[Tensor], config: &ModelConfig, cancel: &Cancel) -> Baseline {
    let outputs: Vec<String> = session.spec().outputs.iter().map(|output| output.name.clone()).collect();
    let mut run = || {
        let answer = session.run(&[Call { inputs, outputs: &outputs, cancel }]).pop();
        let answer = answer.unwrap_or_else(|| Err(RunError::Graph("the session gave no answer".to_owned())));
        answer.map_err(|error| error.to_string())
    };
    let first = run();
    let second = if first.is_ok() { run() } else { first.clone() };
    canary::learn(first, second, config.canary_tolerance)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::actors::model::fake::House;
    use crate::core::standing::Prefer;
    use crate::onnx::file;
    use crate::onnx::proto::{GraphProto, ModelProto, TensorProto};

    fn sha256(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_hash_of_a_model_is_that_of_its_file_and_of_the_weights_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        let weights =
            TensorProto { name: Some("w".into()), raw_data: Some(vec![7; 4096].into()), ..TensorProto::default() };
        let graph = GraphProto { initializer: vec![weights], ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        assert_eq!(hash(&path).unwrap(), sha256(&model.encode_to_vec()));

        file::write_beside(&path, model).unwrap();
        let beside = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let beside = beside.filter(|other| *other != path).collect::<Vec<_>>();
        let [data] = beside.as_slice() else { panic!("{beside:?}") };
        let both = [std::fs::read(&path).unwrap(), std::fs::read(data).unwrap()].concat();
        assert_eq!(hash(&path).unwrap(), sha256(&both));
        let before = hash(&path).unwrap();
        std::fs::write(data, vec![8; 4096]).unwrap();
        assert_ne!(hash(&path).unwrap(), before, "other weights, another model");
        std::fs::remove_file(data).unwrap();
        assert_eq!(hash(&path).unwrap(), sha256(&std::fs::read(&path).unwrap()));
    }

    #[test]
    fn one_that_changes_while_it_is_loaded_is_not_what_was_measured() {
        let mut house = House::new();
        house.config.prefer = Prefer::Quantized;
        let loaded = load(&house.config, "net", &house.loader(|_, _, _| {})).unwrap();
        assert!(loaded.served.quantized);
        let beside = house.config.beside();
        let changing = house.loader(move |path, _, _| {
            if path == beside {
                std::fs::write(path, b"another").unwrap();
            }
        });
        let loaded = load(&house.config, "net", &changing).unwrap();
        assert_eq!((loaded.served.quantized, loaded.served.path), (false, house.config.path.clone()));
        let Standing::Unusable { reason } = loaded.served.standing else { panic!("{:?}", loaded.served.standing) };
        assert!(reason.contains("changed while it was loaded"), "{reason}");
    }

    #[test]
    fn a_hash_ends_with_its_switch_and_needs_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        assert!(matches!(hash(&path), Err(LoadError::Missing { .. })));
        assert!(hash(folder.path()).unwrap_err().to_string().contains("it is not a file"));
        std::fs::write(&path, b"a model").unwrap();
        let ended = Cancel::default();
        ended.cancel(Reason::Stopping);
        assert!(hash_until(&path, &ended).is_err());
    }
}
