//! A job: inputs with a deadline, a switch to end it and its own reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::RunError;
use super::cancel::Cancel;
use crate::core::admission::Token;
use crate::core::tensor::Tensor;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client: it counts in the request metrics.
    Client,
    /// The canary: it counts in none.
    Canary,
}

/// One request to the model.
pub struct Job {
    /// Inputs, checked against the model's spec.
    pub inputs: Vec<Tensor>,
    /// Names of the outputs to compute.
    pub outputs: Vec<String>,
    /// When the answer is no longer wanted.
    pub deadline: Instant,
    /// Ends the job from outside.
    pub cancel: Arc<Cancel>,
    /// Where the answer goes; dropped without one, its receiver knows that the job was lost.
    pub reply: oneshot::Sender<Reply>,
    /// Who asked.
    pub asker: Asker,
    /// When it was admitted.
    pub queued: Instant,
    /// Its place in the queue, given back when its run begins or it leaves the queue.
    pub place: Option<Token>,
}

/// What a job is answered with.
#[derive(Debug)]
pub struct Reply {
    /// The outputs in the order asked for, or why there are none.
    pub result: Result<Vec<Tensor>, RunError>,
    /// Which generation of sessions answered; 0 for none.
    pub generation: u64,
    /// How long it waited.
    pub queue: Duration,
    /// How long it ran.
    pub inference: Duration,
}

impl Job {
    /// Whether nobody waits for the answer any more.
    pub fn is_abandoned(&self, now: Instant) -> bool {
        self.reply.is_closed() || now >= self.deadline || self.cancel.reason().is_some()
    }
}
