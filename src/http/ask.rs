//! A job to the model room, and its answer, its deadline or the end of its client, whichever comes first.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::error::ApiError;
use super::record::observe_reply;
use crate::actors::board::Board;
use crate::actors::model::{Infer, ServedModel};
use crate::core::tensor::Tensor;
use crate::engine::RunError;
use crate::engine::cancel::{Cancel, Reason};
use crate::engine::job::{Asker, Job, Reply};
use crate::metrics::{Outcome, Refusal};

/// The model that answers now.
///
/// # Errors
/// There is none, the daemon is leaving, or an alert has new requests refused.
pub fn served(board: &Board) -> Result<Arc<ServedModel>, ApiError> {
    if let Some(why) = board.shedding() {
        return Err(ApiError::refused(Refusal::Shed, format!("new requests are refused while {why}")));
    }
    let published = board.published();
    match &published.model {
        Some(model) => Ok(Arc::clone(model)),
        None => {
            let reason = published.status.readiness().err().unwrap_or_else(|| "no model is loaded".to_owned());
            Err(ApiError::refused(Refusal::NotReady, reason))
        }
    }
}

/// Ends the job when its waiter goes away without an answer: a connection that closes drops its handler.
struct Waiter<'a> {
    board: &'a Board,
    cancel: Arc<Cancel>,
    answered: bool,
}

impl Waiter<'_> {
    fn end(&mut self, reason: Reason) {
        self.answered = true;
        self.cancel.cancel(reason);
        self.board.metrics.expired.with_label_values(&[reason.name()]).inc();
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.end(Reason::ClientGone);
        }
    }
}

/// Runs the model on `inputs` and gives the reply, whose result is there.
///
/// # Errors
/// Not admitted, past its deadline, lost with a room, or failed in the graph.
pub async fn ask(
    board: &Board,
    inputs: Vec<Tensor>,
    outputs: Vec<String>,
    begun: Instant,
    deadline: Instant,
) -> Result<(Vec<Tensor>, Reply), ApiError> {
    let allowed_ms = deadline.saturating_duration_since(begun).as_millis();
    let place = board
        .queue
        .take(1)
        .ok_or_else(|| ApiError::refused(Refusal::QueueFull, "the queue is full (model.queue_limit)"))?;
    let door = board.door().ok_or(ApiError::Lost("the model room is being restarted"))?;
    let cancel = Arc::new(Cancel::default());
    let (reply, answer) = oneshot::channel();
    let job = Job {
        inputs,
        outputs,
        deadline,
        cancel: Arc::clone(&cancel),
        reply,
        asker: Asker::Client,
        queued: Instant::now(),
        place: Some(place),
    };
    let mut waiter = Waiter { board, cancel: Arc::clone(&cancel), answered: false };
    door.infer.do_send(Infer(job));
    let answer = tokio::select! {
        biased;
        answer = answer => answer,
        () = cancel.ended() => {
            // Nobody else but a stop ends a job from outside.
            waiter.end(Reason::Stopping);
            return Err(ApiError::from(RunError::Cancelled));
        }
        () = tokio::time::sleep_until(deadline.into()) => {
            waiter.end(Reason::Deadline);
            return Err(ApiError::Expired(allowed_ms));
        }
    };
    waiter.answered = true;
    let Ok(mut reply) = answer else {
        // A stop takes jobs off the queue; an engine that saw the deadline first drops the job, and its reply with it.
        if cancel.reason() == Some(Reason::Stopping) {
            waiter.end(Reason::Stopping);
            return Err(ApiError::from(RunError::Cancelled));
        }
        if Instant::now() >= deadline {
            waiter.end(Reason::Deadline);
            return Err(ApiError::Expired(allowed_ms));
        }
        return Err(ApiError::Lost("the request was lost with a room that is being restarted, or by a stop"));
    };
    observe_reply(board, &reply);
    match std::mem::replace(&mut reply.result, Err(RunError::Cancelled)) {
        Ok(outputs) => Ok((outputs, reply)),
        Err(RunError::Cancelled) => {
            waiter.end(Reason::Stopping);
            Err(ApiError::from(RunError::Cancelled))
        }
        Err(error) => Err(ApiError::from(error)),
    }
}

/// Counts a refusal, and says so in the log once a while.
pub fn note(board: &Board, error: &ApiError) -> Outcome {
    if let ApiError::Refused { reason, text } = error {
        board.metrics.refused.with_label_values(&[reason.name()]).inc();
        if let Some(held_back) = board.refusals.occurred() {
            tracing::warn!(event = "refused", reason = reason.name(), held_back, "requests are refused: {text}");
        }
    }
    error.outcome()
}
