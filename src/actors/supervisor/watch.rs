//! What the supervisor does for the rooms that watch: it hands on what they say and where they find each other.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::actor::Supervisor;
use super::record::Occasion;
use super::stop::EXIT_TEMPORARY;
use super::{Act, AlertChanged, Stop};
use crate::actors::model::Load;
use crate::actors::monitor::{SampleTaken, SetAlerts};
use crate::actors::web::{KeepSample, Publish};
use crate::core::alert::{Action, Key};

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
        let before = std::mem::replace(&mut self.published.alerts, changed.0);
        let is_new = |key: &Key| !before.firing.iter().any(|alert| alert.key == *key);
        let fresh = self.published.alerts.firing.iter().find(|alert| is_new(&alert.key)).map(|alert| alert.key.rule);
        if let Some(rule) = fresh {
            self.write_recording(Occasion::Alert, format!("alert {rule}"));
        }
        if let Some(web) = &self.web {
            web.do_send(Publish(std::sync::Arc::new(self.published.clone())));
        }
    }
}

impl Handler<Act> for Supervisor {
    type Result = ();

    fn handle(&mut self, act: Act, context: &mut Self::Context) {
        let Act { action, alert } = act;
        if self.is_leaving() {
            return;
        }
        let what = match action {
            Action::Shed => "new requests are refused until it is over",
            Action::Admit => "new requests are taken again",
            Action::Recycle => "the model gets a fresh session",
            Action::Exit => "the daemon leaves, to be started again",
        };
        tracing::warn!(event = "alert_action", alert = alert.name(), action = action.name(), "alert {alert}: {what}");
        match action {
            Action::Shed => self.board.shed(Some(format!("the alert {alert} fires"))),
            Action::Admit => self.board.shed(None),
            Action::Recycle => self.recycle(),
            Action::Exit => {
                context.notify(Stop { why: "an alert that goes on", code: EXIT_TEMPORARY });
            }
        }
    }
}

impl Supervisor {
    /// The session that serves goes on until the fresh one is warm, and longer where that fails.
    fn recycle(&self) {
        let Some(model) = &self.model else { return };
        let (reply, told) = oneshot::channel();
        model.do_send(Load { reply });
        actix_rt::spawn(async move {
            if !matches!(told.await, Ok(Ok(()))) {
                tracing::warn!(event = "recycle_failed", "no fresh session was to be had: the one before goes on");
            }
        });
    }
}
