//! Messages of the alert room.
//!
//! | message | sender | reply | meaning |
//! |---|---|---|---|
//! | [`Observe`] | monitor | – | the values of one sample |
//! | [`SetRules`] | supervisor | – | other rules are in force |

mod actor;
mod tell;
mod webhook;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use actix::Message;

use crate::config::Config;
use crate::core::alert::{Alert, Key, Ladder, Moment, RuleName};

pub use actor::{Alerts, AlertsParts};
pub use tell::{host_name, message, rfc3339};

/// The values of one sample, one a rule and instance.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Observe {
    /// When the sample was taken.
    pub at: Moment,
    /// What is watched and its value, where there is one.
    pub values: Vec<(Key, Option<f64>)>,
    /// Rules whose probe brought nothing this time: what they watch is without a value, and has not gone.
    pub silent: BTreeSet<RuleName>,
}

/// Other rules are in force.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetRules(pub Arc<Config>);

/// A change as it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Whether it began or ended.
    pub firing: bool,
    /// What it is about.
    pub alert: Alert,
    /// When it was told.
    pub at: SystemTime,
}

/// The state of all alerts, handed on whenever it changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertsView {
    /// What fires now.
    pub firing: Vec<Alert>,
    /// The last changes, oldest first.
    pub changes: Vec<Told>,
    /// How far each alert has come; none before the first room.
    pub ladder: Option<Ladder>,
}

/// Panic, to show what follows.
#[cfg(feature = "test-hooks")]
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;
