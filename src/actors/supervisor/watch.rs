//! What the supervisor does for the rooms that watch: it hands on what they say and where they find each other.

use actix::prelude::*;

use super::AlertChanged;
use super::actor::Supervisor;
use crate::actors::monitor::{SampleTaken, SetAlerts};
use crate::actors::web::{KeepSample, Publish};

impl Supervisor {
    /// Tells the monitor where values go now.
    pub(super) fn introduce(&self) {
        if let Some(monitor) = &self.monitor {
            monitor.do_send(SetAlerts(self.alert.clone().map(Addr::recipient)));
        }
    }
}

impl Handler<SampleTaken> for Supervisor {
    type Result = ();

    fn handle(&mut self, taken: SampleTaken, _: &mut Self::Context) {
        if let Some(web) = &self.web {
            web.do_send(KeepSample(taken.0));
        }
    }
}

impl Handler<AlertChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, changed: AlertChanged, _: &mut Self::Context) {
        self.published.alerts = changed.0;
        if let Some(web) = &self.web {
            web.do_send(Publish(std::sync::Arc::new(self.published.clone())));
        }
    }
}
