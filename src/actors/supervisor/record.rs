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
use crate::state::StateError;

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
            let mut written = Written { why, at: rfc3339(SystemTime::now()), recording: board.recording() };
            let file = occasion.file();
            let saved = save_newest(&mut written, |written| state.save(file, written, FORM));
            let why = &written.why;
            match (saved, state.path()) {
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

/// Saves what there is, or the newer half of it, and so on, until it is not too large for a file.
fn save_newest(written: &mut Written, save: impl Fn(&Written) -> Result<(), StateError>) -> Result<(), StateError> {
    loop {
        let Recording { requests, samples } = &written.recording;
        let (requests, samples) = (requests.len(), samples.len());
        match save(written) {
            Err(StateError::TooLarge { .. }) if requests + samples > 1 => {
                written.recording.requests.drain(..requests / 2);
                written.recording.samples.drain(..samples / 2);
            }
            outcome => return outcome,
        }
    }
}

impl Handler<Record> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Record, _: &mut Self::Context) {
        self.write_recording(Occasion::Signal, "SIGUSR1".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::recorder::Entry;

    #[test]
    fn a_recording_too_large_for_a_file_loses_its_oldest_part() {
        let requests = (1..=100_000).map(|number| Entry { number, ..Entry::default() }).collect();
        let recording = Recording { requests, samples: Vec::new() };
        let mut written = Written { why: String::new(), at: String::new(), recording };
        let too_large = |bytes| Err(StateError::TooLarge { name: String::new(), bytes });
        let bytes = |written: &Written| serde_json::to_vec(written).unwrap().len();
        let limit = bytes(&written) / 3;
        save_newest(&mut written, |written| if bytes(written) > limit { too_large(bytes(written)) } else { Ok(()) })
            .unwrap();
        let kept = &written.recording.requests;
        assert_eq!((kept.len(), kept.last().unwrap().number), (25_000, 100_000));
        assert!(save_newest(&mut written, |written| too_large(bytes(written))).is_err(), "it comes to an end");
    }
}
