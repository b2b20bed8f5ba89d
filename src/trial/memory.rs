//! Which files have passed their trial: a short list in the state directory.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::state::StateDirectory;

/// The state file, and the version of its form.
const FILE: &str = "trials.json";
const FORM: u32 = 1;
/// How many files are remembered; then the one that passed first is forgotten.
const MOST: usize = 16;

/// A file that has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Passed {
    sha256: String,
    runtime: String,
}

pub(super) struct Memory {
    state: Arc<StateDirectory>,
    runtime: String,
    passed: Mutex<Vec<Passed>>,
}

impl Memory {
    /// The list as it is in the state directory; one that cannot be read is an empty one.
    pub(super) fn new(state: Arc<StateDirectory>, runtime: &str) -> Memory {
        let recovered = state.load(FILE, FORM);
        if let Some(notice) = recovered.notice {
            tracing::warn!(event = "state_unreadable", "{notice}");
        }
        Memory { state, runtime: runtime.to_owned(), passed: Mutex::new(recovered.value.unwrap_or_default()) }
    }

    fn entry(&self, sha256: &str) -> Passed {
        Passed { sha256: sha256.to_owned(), runtime: self.runtime.clone() }
    }

    pub(super) fn knows(&self, sha256: &str) -> bool {
        let entry = self.entry(sha256);
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).contains(&entry)
    }

    pub(super) fn remember(&self, sha256: &str) {
        let list = {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            add(&mut passed, self.entry(sha256));
            passed.clone()
        };
        if let Err(error) = self.state.save(FILE, &list, FORM) {
            tracing::warn!(event = "state_not_written", "{error}");
        }
    }
}

/// Adds the newest at the end, and drops the oldest.
fn add(list: &mut Vec<Passed>, entry: Passed) {
    list.retain(|other| *other != entry);
    list.push(entry);
    list.drain(..list.len().saturating_sub(MOST));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn at(folder: &std::path::Path) -> Arc<StateDirectory> {
        let mut config = Config::default();
        config.server.state_directory = Some(folder.to_owned());
        Arc::new(StateDirectory::open(&config, &Environment::new()))
    }

    #[test]
    fn a_file_is_known_by_its_contents_and_the_runtime() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(at(folder.path()), "1.31.1");
        assert!(!memory.knows("a"));
        memory.remember("a");
        assert!(memory.knows("a") && !memory.knows("b"));
        assert!(Memory::new(at(folder.path()), "1.31.1").knows("a"));
        assert!(!Memory::new(at(folder.path()), "1.32.0").knows("a"));
    }

    #[test]
    fn the_list_has_an_end_and_the_oldest_go_first() {
        let memory = Memory::new(Arc::new(StateDirectory::in_memory()), "1");
        for number in 0..MOST + 2 {
            memory.remember(&number.to_string());
            memory.remember("kept");
        }
        assert_eq!(memory.passed.lock().unwrap().len(), MOST);
        assert!(memory.knows("kept") && memory.knows(&(MOST + 1).to_string()) && !memory.knows("0"));
    }

    #[test]
    fn a_list_that_cannot_be_read_or_written_costs_a_trial_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let memory = Memory::new(at(folder.path()), "1");
        assert!(!memory.knows("a"));
        std::fs::create_dir_all(folder.path().join(FILE).join("in the way")).unwrap();
        memory.remember("a");
        assert!(memory.knows("a"));
    }
}
