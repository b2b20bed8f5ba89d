//! The settings of which form of the model is served: how it is qualified, and when it is taken back.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{DAY_SECONDS, Findings, HOUR_SECONDS};
use super::types::ModelConfig;
use crate::core::{qualify, rollback};

/// `[model.qualify]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QualifyConfig {
    /// Real frames: a folder or a `.npz`; unset: the folder `frames` beside the model, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<PathBuf>,
    /// Frames that quantising did not use, at least.
    pub min_samples: usize,
    /// Agreement with the original, at least, 0 to 1; 0: what the kind of its answers asks for.
    pub min_agreement: f64,
    /// The lower end of the speed-up's 95 % interval, at least.
    pub min_speedup: f64,
    /// Seconds that measuring one candidate may take.
    pub max_seconds: f64,
}

impl Default for QualifyConfig {
    fn default() -> Self {
        QualifyConfig { samples: None, min_samples: 32, min_agreement: 0.0, min_speedup: 1.05, max_seconds: 60.0 }
    }
}

impl QualifyConfig {
    /// What is asked of a candidate.
    pub fn bounds(&self) -> qualify::Bounds {
        qualify::Bounds {
            min_samples: self.min_samples,
            min_agreement: self.min_agreement,
            min_speedup: self.min_speedup,
        }
    }
}

/// `[model.rollback]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackConfig {
    /// Seconds after a swap in which it may be taken back; 0: never.
    pub watch_seconds: f64,
    /// Requests, before as after, from which on errors and times are compared.
    pub min_requests: u64,
    /// How much larger the share of failed requests may be than before the swap, in points of a hundred.
    pub max_errors_percent: f64,
    /// How many times as long as before the swap 95 of 100 runs may take.
    pub max_p95_ratio: f64,
}

impl Default for RollbackConfig {
    fn default() -> Self {
        RollbackConfig { watch_seconds: 300.0, min_requests: 50, max_errors_percent: 5.0, max_p95_ratio: 1.5 }
    }
}

impl RollbackConfig {
    /// When a swap is taken back.
    pub fn bounds(&self) -> rollback::Bounds {
        rollback::Bounds {
            watch: Duration::from_secs_f64(self.watch_seconds),
            min_requests: self.min_requests,
            max_errors_percent: self.max_errors_percent,
            max_p95_ratio: self.max_p95_ratio,
        }
    }
}

impl ModelConfig {
    /// The quantised form: `model.quantized_path`, else the file beside the model whose name ends in `_int8`, where there
    /// is one.
    pub fn candidate(&self) -> Option<PathBuf> {
        self.quantized_path.clone().or_else(|| Some(self.beside()).filter(|path| path.is_file()))
    }

    /// Where a quantised form is looked for that no key names.
    pub fn beside(&self) -> PathBuf {
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push("_int8.onnx");
        self.path.with_file_name(name)
    }

    /// The settings that bear on what a session answers and takes, beside its threads: the names of those that are on.
    pub fn session_options(&self) -> String {
        let all = [("spinning", self.spinning), ("memory_arena", self.memory_arena), ("keep_zipmap", self.keep_zipmap)];
        all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    }

    /// The real frames, where there are any.
    pub fn frames(&self) -> Option<PathBuf> {
        let beside = || Some(self.path.with_file_name("frames")).filter(|path| path.is_dir());
        self.qualify.samples.clone().or_else(beside)
    }
}

pub(super) fn check(model: &ModelConfig, found: &mut Findings) {
    let QualifyConfig { samples, min_samples, min_agreement, min_speedup, max_seconds } = &model.qualify;
    found.optional_path("model.qualify.samples", samples.as_deref());
    found.range("model.qualify.min_samples", *min_samples, 1, 256);
    found.range("model.qualify.min_agreement", *min_agreement, 0.0, 1.0);
    found.range("model.qualify.min_speedup", *min_speedup, 0.0, 100.0);
    found.range("model.qualify.max_seconds", *max_seconds, 0.1, HOUR_SECONDS);
    let RollbackConfig { watch_seconds, min_requests, max_errors_percent, max_p95_ratio } = &model.rollback;
    found.range("model.rollback.watch_seconds", *watch_seconds, 0.0, DAY_SECONDS);
    found.range("model.rollback.min_requests", *min_requests, 1, 100_000);
    found.range("model.rollback.max_errors_percent", *max_errors_percent, 0.0, 100.0);
    found.range("model.rollback.max_p95_ratio", *max_p95_ratio, 1.0, 1000.0);
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_quantised_form_and_frames_are_found_beside_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Config::default().model;
        model.path = folder.path().join("net.onnx");
        assert_eq!((model.candidate(), model.frames()), (None, None));
        std::fs::write(folder.path().join("net_int8.onnx"), b"").unwrap();
        std::fs::create_dir(folder.path().join("frames")).unwrap();
        assert_eq!(model.candidate(), Some(folder.path().join("net_int8.onnx")));
        assert_eq!(model.frames(), Some(folder.path().join("frames")));
        model.quantized_path = Some("other.onnx".into());
        model.qualify.samples = Some("other.npz".into());
        assert_eq!((model.candidate(), model.frames()), (Some("other.onnx".into()), Some("other.npz".into())));
    }

    #[test]
    fn what_sessions_are_made_with_is_told_in_words() {
        let mut model = Config::default().model;
        (model.spinning, model.memory_arena, model.keep_zipmap) = (false, true, true);
        assert_eq!(model.session_options(), "memory_arena keep_zipmap");
        (model.memory_arena, model.keep_zipmap) = (false, false);
        assert_eq!(model.session_options(), "");
    }

    #[test]
    fn bounds_have_a_least_and_a_most() {
        for number in [f64::NAN, -1.0, 1e300] {
            let mut config = Config::default();
            let (qualify, rollback) = (&mut config.model.qualify, &mut config.model.rollback);
            (qualify.min_agreement, qualify.min_speedup, qualify.max_seconds) = (number, number, number);
            (rollback.watch_seconds, rollback.max_errors_percent, rollback.max_p95_ratio) = (number, number, number);
            (qualify.min_samples, rollback.min_requests) = (0, 0);
            assert_eq!(crate::config::check(&config).len(), 8, "{number}");
        }
    }
}
