//! How a configuration is read, from the operator's side.

mod layering;
mod limits;
mod mistakes;
mod shipped;
mod watch;

use std::path::{Path, PathBuf};

use super::{ConfigErrors, Environment, Loaded, Overrides, load_from};

/// A folder with one configuration file in it, and the environment and the command line beside it.
struct Bench {
    folder: tempfile::TempDir,
    environment: Environment,
    overrides: Overrides,
}

impl Bench {
    fn new(text: &str) -> Self {
        Bench::bytes(text.as_bytes())
    }

    fn bytes(text: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("edge.toml"), text).unwrap();
        let overrides = Overrides { config: Some(folder.path().join("edge.toml")), ..Overrides::default() };
        Bench { folder, environment: Environment::new(), overrides }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("edge.toml")
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        load_from(&self.overrides, &self.environment, Path::new("/nonexistent/edge-service.toml"))
    }

    /// What is wrong, one line each, with the file named `edge.toml`.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        match self.load() {
            Ok(loaded) => panic!("no problem was found in {loaded:?}"),
            Err(errors) => errors.to_string().lines().map(|line| line.replace(&folder, "")).collect(),
        }
    }
}
