//! Another configuration while it runs: whole, or not at all.

use std::sync::Arc;

use actix::prelude::*;

use super::actor::Supervisor;
use super::{Reload, Reloaded};
use crate::actors::alert::SetRules;
use crate::actors::monitor::SetPace;
use crate::config::{Access, Change, Config, diff};
use crate::telemetry;

/// Reads the configuration as at the start, or says all that is wrong with it; may block.
pub type ReadConfig = Arc<dyn Fn() -> Result<(Config, Access), Vec<String>> + Send + Sync>;

impl Handler<Reload> for Supervisor {
    type Result = ResponseActFuture<Self, Result<Reloaded, Vec<String>>>;

    fn handle(&mut self, reload: Reload, _: &mut Self::Context) -> Self::Result {
        let read = Arc::clone(&self.read_config);
        let reading = async move {
            let lost = |_| Err(vec!["the configuration could not be read: see the log".to_owned()]);
            actix_rt::task::spawn_blocking(move || read()).await.unwrap_or_else(lost)
        };
        Box::pin(reading.into_actor(self).map(move |read, supervisor, _| {
            let done = read.and_then(|(config, access)| supervisor.put_in_force(&config, access));
            match &done {
                Ok(reloaded) => say(reload.why, reloaded),
                Err(problems) => problems.iter().for_each(|problem| {
                    tracing::error!(event = "reload_refused", "{problem}; nothing was changed");
                }),
            }
            done
        }))
    }
}

impl Supervisor {
    fn put_in_force(&mut self, wanted: &Config, access: Access) -> Result<Reloaded, Vec<String>> {
        if self.is_leaving() {
            return Err(vec!["the daemon is stopping".to_owned()]);
        }
        let Change { config, applied, restart } = diff(&self.board.config(), wanted, self.threads.room());
        telemetry::set_level(&config.log.level).map_err(|error| vec![error])?;
        let config = Arc::new(config);
        self.board.set_config(Arc::clone(&config));
        self.board.set_access(access);
        if let Some(monitor) = &self.monitor {
            monitor.do_send(SetPace(Arc::clone(&config)));
        }
        if let Some(alert) = &self.alert {
            alert.do_send(SetRules(config));
        }
        Ok(Reloaded { applied, restart })
    }
}

fn say(why: &'static str, reloaded: &Reloaded) {
    let Reloaded { applied, restart } = reloaded;
    let what = if applied.is_empty() { "nothing is different".to_owned() } else { applied.join(", ") };
    tracing::info!(event = "reloaded", why, applied = applied.join(","), "configuration read again ({why}): {what}");
    for key in restart {
        tracing::warn!(event = "reload_restart", key, "{key} has changed and takes effect with the next start");
    }
}
