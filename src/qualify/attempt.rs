//! Measurings that were begun: one during which the process ended, twice since the box was started, may well have been the
//! reason, for want of memory or by a crash of the runtime, and is not begun again unasked.

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
/// So often in a row it is tried: once may be a stop that came too late, or somebody's `kill`.
const TRIES: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    key: Key,
    process: u32,
    /// Which start of the box it was: a power cut says nothing.
    #[serde(default)]
    boot: String,
    /// How often in a row, this one included.
    #[serde(default)]
    times: u32,
}

impl Begun {
    /// Whether its process ended before it did, since the box was started.
    fn is_cut_off(&self) -> bool {
        // In a container every process after a restart may have the number of the one before.
        let own = self.process == std::process::id();
        self.boot == boot() && (own || !Path::new("/proc").join(self.process.to_string()).exists())
    }
}

/// What tells this start of the box from any other; empty where the system does not say.
fn boot() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    told.trim().to_owned()
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
            let before = all.iter().find(|begun| begun.key == *key && begun.is_cut_off());
            let times = before.map_or(0, |begun| begun.times) + 1;
            all.retain(|begun| begun.key != *key);
            all.push(Begun { key: key.clone(), process: std::process::id(), boot: boot(), times });
        });
        Attempt { attempts: self, key: key.clone() }
    }

    /// Whether the last measurings of this ended with their process.
    pub fn was_cut_off(&self, key: &Key) -> bool {
        let own = self.own();
        let all = self.all();
        let mut cut_off = all.iter().filter(|begun| begun.times >= TRIES && begun.is_cut_off());
        !own.contains(key) && cut_off.any(|begun| begun.key == *key)
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
    fn one_during_which_the_process_ended_twice_is_known_to_the_next_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        // As where the process ends: nothing is dropped.
        for _ in 0..2 {
            let process = at(folder.path());
            assert!(!process.was_cut_off(&key("a")), "once may be anything");
            std::mem::forget(process.begin(&key("a")));
            assert!(!process.was_cut_off(&key("a")), "it is under way");
        }
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
        let begun = |name: &str, process| Begun { key: key(name), process, boot: boot(), times: TRIES };
        attempts.change(|all| all.push(begun("a", 1)));
        attempts.change(|all| all.push(begun("b", u32::MAX)));
        attempts.change(|all| all.push(Begun { boot: "before the power came back".into(), ..begun("c", u32::MAX) }));
        assert!(!attempts.was_cut_off(&key("a")) && attempts.was_cut_off(&key("b")));
        assert!(!attempts.was_cut_off(&key("c")));
    }
}
