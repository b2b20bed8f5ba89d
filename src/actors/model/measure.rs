//! A candidate held against the original: on sessions of its own, on a thread of its own, within its time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::choose::{foreign, key, measuring_threads};
use super::load::{SessionLoader, Watch, hash, hash_until, image_model};
use crate::actors::monitor::Taken;
use crate::config::ModelConfig;
use crate::core::qualify::{Key, same_interface};
use crate::core::standing::Receipt;
use crate::engine::cancel::{Cancel, Reason};
use crate::engine::memory;
use crate::qualify::{Golden, golden, measure};
use crate::trial::Within;

/// How much lower the priority of measuring is than that of serving.
const NICENESS: libc::c_int = 10;

/// The receipt of a candidate: the one that stands, or one made now, which takes up to `model.qualify.max_seconds`.
///
/// # Errors
/// Why it could not be measured, in one line.
pub fn qualify(
    config: &ModelConfig,
    candidate: &Path,
    loader: &SessionLoader,
    cancel: &Cancel,
) -> Result<Receipt, String> {
    let begun = Instant::now();
    let limit = Duration::from_secs_f64(config.qualify.max_seconds);
    let watch = Watch::over(cancel, limit);
    let late = |reason: String| match watch.cancel.reason() {
        Some(Reason::Deadline) => "its time was over before both were loaded; see model.qualify.max_seconds".to_owned(),
        _ => reason,
    };
    let sum = |path: &Path| hash_until(path, &watch.cancel).map_err(|error| late(error.to_string()));
    let (original_sha256, candidate_sha256) = (sum(&config.path)?, sum(candidate)?);
    if let Some(reason) = foreign(candidate, &candidate_sha256, &original_sha256) {
        return Err(reason);
    }
    let key = key(config, original_sha256, candidate_sha256, loader);
    if let Some(receipt) = loader.receipts().find(&key, config.qualify.max_seconds) {
        return Ok(receipt);
    }
    let _attempt = loader.receipts().attempts().begin(&key);
    let threads = measuring_threads(config);
    let open = |path: &Path, sha256: &str| {
        let left = limit.saturating_sub(begun.elapsed());
        loader.try_out(path, sha256, Some(Within { threads, limit: left, cancel: &watch.cancel }))?;
        loader.light_session(path, threads, &watch.cancel)
    };
    let mut original = open(&config.path, &key.original).map_err(|error| late(error.to_string()))?;
    let mut other = open(candidate, &key.candidate).map_err(|error| late(error.to_string()))?;
    same_interface(original.spec(), other.spec())
        .map_err(|reason| format!("{} is no form of {}: {reason}", candidate.display(), config.path.display()))?;
    let (image, _) = image_model(&config.path, original.spec())?;
    let frames = Golden::open(config, original.spec(), image.as_ref(), golden::used(candidate));
    let mut measured = measure(original.as_mut(), other.as_mut(), frames, begun + limit, &watch.cancel);
    measured.seconds = begun.elapsed().as_secs_f64();
    if matches!(watch.cancel.reason(), Some(reason) if reason != Reason::Deadline) {
        return Err("measuring was ended".to_owned());
    }
    if keyed(config, candidate, loader, cancel) != Some(key.clone()) {
        return Err("a file was changed while it was measured: load it again".to_owned());
    }
    let at_ms = Taken::milliseconds(SystemTime::now());
    let receipt = Receipt { key, measured, at_ms, allowed_seconds: config.qualify.max_seconds };
    loader.receipts().keep(receipt.clone());
    Ok(receipt)
}

/// What a receipt of these files would hold for now, frames included.
fn keyed(config: &ModelConfig, candidate: &Path, loader: &SessionLoader, cancel: &Cancel) -> Option<Key> {
    let (original, candidate) = (hash_until(&config.path, cancel).ok()?, hash_until(candidate, cancel).ok()?);
    Some(key(config, original, candidate, loader))
}

/// What came of measuring.
pub struct Outcome {
    /// The candidate's file.
    pub candidate: PathBuf,
    /// The receipt, or why there is none.
    pub result: Result<Receipt, String>,
}

/// The thread that measures; there is at most one whose word counts.
#[derive(Default)]
pub struct Bench {
    running: Mutex<Vec<Running>>,
}

struct Running {
    cancel: Arc<Cancel>,
    /// Ends with the thread.
    ended: Option<mpsc::Receiver<()>>,
    thread: JoinHandle<()>,
}

/// Tells the outcome, also of a thread that died.
struct Teller<F: FnOnce(Outcome)> {
    candidate: PathBuf,
    tell: Option<F>,
}

impl<F: FnOnce(Outcome)> Teller<F> {
    fn say(&mut self, result: Result<Receipt, String>) {
        if let Some(tell) = self.tell.take() {
            tell(Outcome { candidate: self.candidate.clone(), result });
        }
    }
}

impl<F: FnOnce(Outcome)> Drop for Teller<F> {
    fn drop(&mut self) {
        self.say(Err("the thread that measured it died: see the log".to_owned()));
    }
}

impl Bench {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures a candidate beside whatever serves, once what was being measured before has been ended: two at once would
    /// measure each other. `anew` forgets what is known of it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn begin(
        &self,
        config: &ModelConfig,
        candidate: PathBuf,
        anew: bool,
        loader: &SessionLoader,
        tell: impl FnOnce(Outcome) + Send + 'static,
    ) -> std::io::Result<()> {
        self.end();
        let mut running = self.running();
        let before = running.last_mut().and_then(|last| last.ended.take());
        let (ends, ended) = mpsc::channel::<()>();
        let (config, loader, cancel) = (config.clone(), Arc::clone(loader), Arc::new(Cancel::default()));
        let switch = Arc::clone(&cancel);
        let thread = std::thread::Builder::new().name("qualify".to_owned()).spawn(move || {
            let _ends = ends;
            let mut teller = Teller { candidate, tell: Some(tell) };
            lower_priority();
            // Nothing is ever sent: it ends with its sender.
            before.map(|before| before.recv());
            if anew && let Ok(sha256) = hash(&teller.candidate) {
                loader.receipts().forgive(&sha256);
                loader.receipts().forget(&sha256);
            }
            let result = qualify(&config, &teller.candidate, &loader, &switch);
            memory::give_back();
            teller.say(result);
        })?;
        running.retain(|one| !one.thread.is_finished());
        running.push(Running { cancel, ended: Some(ended), thread });
        Ok(())
    }

    /// Ends what is being measured.
    pub fn end(&self) {
        self.running().iter().for_each(|one| one.cancel.cancel(Reason::Stopping));
    }

    /// Ends it and waits for its thread until `deadline`; whether it has ended.
    pub fn join(&self, deadline: Instant) -> bool {
        self.end();
        loop {
            if self.running().iter().all(|one| one.thread.is_finished()) {
                // One that panicked has said so.
                self.running().drain(..).for_each(|one| drop(one.thread.join()));
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whoever serves goes before this thread and those that it makes.
pub fn lower_priority() {
    // SAFETY: the calls take numbers only; 0 is the calling thread, which Linux ranks by itself. It is a wish, and one who
    // began lower stays there.
    let _ = unsafe {
        let own = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS.max(own))
    };
}

#[cfg(test)]
mod tests;
