//! What the supervisor says of the daemon's state, and how often.

use std::time::{Duration, Instant};

use super::actor::Supervisor;
use crate::actors::board::Board;
use crate::actors::model::ServedModel;

impl Supervisor {
    /// Says what has changed, but the same trouble only once a while.
    pub(super) fn say_readiness(&mut self, readiness: Result<(), String>) {
        match readiness {
            Ok(()) if self.said_not_ready => {
                self.said_not_ready = false;
                tracing::info!(event = "ready", "ready");
            }
            Ok(()) => {}
            // A stop that was asked for is no trouble, and has its own line.
            Err(_) if self.is_leaving() => self.said_not_ready = true,
            Err(reason) => {
                let kind = self.published.status.trouble().unwrap_or_default();
                if let Some(held_back) = self.occurred(kind) {
                    self.said_not_ready = true;
                    tracing::warn!(event = "not_ready", reason, held_back, "not ready: {reason}");
                }
            }
        }
    }

    pub(super) fn occurred(&mut self, warning: &'static str) -> Option<u64> {
        let period = Duration::from_secs_f64(self.board.config().log.repeat_seconds);
        self.warnings.entry(warning).or_default().occurred(Instant::now(), period)
    }
}

/// One line that shows a new operator an answer.
pub(super) fn greet(board: &Board, model: &ServedModel) {
    let address = board.address;
    match &model.sample {
        Some(sample) if model.image.is_some() => {
            let sample = sample.display();
            tracing::info!(event = "try", "try: curl --data-binary @{sample} http://{address}/api/v1/frames");
        }
        _ => tracing::info!(event = "try", "try: curl http://{address}/v2/models/{}", model.name),
    }
}
