//! What the metrics learn of a request: always something, whichever way it ends.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::actors::board::Board;
use crate::actors::monitor::Taken;
use crate::core::recorder::Entry;
use crate::core::tensor::{ModelSpec, Tensor, TensorSpec};
use crate::engine::job::Reply;
use crate::metrics::{Outcome, seconds};

/// One request from its head to its end; dropped without an end, its client has gone or its handler panicked.
pub struct Record {
    board: Arc<Board>,
    /// When the head was read.
    pub begun: Instant,
    /// What the flight recorder will hold of it.
    pub entry: Entry,
    done: bool,
}

impl Record {
    /// A request whose head was just read.
    pub fn begin(board: &Arc<Board>, kind: &'static str) -> Record {
        let entry = Entry { kind, ..Entry::default() };
        Record { board: Arc::clone(board), begun: Instant::now(), entry, done: false }
    }

    /// Notes the two times that a reply carries.
    pub fn reply(&mut self, reply: &Reply) {
        self.entry.queue_us = microseconds(reply.queue);
        self.entry.inference_us = microseconds(reply.inference);
    }

    /// The request has ended.
    pub fn end(mut self, outcome: Outcome) {
        self.count(outcome);
    }

    fn count(&mut self, outcome: Outcome) {
        self.done = true;
        let metrics = &self.board.metrics;
        let took = self.begun.elapsed();
        metrics.request_duration.observe(seconds(took));
        metrics.requests.with_label_values(&[self.board.model_name.as_str(), outcome.name()]).inc();
        metrics.totals.add(outcome, took);
        let entry = Entry {
            ended_ms: Taken::milliseconds(SystemTime::now()),
            outcome: outcome.name(),
            total_us: microseconds(took),
            ..self.entry
        };
        self.board.recorder().push(entry);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.done {
            self.count(if std::thread::panicking() { Outcome::Failed } else { Outcome::Gone });
        }
    }
}

/// How many entries the batch of a request has, where the model leaves the first dimension of all that it takes and
/// gives open; else the request is one entry.
pub fn entries(spec: &ModelSpec, inputs: &[Tensor]) -> u64 {
    let open = |spec: &TensorSpec| spec.shape.first().is_some_and(|dim| *dim < 0);
    let mut required = spec.inputs.iter().filter(|input| !input.optional).peekable();
    let Some(name) = required.peek().map(|input| input.name.as_str()) else { return 1 };
    if !required.chain(&spec.outputs).all(open) {
        return 1;
    }
    let batch = inputs.iter().find(|input| input.name() == name).and_then(|input| input.shape().first());
    batch.map_or(1, |entries| u64::try_from(*entries).unwrap_or(u64::MAX))
}

/// Notes the two times that a reply carries.
pub fn observe_reply(board: &Board, reply: &Reply) {
    board.metrics.queue_duration.observe(seconds(reply.queue));
    board.metrics.inference_duration.observe(seconds(reply.inference));
}

/// Whole microseconds.
pub fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds for an answer.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
