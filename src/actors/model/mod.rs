//! Messages of the model room.
//!
//! | message | sender | reply | meaning |
//! |---|---|---|---|
//! | [`Infer`] | http | the job's own | run the model, or refuse at once |
//! | [`Load`] | http | when it is loaded, or why not | load the file again |
//! | [`Unload`] | http | – | take the model out |
//! | [`ReviveEngine`] | supervisor | – | start a dead engine thread again |
//! | [`Chose`] | a thread of the room's own | – | the file of a load on request was looked at |
//! | [`LoadFinished`] | engine thread | – | a load has ended |
//! | [`StopModel`] | supervisor | – | no more canaries and loads |

mod actor;
mod canary;
pub mod load;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::Message;
use tokio::sync::oneshot;

use crate::core::canary::Baseline;
use crate::core::tensor::{ModelSpec, Tensor};
use crate::engine::LoadError;
use crate::engine::job::Job;
use crate::image::BoundImageModel;

pub use actor::{Model, ModelParts, Shelf, deadline};

/// The model that answers, as it was loaded.
pub struct ServedModel {
    /// The name in paths and metrics.
    pub name: String,
    /// The version in paths: digits.
    pub version: String,
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Whether it is the quantised form.
    pub quantized: bool,
    /// What it takes and gives.
    pub spec: ModelSpec,
    /// How pictures become its input, where `model.toml` says so.
    pub image: Option<BoundImageModel>,
    /// The sample that `model.toml` names.
    pub sample: Option<PathBuf>,
    /// The canary's input.
    pub canary_inputs: Vec<Tensor>,
    /// The canary's answer.
    pub baseline: Baseline,
    /// When it became ready.
    pub loaded_at: SystemTime,
    /// How long load and warm-up took.
    pub load_duration: Duration,
}

/// Run the model: the reply is in the job.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Infer(pub Job);

/// Load the configured file again; the one before serves on if that fails.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Load {
    /// Told how it ended.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// Take the model out: requests are refused until it is loaded again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unload;

/// Start an engine thread again after its death, with a load as its first work.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReviveEngine {
    /// The thread's number.
    pub thread: usize,
}

/// The file of the load on request that is under way was looked at and tried.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Chose(pub Result<load::Chosen, LoadError>);

/// A load has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LoadFinished {
    /// The model, or why there is none.
    pub result: Result<Arc<ServedModel>, LoadError>,
    /// Whoever asked for it.
    pub reply: Option<oneshot::Sender<Result<(), String>>>,
}

/// No more canaries and loads: the daemon leaves.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopModel;

/// Panic, to show what follows.
#[cfg(feature = "test-hooks")]
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;
