//! A model is tried in a child process before the daemon loads it: a file that crashes ONNX Runtime, or keeps it for
//! ever, costs the child and not the daemon.
//!
//! The child is this binary with the hidden command `try-model`. A file that has passed is remembered by its SHA-256 and
//! the runtime's version, so a restart with the same file costs no second load.

mod child;
mod judge;
mod memory;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::core::standing::Prefer;
use crate::engine::LoadError;
use crate::engine::cancel::Cancel;
use crate::state::StateDirectory;

use judge::{Ended, Verdict, judge};
use memory::Memory;

pub use child::restrain;
pub use judge::{EXIT_MISSING, EXIT_PASSED, EXIT_UNUSABLE, REASON};

/// The hidden command of the binary.
pub const COMMAND: &str = "try-model";

/// How much longer than its own limit the child gets: what it can end by itself it explains better.
const GRACE: Duration = Duration::from_millis(500);
/// Between two looks at whether the daemon leaves meanwhile.
const TICK: Duration = Duration::from_millis(50);
/// The most that is kept of what the child says, in bytes: the end of it.
const MOST_SAID: usize = 64 << 10;

/// What the child is told, on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The model as it is to be loaded: the file under trial, one session, the library that the daemon has open.
    pub model: ModelConfig,
    /// The daemon: the child ends with it.
    pub parent: u32,
}

/// What a trial for measuring is held to.
pub struct Within<'a> {
    /// The threads that the session will have.
    pub threads: usize,
    /// The longest that it may take.
    pub limit: Duration,
    /// The switch that ends it.
    pub cancel: &'a Cancel,
}

/// The bench on which models are tried.
pub struct Trials {
    model: ModelConfig,
    memory: Memory,
    leaving: AtomicBool,
}

impl Trials {
    /// A bench for the model of this configuration, on the runtime that was opened from `library`.
    pub fn new(config: &ModelConfig, library: &Path, version: &str, state: Arc<StateDirectory>) -> Trials {
        let model = ModelConfig {
            runtime_library: Some(library.to_owned()),
            sha256: None,
            quantized_path: None,
            prefer: Prefer::Original,
            sessions: 1,
            ..config.clone()
        };
        Trials { model, memory: Memory::new(state, version), leaving: AtomicBool::new(false) }
    }

    /// Tries the file, whose SHA-256 this is, unless it has passed before or trials are switched off; within those bounds, or
    /// as it will be loaded.
    ///
    /// # Errors
    /// [`LoadError`]: it crashes the runtime, keeps it too long, or cannot be used.
    pub fn try_out(&self, path: &Path, sha256: &str, within: Option<Within<'_>>) -> Result<(), LoadError> {
        // A file that was tried without its ZipMap was not tried with it.
        let form = if self.model.keep_zipmap { format!("{sha256} as it is") } else { sha256.to_owned() };
        if !self.model.trial || self.memory.knows(&form) {
            return Ok(());
        }
        let shown = || path.display().to_string();
        let begun = Instant::now();
        match self.run(path, within) {
            Verdict::Passed => {
                let took_ms = begun.elapsed().as_millis();
                tracing::debug!(event = "model_tried", took_ms, "{} has passed its trial", path.display());
                self.memory.remember(&form);
                Ok(())
            }
            Verdict::Missing(reason) => Err(LoadError::Missing { path: shown(), reason }),
            Verdict::Unusable(reason) => Err(LoadError::Unusable { path: shown(), reason }),
            Verdict::NotTried(reason) => {
                tracing::warn!(event = "model_not_tried", "{} is loaded without a trial: {reason}", path.display());
                Ok(())
            }
        }
    }

    /// Ends a trial that is under way, and all later ones at once: the daemon leaves.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    fn run(&self, path: &Path, within: Option<Within<'_>>) -> Verdict {
        let mut model = ModelConfig { path: path.to_owned(), ..self.model.clone() };
        if let Some(within) = &within {
            model.threads = within.threads;
            model.load_timeout_seconds = model.load_timeout_seconds.min(within.limit.as_secs_f64());
        }
        let limit = Duration::from_secs_f64(model.load_timeout_seconds);
        let order = Order { model, parent: std::process::id() };
        match self.watch(&order, limit + GRACE, within.map(|within| within.cancel)) {
            Ok((ended, said)) => judge(&ended, &said, limit),
            Err(error) => Verdict::NotTried(format!("the system gives no child process for it: {error}")),
        }
    }

    /// Starts the child and waits for its end, or brings it about.
    fn watch(&self, order: &Order, limit: Duration, cancel: Option<&Cancel>) -> std::io::Result<(Ended, String)> {
        let until = Instant::now() + limit;
        let order_text = serde_json::to_vec(order)?;
        let (mut mouth, ear) = UnixStream::pair()?;
        mouth.set_read_timeout(Some(TICK))?;
        let ear = OwnedFd::from(ear);
        // The link leads to this very binary, also when an upgrade has put another one in its place.
        let child = Command::new("/proc/self/exe")
            .arg0("edge-service")
            .args([COMMAND, "--model"])
            .arg(&order.model.path)
            .stdin(Stdio::piped())
            .stdout(ear.try_clone()?)
            .stderr(ear)
            .spawn()?;
        let mut child = Killed(child);
        if let Some(mut stdin) = child.0.stdin.take() {
            // A child that has ended meanwhile is judged by its end.
            let _ = stdin.write_all(&order_text);
        }
        let mut said = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            match mouth.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    said.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    // What matters comes last.
                    said.drain(..said.len().saturating_sub(MOST_SAID));
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
            if self.leaving.load(Ordering::Acquire) || cancel.is_some_and(|cancel| cancel.reason().is_some()) {
                return Ok((Ended::Dismissed, String::new()));
            }
            if Instant::now() >= until {
                return Ok((Ended::Late, String::new()));
            }
        }
        let status = child.0.wait()?;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => (Ended::Exited(code), said),
            (None, signal) => (Ended::Signalled(signal.unwrap_or(0)), said),
        })
    }
}

/// A child that is gone when this is, however it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended is not signalled: the handle knows that it was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
