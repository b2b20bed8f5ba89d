//! Messages of the monitor room.
//!
//! | message | sender | reply | meaning |
//! |---|---|---|---|
//! | [`SetPace`] | supervisor | – | another configuration is in force |
//! | [`SetAlerts`] | supervisor | – | where values go now |
//!
//! It sends [`Observe`] to the alert room and [`SampleTaken`] to the supervisor.

mod actor;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix::{Message, Recipient};
use serde::Serialize;

use super::alert::Observe;
use crate::config::Config;
use crate::core::observe::Service;
use crate::core::sample::Sample;

pub use actor::{Monitor, MonitorParts};

/// Another configuration is in force.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct SetPace(pub Arc<Config>);

/// Where values go now, while the alert room is there.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetAlerts(pub Option<Recipient<Observe>>);

/// One tick: the box, the daemon, and when.
#[derive(Clone, Debug, Serialize)]
pub struct Taken {
    /// Its number since the start, from 1.
    pub number: u64,
    /// When, on the wall, in milliseconds since 1970.
    pub at_ms: u64,
    /// The box.
    #[serde(flatten)]
    pub sample: Sample,
    /// The daemon.
    pub service: Service,
    /// When, for ages.
    #[serde(skip)]
    pub at: Instant,
}

impl Taken {
    /// Milliseconds since 1970.
    pub fn milliseconds(time: SystemTime) -> u64 {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A tick is over.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct SampleTaken(pub Arc<Taken>);

/// Panic, to show what follows.
#[cfg(feature = "test-hooks")]
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;
