//! Measurings that were begun: one whose process ended before it did may well have been the reason, for want of memory or by
//! a crash of the runtime, and is not begun again unasked.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::core::qualify::Key;
use crate::state::StateDirectory;

/// The file of measurings under way.
pub const MEASURING: &str = "measuring.json";
/// The version of its form.
const FORM: u32 = 1;
/// How many entries it has; then the oldest is forgotten.
const MOST: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    key: Key,
    process: u32,
}

/// Measurings under way, in the state directory.
pub struct Attempts {
    state: Arc<StateDirectory>,
    /// Those of this process; held while the file is changed.
    own: Mutex<Vec<Key>>,
}

/// A measuring under way: noted until this is dropped, however it ends.
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    key: Key,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut own = self.attempts.own();
        own.retain(|key| *key != self.key);
        self.attempts.change(|all| all.retain(|begun| begun.key != self.key));
    }
}

impl Attempts {
    /// Those of a state directory.
    pub fn new(state: Arc<StateDirectory>) -> Attempts {
        Attempts { state, own: Mutex::default() }
    }

    fn own(&self) -> MutexGuard<'_, Vec<Key>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a measuring before it begins. Blocks until the disk has it.
    pub fn begin(&self, key: &Key) -> Attempt<'_> {
        let mut own = self.own();
        own.push(key.clone());
        self.change(|all| {
            all.retain(|begun| begun.key != *key);
            all.push(Begun { key: key.clone(), process: std::process::id() });
        });
        Attempt { attempts: self, key: key.clone() }
    }

    /// Whether the last measuring of this ended with its process.
    pub fn was_cut_off(&self, key: &Key) -> bool {
        let own = self.own();
        let is_over = |process: u32| {
            // In a container every process after a restart may have the number of the one before.
            process == std::process::id() || !Path::new("/proc").join(process.to_string()).exists()
        };
        !own.contains(key) && self.all().iter().any(|begun| begun.key == *key && is_over(begun.process))
    }

    /// Forgets that measurings of a candidate ended so.
    pub fn forget(&self, candidate: &str) {
        let _own = self.own();
        self.change(|all| all.retain(|begun| begun.key.candidate != candidate));
    }

    /// Takes back what this process has noted: it leaves by its own will.
    pub fn end(&self) {
        let own = std::mem::take(&mut *self.own());
        if !own.is_empty() {
            self.change(|all| all.retain(|begun| !own.contains(&begun.key)));
        }
    }

    fn all(&self) -> Vec<Begun> {
        let recovered = self.state.load(MEASURING, FORM);
        if let Some(notice) = recovered.notice {
            tracing::warn!(event = "state_unreadable", "{notice}");
        }
        recovered.value.unwrap_or_default()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Begun>)) {
        let before = self.all();
        let mut after = before.clone();
        change(&mut after);
        after.drain(..after.len().saturating_sub(MOST));
        if after != before
            && let Err(error) = self.state.save(MEASURING, &after, FORM)
        {
            tracing::warn!(event = "state_not_written", "{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn at(folder: &Path) -> Attempts {
        let mut config = Config::default();
        config.server.state_directory = Some(folder.to_owned());
        Attempts::new(Arc::new(StateDirectory::open(&config, &Environment::new())))
    }

    fn key(candidate: &str) -> Key {
        Key {
            original: "original".to_owned(),
            candidate: candidate.to_owned(),
            runtime: "1.31.1".to_owned(),
            cpu: "x86_64".to_owned(),
            threads: 1,
            session: String::new(),
            samples: String::new(),
        }
    }

    #[test]
    fn one_whose_process_ended_before_it_did_is_known_to_the_next_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let first = at(folder.path());
        assert!(!first.was_cut_off(&key("a")));
        // As where the process ends: nothing is dropped.
        std::mem::forget(first.begin(&key("a")));
        assert!(!first.was_cut_off(&key("a")), "it is under way");
        let next = at(folder.path());
        assert!(next.was_cut_off(&key("a")) && !next.was_cut_off(&key("b")));
        next.forget("a");
        assert!(!next.was_cut_off(&key("a")) && !at(folder.path()).was_cut_off(&key("a")));
    }

    #[test]
    fn one_that_ends_in_any_other_way_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let attempts = at(folder.path());
        drop(attempts.begin(&key("a")));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _attempt = attempts.begin(&key("b"));
            panic!("the test's own");
        }));
        assert!(panicked.is_err());
        std::mem::forget(attempts.begin(&key("c")));
        attempts.end();
        let next = at(folder.path());
        assert!(["a", "b", "c"].iter().all(|candidate| !next.was_cut_off(&key(candidate))));
    }

    #[test]
    fn one_of_a_process_that_lives_is_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let attempts = at(folder.path());
        // The first process of the system or the container.
        attempts.change(|all| all.push(Begun { key: key("a"), process: 1 }));
        attempts.change(|all| all.push(Begun { key: key("b"), process: u32::MAX }));
        assert!(!attempts.was_cut_off(&key("a")) && attempts.was_cut_off(&key("b")));
    }
}
