//! What outlives a restart: receipts of candidates that were measured, and candidates that are refused because they did
//! worse in service.
//!
//! The files are read at every question, so that what `edge-service qualify` has written meanwhile counts. What cannot be
//! written is kept in memory until it can.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attempt::Attempts;
use crate::core::qualify::{Key, stands};
use crate::core::standing::{Receipt, Relapse};
use crate::state::StateDirectory;

/// The file of receipts.
pub const RECEIPTS: &str = "qualification.json";
/// The file of candidates that are refused.
pub const REFUSED: &str = "refused.json";
/// The version of both files' form.
const FORM: u32 = 1;
/// How many entries a file has; then the oldest is forgotten.
const MOST: usize = 16;

/// Receipts and refusals.
pub struct Receipts {
    state: Arc<StateDirectory>,
    runtime: String,
    attempts: Attempts,
    unwritten: Mutex<Unwritten>,
    /// Held while the files are changed, and by nobody whom others wait for.
    writing: Mutex<()>,
}

#[derive(Clone, Default)]
struct Unwritten {
    receipts: Vec<Receipt>,
    relapses: Vec<Relapse>,
}

impl Receipts {
    /// Those of a state directory, for this version of ONNX Runtime.
    pub fn new(state: Arc<StateDirectory>, runtime: &str) -> Receipts {
        let attempts = Attempts::new(Arc::clone(&state));
        let (unwritten, writing) = (Mutex::default(), Mutex::default());
        Receipts { state, runtime: runtime.to_owned(), attempts, unwritten, writing }
    }

    /// Measurings under way.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// The version of ONNX Runtime.
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a file holds; none where it cannot be read now, and must not be written over.
    fn whole<T: DeserializeOwned>(&self, file: &str) -> Option<Vec<T>> {
        let recovered = self.state.load(file, FORM);
        if let Some(notice) = recovered.notice {
            tracing::warn!(event = "state_unreadable", "{notice}");
        }
        (!recovered.is_left).then(|| recovered.value.unwrap_or_default())
    }

    fn read<T: DeserializeOwned>(&self, file: &str) -> Vec<T> {
        self.whole(file).unwrap_or_default()
    }

    /// The receipt that stands for this key, where there is one.
    pub fn find(&self, key: &Key, max_seconds: f64) -> Option<Receipt> {
        let mut all: Vec<Receipt> = self.read(RECEIPTS);
        all.extend(self.unwritten().receipts.iter().cloned());
        all.into_iter()
            .rev()
            .find(|receipt| stands(&receipt.key, &receipt.measured, receipt.allowed_seconds, key, max_seconds))
    }

    /// Keeps a receipt, in the place of one for the same key; one that was made otherwise, such as by the command with other
    /// frames, stands beside it.
    pub fn keep(&self, receipt: Receipt) {
        self.unwritten().receipts.push(receipt);
        self.settle();
    }

    /// Forgets every receipt of a candidate, and that measuring it was cut off.
    pub fn forget(&self, candidate: &str) {
        self.attempts.forget(candidate);
        self.unwritten().receipts.retain(|receipt| receipt.key.candidate != candidate);
        self.take_out(RECEIPTS, |receipt: &Receipt| receipt.key.candidate == candidate);
    }

    /// Why this candidate is refused, where it is.
    pub fn relapse(&self, candidate: &str) -> Option<Relapse> {
        let unwritten = self.unwritten().relapses.iter().find(|relapse| relapse.candidate == candidate).cloned();
        unwritten.or_else(|| self.read(REFUSED).into_iter().find(|relapse: &Relapse| relapse.candidate == candidate))
    }

    /// Refuses a candidate from now on; it is written by [`Receipts::settle`], where a wait for the disk does no harm.
    pub fn refuse(&self, relapse: Relapse) {
        self.unwritten().relapses.push(relapse);
    }

    /// Refuses this candidate no longer; whether it was refused.
    pub fn forgive(&self, candidate: &str) -> bool {
        let is_known = self.relapse(candidate).is_some();
        self.unwritten().relapses.retain(|relapse| relapse.candidate != candidate);
        self.take_out(REFUSED, |relapse: &Relapse| relapse.candidate == candidate);
        is_known
    }

    /// Writes what is in memory only. Blocks until the disk has it; who adds to it meanwhile does not.
    pub fn settle(&self) {
        let _writing = self.writing();
        let Unwritten { receipts, relapses } = self.unwritten().clone();
        if self.add(RECEIPTS, &receipts, |one, other| one.key == other.key) {
            self.unwritten().receipts.retain(|receipt| !receipts.contains(receipt));
        }
        if self.add(REFUSED, &relapses, |one, other| one.candidate == other.candidate) {
            self.unwritten().relapses.retain(|relapse| !relapses.contains(relapse));
        }
    }

    /// Puts new entries in the place of those for the same; whether the file has them.
    fn add<T>(&self, file: &str, new: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool
    where
        T: Clone + Serialize + DeserializeOwned,
    {
        let Some(mut all) = Some(file).filter(|_| !new.is_empty()).and_then(|file| self.whole::<T>(file)) else {
            return false;
        };
        for one in new {
            all.retain(|other| !is_same(one, other));
            all.push(one.clone());
        }
        all.drain(..all.len().saturating_sub(MOST));
        self.say(self.state.save(file, &all, FORM))
    }

    fn take_out<T: Serialize + DeserializeOwned>(&self, file: &str, is_out: impl Fn(&T) -> bool) {
        let _writing = self.writing();
        let before: Vec<T> = self.read(file);
        let after: Vec<&T> = before.iter().filter(|one| !is_out(one)).collect();
        if after.len() < before.len() {
            self.say(self.state.save(file, &after, FORM));
        }
    }

    fn say(&self, saved: Result<(), crate::state::StateError>) -> bool {
        if let Err(error) = &saved {
            tracing::warn!(event = "state_not_written", "{error}");
        }
        saved.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};
    use crate::core::qualify::Measured;

    fn at(folder: &std::path::Path) -> Receipts {
        let mut config = Config::default();
        config.server.state_directory = Some(folder.to_owned());
        Receipts::new(Arc::new(StateDirectory::open(&config, &Environment::new())), "1.31.1")
    }

    fn receipt(candidate: &str, threads: usize) -> Receipt {
        let key = Key {
            original: "original".to_owned(),
            candidate: candidate.to_owned(),
            runtime: "1.31.1".to_owned(),
            cpu: "x86_64".to_owned(),
            threads,
            session: String::new(),
            samples: String::new(),
        };
        let measured = Measured { agreement: Some(0.1 + 0.2), seconds: 1.5, ..Measured::default() };
        Receipt { key, measured, at_ms: 7, allowed_seconds: 60.0 }
    }

    fn relapse(candidate: &str) -> Relapse {
        Relapse { candidate: candidate.to_owned(), reason: "canary".to_owned(), at_ms: 7 }
    }

    #[test]
    fn a_receipt_is_found_by_its_key_after_a_restart_and_none_for_another_key_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let receipts = at(folder.path());
        receipts.keep(receipt("a", 1));
        receipts.keep(receipt("b", 1));
        receipts.keep(receipt("a", 2));
        receipts.keep(Receipt { at_ms: 8, ..receipt("a", 2) });
        let again = at(folder.path());
        assert_eq!(again.find(&receipt("a", 2).key, 60.0), Some(Receipt { at_ms: 8, ..receipt("a", 2) }));
        assert_eq!(again.find(&receipt("a", 1).key, 60.0), Some(receipt("a", 1)));
        assert_eq!(again.find(&receipt("a", 3).key, 60.0), None);
        assert_eq!(again.read::<Receipt>(RECEIPTS).len(), 3, "one a key");
        assert_eq!(again.find(&receipt("b", 1).key, 60.0), Some(receipt("b", 1)));
        again.forget("a");
        assert_eq!((again.find(&receipt("a", 2).key, 60.0), receipts.find(&receipt("a", 2).key, 60.0)), (None, None));
    }

    #[test]
    fn the_oldest_receipts_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let receipts = at(folder.path());
        (0..=MOST).for_each(|number| receipts.keep(receipt(&number.to_string(), 1)));
        assert_eq!(receipts.find(&receipt("0", 1).key, 60.0), None);
        assert!(receipts.find(&receipt(&MOST.to_string(), 1).key, 60.0).is_some());
    }

    #[test]
    fn a_candidate_stays_refused_over_a_restart_until_it_is_forgiven() {
        let folder = tempfile::tempdir().unwrap();
        let receipts = at(folder.path());
        receipts.refuse(relapse("a"));
        assert_eq!(receipts.relapse("a"), Some(relapse("a")));
        assert_eq!(at(folder.path()).relapse("a"), None, "not written yet");
        receipts.settle();
        let again = at(folder.path());
        assert_eq!((again.relapse("a"), again.relapse("b")), (Some(relapse("a")), None));
        assert!(again.forgive("a") && !again.forgive("a"));
        assert_eq!(receipts.relapse("a"), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_set_aside_and_one_that_cannot_be_written_is_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(RECEIPTS), "{").unwrap();
        let receipts = at(folder.path());
        assert_eq!(receipts.find(&receipt("a", 1).key, 60.0), None);
        assert!(folder.path().join(format!("{RECEIPTS}.unreadable-1")).exists());
        let none = Receipts::new(Arc::new(StateDirectory::in_memory()), "1.31.1");
        none.keep(receipt("a", 1));
        none.refuse(relapse("b"));
        none.settle();
        assert!(none.find(&receipt("a", 1).key, 60.0).is_some() && none.relapse("b").is_some());
    }

    #[test]
    fn a_file_that_cannot_be_read_now_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let receipts = at(folder.path());
        receipts.keep(receipt("a", 1));
        let (file, elsewhere) = (folder.path().join(RECEIPTS), folder.path().join("elsewhere"));
        std::fs::rename(&file, &elsewhere).unwrap();
        // A link to itself: the system reads it no more than a disk that fails.
        std::os::unix::fs::symlink(&file, &file).unwrap();
        receipts.keep(receipt("b", 1));
        assert!(receipts.find(&receipt("b", 1).key, 60.0).is_some(), "it is in memory");
        assert_eq!(receipts.find(&receipt("a", 1).key, 60.0), None);
        std::fs::rename(&elsewhere, &file).unwrap();
        receipts.settle();
        assert!(["a", "b"].iter().all(|name| at(folder.path()).find(&receipt(name, 1).key, 60.0).is_some()));
    }
}
