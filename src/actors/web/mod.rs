//! Messages of the web room.
//!
//! | message | sender | reply | meaning |
//! |---|---|---|---|
//! | [`Publish`] | supervisor | – | the snapshot has changed |
//! | [`SetDoor`] | supervisor | – | where jobs go now |
//! | [`Ping`] | supervisor | at once | does the room still answer? |
//! | [`ServerEnded`] | the server's task | – | the server is gone, and nobody asked it to go |
//! | [`KeepSample`] | supervisor | – | a tick is over |

mod actor;
mod servers;

use std::sync::Arc;

use actix::Message;

use super::board::{Door, Published};
use super::monitor::Taken;

pub use actor::{ServerFactory, Web};
pub use servers::Servers;

/// The snapshot has changed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Publish(pub Arc<Published>);

/// A tick is over.
#[derive(Message)]
#[rtype(result = "()")]
pub struct KeepSample(pub Arc<Taken>);

/// Where jobs go now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetDoor(pub Option<Door>);

/// Does the room still answer?
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ping;

/// The server is gone, and nobody asked it to go.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ServerEnded;

/// Panic, to show what follows.
#[cfg(feature = "test-hooks")]
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;
