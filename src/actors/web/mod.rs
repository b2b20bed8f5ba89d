//! Messages of the web room.
//!
//! | message | sender | reply | meaning |
//! |---|---|---|---|
//! | [`Publish`] | supervisor | – | the snapshot has changed |
//! | [`SetDoor`] | supervisor | – | where jobs go now |
//! | [`StopServing`] | supervisor | when the last connection is done | accept no more, finish what is there |

mod actor;

use std::sync::Arc;

use actix::Message;

use super::board::{Door, Published};

pub use actor::{ServerFactory, Web};

/// The snapshot has changed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Publish(pub Arc<Published>);

/// Where jobs go now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetDoor(pub Option<Door>);

/// Accept no more connections and finish those that are there.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopServing;

/// Panic, to show what follows.
#[cfg(feature = "test-hooks")]
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;
