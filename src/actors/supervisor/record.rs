//! The flight recorder's files: what the last requests and the box looked like when something happened.
//!
//! There is one file an occasion, in the state directory, and the newest takes the place of the one before: the disk can
//! never fill with them.

use std::time::{Instant, SystemTime};

use actix::prelude::*;
use serde::Serialize;

use super::Record;
use super::actor::Supervisor;
use crate::actors::alert::rfc3339;
use crate::actors::board::Recording;

/// The version of the files' form.
const FORM: u32 = 1;
/// What comes within this time of the last file of its occasion is told by that one: a box in trouble has more to do.
const REST: std::time::Duration = std::time::Duration::from_secs(10);

/// Why a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Occasion {
    /// An alert fires.
    Alert,
    /// A room or an engine thread died of a panic.
    Panic,
    /// SIGUSR1.
    Signal,
}

impl Occasion {
    fn file(self) -> &'static str {
        match self {
            Occasion::Alert => "recording-alert.json",
            Occasion::Panic => "recording-panic.json",
            Occasion::Signal => "recording-signal.json",
        }
    }
}

#[derive(Serialize)]
struct Written {
    why: String,
    at: String,
    #[serde(flatten)]
    recording: Recording,
}

impl Supervisor {
    /// Writes the recorder's content to the occasion's file, off this thread.
    pub(super) fn write_recording(&mut self, occasion: Occasion, why: String) {
        let now = Instant::now();
        let rests = occasion != Occasion::Signal
            && self.recorded.get(&occasion).is_some_and(|last| now.saturating_duration_since(*last) < REST);
        if rests {
            return;
        }
        self.recorded.insert(occasion, now);
        let (board, state) = (self.board.clone(), self.state.clone());
        drop(actix_rt::task::spawn_blocking(move || {
            let written = Written { why, at: rfc3339(SystemTime::now()), recording: board.recording() };
            let (file, why) = (occasion.file(), &written.why);
            match (state.save(file, &written, FORM), state.path()) {
                (Ok(()), Some(folder)) => {
                    let path = folder.join(file);
                    tracing::info!(event = "recorded", why, "the flight recorder was written: {}", path.display());
                }
                (Ok(()), None) => {
                    tracing::info!(
                        event = "recorded",
                        why,
                        "the flight recorder is kept in memory: no state directory"
                    );
                }
                (Err(error), _) => {
                    tracing::warn!(event = "record_failed", why, "the flight recorder could not be written: {error}");
                }
            }
        }));
    }
}

impl Handler<Record> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Record, _: &mut Self::Context) {
        self.write_recording(Occasion::Signal, "SIGUSR1".to_owned());
    }
}
