//! Messages of the supervisor room.
//!
//! | message | sender | reply | meaning |
//! |---|---|---|---|
//! | [`ChildDown`] | a room's obituary, an engine thread | – | a room is gone, by panic or not |
//! | [`EngineBegan`] | engine thread | – | it takes work now |
//! | [`ModelChanged`] | model | when every handler knows | the model is loading, ready, failed or unloaded |
//! | [`CanaryChanged`] | model | – | the canary's word has changed |
//! | [`AlertChanged`] | alert | – | something fires or is over |
//! | [`SampleTaken`](super::monitor::SampleTaken) | monitor | – | a tick is over |
//! | [`Act`] | alert | – | a step of the ladder from alert to action is due |
//! | [`Reload`] | signals, http | what it did, or all that is wrong | read the configuration again |
//! | [`Record`] | signals | – | write the flight recorder to a file |
//! | [`Stop`] | signals | – | leave, in order |

mod actor;
mod manager;
mod record;
mod reload;
mod say;
mod stop;
#[cfg(test)]
#[cfg(feature = "test-hooks")]
mod tests;
mod watch;

use std::sync::Arc;

use actix::Message;
use serde::Serialize;

use super::alert::AlertsView;
use super::model::ServedModel;
use crate::core::alert::{Action, RuleName};
use crate::core::standing::{Prefer, Standing};
use crate::core::status::{CanaryState, Room};
use crate::engine::LoadError;

pub use actor::{EXIT_SOFTWARE, Factories, Ground, Supervisor, exit_code_of};
pub use reload::ReadConfig;
pub use stop::{ABORT_GRACE, EXIT_OK};

/// A room is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChildDown {
    /// Which.
    pub room: Room,
    /// The number of the thread, for the engine.
    pub thread: usize,
    /// Whether it died of a panic.
    pub crashed: bool,
}

/// An engine thread takes work now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct EngineBegan {
    /// The number of the thread.
    pub thread: usize,
}

/// What happened to the model.
#[derive(Message)]
#[rtype(result = "()")]
pub enum ModelChanged {
    /// A load has begun.
    Loading,
    /// It is loaded and warm.
    Ready(Arc<ServedModel>),
    /// It could not be loaded.
    Failed(LoadError),
    /// It was taken out.
    Unloaded,
    /// Something else is known of its quantised form.
    Stands(Arc<Qualification>),
}

/// What is known of the quantised form, for whoever asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Qualification {
    /// Which form is to be served.
    pub prefer: Prefer,
    /// What is known.
    pub standing: Standing,
    /// Whether a swap is watched, and may be taken back.
    pub is_watched: bool,
}

/// The canary's word has changed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CanaryChanged(pub CanaryState);

/// Something fires or is over.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct AlertChanged(pub Arc<AlertsView>);

/// Leave, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop {
    /// What asked for it, for the log.
    pub why: &'static str,
    /// The process's exit code.
    pub code: i32,
}

/// A step of the ladder from alert to action is due.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Act {
    /// What is to be done.
    pub action: Action,
    /// The rule that has it so.
    pub alert: RuleName,
}

/// Read the configuration again.
#[derive(Debug, Message)]
#[rtype(result = "Result<Reloaded, Vec<String>>")]
pub struct Reload {
    /// What asked for it, for the log.
    pub why: &'static str,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Keys that take effect now.
    pub applied: Vec<String>,
    /// Keys that take effect with the next start.
    pub restart: Vec<String>,
}

/// Write the flight recorder to a file.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Record;

/// Panic, to show what follows.
#[cfg(feature = "test-hooks")]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PanicIn(pub Room);
