//! What the cases share: a copy of the shipped model with its INT8 form beside it, and the daemon that serves it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Daemon, Setup, repository};

/// Samples a second are as many as the daemon takes.
pub const INTERVAL_SECONDS: f64 = 0.2;

pub struct Stage {
    folder: tempfile::TempDir,
    daemon: Option<Daemon>,
    report: Option<Value>,
    /// Requests that the daemon has answered well, by what the cases counted.
    pub answered: u64,
}

impl Stage {
    pub fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (repository("models/digits"), folder.path().join("digits"));
        fs::create_dir(&to).unwrap();
        for name in ["model.onnx", "model.toml", "labels.txt"] {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
        for folder in ["samples", "frames"] {
            fs::create_dir(to.join(folder)).unwrap();
            for file in files(&from.join(folder)) {
                fs::copy(&file, to.join(folder).join(file.file_name().unwrap())).unwrap();
            }
        }
        Stage { folder, daemon: None, report: None, answered: 0 }
    }

    pub fn original(&self) -> PathBuf {
        self.folder.path().join("digits/model.onnx")
    }

    pub fn quantized(&self) -> PathBuf {
        self.folder.path().join("digits/model_int8.onnx")
    }

    /// The pictures that neither training nor quantising has seen, each with its digit.
    pub fn samples(&self) -> Vec<(PathBuf, char)> {
        let digit = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().chars().next().unwrap();
        files(&self.folder.path().join("digits/samples")).into_iter().map(|file| (file.clone(), digit(&file))).collect()
    }

    /// Quantises the model, once, and gives the report.
    pub fn report(&mut self) -> Value {
        if let Some(report) = &self.report {
            return report.clone();
        }
        let digits = self.folder.path().join("digits");
        let path = self.folder.path().join("report.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-service"));
        command.arg("quantize").arg("--model").arg(self.original()).arg("--output").arg(self.quantized());
        command.arg("--calibration").arg(digits.join("frames")).args(["--limit", "64", "--report"]).arg(&path);
        let output = command.current_dir(repository("")).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        self.report = Some(report.clone());
        report
    }

    /// The daemon, which serves the INT8 form; started by the case that needs it first.
    pub fn daemon(&mut self) -> &Daemon {
        self.report();
        let digits = self.folder.path().join("digits");
        let config = self.config();
        if self.daemon.is_none() {
            self.write_config(85.0);
        }
        self.daemon.get_or_insert_with(|| {
            Setup::default()
                .arg("--config")
                .arg(config.to_str().unwrap())
                .set("model.path", digits.join("model.onnx").display())
                .env("EDGE_SERVICE_QUANTIZED_MODEL_PATH", digits.join("model_int8.onnx").to_str().unwrap())
                .env("EDGE_SERVICE_USE_QUANTIZED_MODEL", "true")
                .set("monitor.interval_seconds", INTERVAL_SECONDS)
                .ready()
        })
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("edge-service.toml")
    }

    /// Writes the configuration with this threshold for memory in use, in percent.
    pub fn write_config(&self, raise_above: f64) {
        let text = format!(
            "[alerts]\nconsecutive = 2\nclear_consecutive = 2\n\
             [alerts.rules.memory]\nraise_above = {raise_above:?}\nclear_below = {raise_above:?}\n"
        );
        fs::write(self.config(), text).unwrap();
    }

    pub fn end(self) {
        if let Some(daemon) = self.daemon {
            daemon.stop();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub fn status(daemon: &Daemon) -> Value {
    daemon.get("/api/v1/monitoring/status").json()
}

/// The label of the best prediction for a picture.
pub fn classify(daemon: &Daemon, picture: &[u8]) -> String {
    let answer = daemon.post("/api/v1/frames", picture);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["predictions"][0]["label"].as_str().unwrap().to_owned()
}
