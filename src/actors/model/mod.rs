//! Messages of the model room.
//!
//! | message | sender | reply | meaning |
//! |---|---|---|---|
//! | [`Infer`] | http | the job's own | run the model, or refuse at once |
//! | [`Load`] | http | when it is loaded, or why not | load the file again |
//! | [`Unload`] | http | whether it is out | take the model out |
//! | [`ReviveEngine`] | supervisor | whether it is started | start a dead engine thread again |
//! | [`Chose`] | a thread of the room's own | – | the file of a load on request was looked at |
//! | [`LoadFinished`] | engine thread, by the shelf | – | a load has ended |
//! | [`Ping`] | supervisor | [`Pong`], at once | does the room still answer, and the engine? |
//! | [`Requalify`] | http | at once | measure the quantised form anew, whatever is known of it |
//! | [`Qualified`] | the thread that measures | – | the quantised form was measured |
//! | [`EndSwaps`] | supervisor | – | the form that serves stays: a stop has begun |
//! | [`StopModel`] | supervisor | – | no more canaries and loads |

mod actor;
mod canary;
pub mod choose;
#[cfg(test)]
mod fake;
pub mod load;
mod loading;
pub mod measure;
mod shelf;
mod variant;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use actix::{Message, MessageResponse};
use tokio::sync::oneshot;

use crate::core::canary::Baseline;
use crate::core::standing::Standing;
use crate::core::tensor::{ModelSpec, Tensor};
use crate::engine::LoadError;
use crate::engine::job::Job;
use crate::image::BoundImageModel;

pub use actor::{Model, ModelParts, deadline};
pub use shelf::Shelf;

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
    /// What was known of the quantised form when it was loaded.
    pub standing: Standing,
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
    /// The generation of its sessions.
    pub generation: u64,
    /// When it became ready.
    pub loaded_at: SystemTime,
    /// How long load and warm-up took.
    pub load_duration: Duration,
}

/// Run the model: the reply is in the job.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Infer(pub Job);

/// How a change of the model ended, for whoever asked for it.
pub type Told = Result<(), String>;

/// Load the configured file again; the one before serves on if that fails.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Load {
    /// Told how it ended.
    pub reply: oneshot::Sender<Told>,
}

/// Take the model out: requests are refused until it is loaded again.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Unload;

/// Start an engine thread again after its death, with a load as its first work.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct ReviveEngine {
    /// The thread's number.
    pub thread: usize,
}

/// The file of the load on request that is under way was looked at and tried.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Chose {
    /// The number that it was begun with.
    pub choice: u64,
    /// What may be loaded, or why nothing may.
    pub result: Result<choose::Chosen, LoadError>,
}

/// A load, or the opposite, has ended; the shelf holds what came of it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LoadFinished {
    /// Why it failed.
    pub result: Result<(), LoadError>,
    /// Whoever asked for it.
    pub reply: Option<oneshot::Sender<Told>>,
}

/// Does the room still answer, and the engine?
#[derive(Message)]
#[rtype(result = "Pong")]
pub struct Ping;

/// The room answers.
#[derive(Debug, MessageResponse)]
pub struct Pong {
    /// Whether the canary got no answer in time.
    pub engine_silent: bool,
}

/// Measure the quantised form anew, and forget what is known of it.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub struct Requalify;

/// The quantised form was measured, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Qualified {
    /// The number that it was begun with.
    pub number: u64,
    /// What came of it.
    pub outcome: measure::Outcome,
}

/// The form that serves stays, and nothing is measured any more: the daemon is about to leave.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EndSwaps;

/// No more canaries and loads: the daemon leaves.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopModel;

/// Panic, to show what follows.
#[cfg(feature = "test-hooks")]
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;
