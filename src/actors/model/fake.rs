//! A house of models without a runtime, for tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::choose::choose;
use super::load::{Loader, SessionLoader};
use crate::config::{Config, Environment, ModelConfig};
use crate::core::standing::Standing;
use crate::core::tensor::ModelSpec;
use crate::engine::cancel::Cancel;
use crate::engine::fake::FakeSession;
use crate::engine::{LoadError, Session};
use crate::qualify::Receipts;
use crate::state::StateDirectory;
use crate::trial::Within;

type Made = dyn Fn(&Path, Option<usize>, &Cancel) + Send + Sync;

/// Takes any file for a model, and tells when a session is made, with the threads that it is to have for measuring.
struct FakeLoader {
    receipts: Receipts,
    made: Box<Made>,
}

impl Loader for FakeLoader {
    fn try_out(&self, _: &Path, _: &str, _: Option<Within<'_>>) -> Result<(), LoadError> {
        Ok(())
    }

    fn session(&self, path: &Path, cancel: &Cancel) -> Result<Box<dyn Session>, LoadError> {
        (self.made)(path, None, cancel);
        Ok(Box::new(FakeSession { spec: ModelSpec::default(), takes: Duration::ZERO }))
    }

    fn light_session(&self, path: &Path, threads: usize, cancel: &Cancel) -> Result<Box<dyn Session>, LoadError> {
        (self.made)(path, Some(threads), cancel);
        Ok(Box::new(FakeSession { spec: ModelSpec::default(), takes: Duration::ZERO }))
    }

    fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    fn leave(&self) {}
}

/// An original, a quantised form of it, and a folder for what is known of them.
pub(super) struct House {
    pub(super) folder: tempfile::TempDir,
    pub(super) config: ModelConfig,
}

impl House {
    pub(super) fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default().model;
        config.path = folder.path().join("net.onnx");
        std::fs::write(&config.path, b"original").unwrap();
        std::fs::write(config.beside(), b"quantised").unwrap();
        House { folder, config }
    }

    /// A loader as one process has it.
    pub(super) fn loader(&self, made: impl Fn(&Path, Option<usize>, &Cancel) + Send + Sync + 'static) -> SessionLoader {
        let mut config = Config::default();
        config.server.state_directory = Some(self.folder.path().join("state"));
        let state = Arc::new(StateDirectory::open(&config, &Environment::new()));
        Arc::new(FakeLoader { receipts: Receipts::new(state, "1.31.1"), made: Box::new(made) })
    }

    pub(super) fn standing(&self, loader: &SessionLoader) -> Standing {
        choose(&self.config, loader).unwrap().standing
    }
}
