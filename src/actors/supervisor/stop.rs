//! The stop, in order: not ready, accept no more, finish what was admitted, join every thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::{Stop, Supervisor};
use crate::actors::model::{EndSwaps, StopModel};
use crate::core::status::Phase;

/// Exit code after a stop that was asked for.
pub const EXIT_OK: i32 = 0;
/// Exit code of a daemon that an alert's ladder has leave (`EX_TEMPFAIL`): the service manager starts it again.
pub(super) const EXIT_TEMPORARY: i32 = 75;
/// How much longer an aborted run may take to notice, and its client to read so.
pub const ABORT_GRACE: Duration = Duration::from_secs(2);

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, stop: Stop, context: &mut Self::Context) {
        if self.is_leaving() {
            return;
        }
        tracing::info!(event = "stopping", why = stop.why, "stopping: {}", stop.why);
        self.manager.stopping();
        self.change(|status| status.phase = Phase::Stopping);
        let limit = Duration::from_secs_f64(self.board.config().server.shutdown_timeout_seconds);
        let (servers, model, threads) = (Arc::clone(&self.servers), self.model.clone(), Arc::clone(&self.threads));
        // What is being measured takes cores from those whose answers are awaited, and a swap would only be in their way.
        self.model.iter().for_each(|model| model.do_send(EndSwaps));
        let leave = self.leave.take();
        let leaving = async move {
            let deadline = Instant::now() + limit;
            if actix_rt::time::timeout(limit, servers.stop()).await.is_err() {
                tracing::warn!(
                    event = "stop_timeout",
                    "requests are still running at server.shutdown_timeout_seconds: ended"
                );
                threads.abort();
                let _ = actix_rt::time::timeout(ABORT_GRACE, servers.stop()).await;
            }
            if let Some(model) = model {
                let _ = model.send(StopModel).await;
            }
            // Nobody waits for an answer any more: what is left is a canary, or a load.
            threads.close();
            threads.abort();
            let until = deadline.max(Instant::now() + ABORT_GRACE);
            let joined = actix_rt::task::spawn_blocking(move || threads.join(until)).await.unwrap_or(false);
            if joined {
                tracing::info!(event = "stopped", "stopped: every thread has ended");
            } else {
                tracing::warn!(event = "stopped", "stopped: an engine thread did not end in time and is left behind");
            }
            leave.map(|leave| leave.send(stop.code));
        };
        context.spawn(leaving.into_actor(self));
    }
}
