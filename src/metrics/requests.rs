//! How requests end, and the sums over them that the protocol's statistics ask for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with a result.
    Ok,
    /// The client's fault.
    Invalid,
    /// Not admitted.
    Refused,
    /// Not admitted, because an alert has it so.
    Shed,
    /// Its deadline passed.
    Expired,
    /// Its client left.
    Gone,
    /// The model or the daemon failed.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 7] = [
        Outcome::Ok,
        Outcome::Invalid,
        Outcome::Refused,
        Outcome::Shed,
        Outcome::Expired,
        Outcome::Gone,
        Outcome::Failed,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Invalid => "invalid",
            Outcome::Refused => "refused",
            Outcome::Shed => "shed",
            Outcome::Expired => "expired",
            Outcome::Gone => "gone",
            Outcome::Failed => "failed",
        }
    }
}

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `model.queue_limit` is reached.
    QueueFull,
    /// `server.max_body_memory_bytes` is reached.
    BodyMemory,
    /// `server.max_image_memory_bytes` is reached.
    ImageMemory,
    /// No model can take it now.
    NotReady,
    /// An alert has new requests refused.
    Shed,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Refusal; 5] =
        [Refusal::QueueFull, Refusal::BodyMemory, Refusal::ImageMemory, Refusal::NotReady, Refusal::Shed];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::QueueFull => "queue_full",
            Refusal::BodyMemory => "body_memory",
            Refusal::ImageMemory => "image_memory",
            Refusal::NotReady => "not_ready",
            Refusal::Shed => "shed",
        }
    }
}

/// Counts and sums that the protocol's statistics ask for, beside what Prometheus is told.
#[derive(Debug, Default)]
pub struct Totals {
    answered: AtomicU64,
    answered_ns: AtomicU64,
    failed: AtomicU64,
    failed_ns: AtomicU64,
    last_answer_ms: AtomicU64,
    entries: AtomicU64,
    queue_ns: AtomicU64,
    input_ns: AtomicU64,
    run_ns: AtomicU64,
    output_ns: AtomicU64,
}

/// Where the time of an answered request went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    /// Entries of its batch.
    pub entries: u64,
    /// Waiting for the engine.
    pub queue: Duration,
    /// Making tensors of the body.
    pub input: Duration,
    /// Running the graph.
    pub run: Duration,
    /// Making an answer of the outputs.
    pub output: Duration,
}

impl Totals {
    /// Counts the stages of an answered request.
    pub fn add_stages(&self, stages: Stages) {
        self.entries.fetch_add(stages.entries, Ordering::Relaxed);
        for (sum, took) in [
            (&self.queue_ns, stages.queue),
            (&self.input_ns, stages.input),
            (&self.run_ns, stages.run),
            (&self.output_ns, stages.output),
        ] {
            sum.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// The stages of all answered requests together.
    pub fn stages(&self) -> Stages {
        let time = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed));
        Stages {
            entries: self.entries.load(Ordering::Relaxed),
            queue: time(&self.queue_ns),
            input: time(&self.input_ns),
            run: time(&self.run_ns),
            output: time(&self.output_ns),
        }
    }

    /// Counts a request that took `took`.
    pub fn add(&self, outcome: Outcome, took: Duration) {
        let (count, sum) = match outcome {
            Outcome::Ok => (&self.answered, &self.answered_ns),
            _ => (&self.failed, &self.failed_ns),
        };
        count.fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if outcome == Outcome::Ok {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_answer_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Answered requests and their time in nanoseconds.
    pub fn answered(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.answered_ns.load(Ordering::Relaxed))
    }

    /// Requests without a result and their time in nanoseconds.
    pub fn failed(&self) -> (u64, u64) {
        (self.failed.load(Ordering::Relaxed), self.failed_ns.load(Ordering::Relaxed))
    }

    /// When a request was last answered, in milliseconds since 1970; 0 for never.
    pub fn last_answer_ms(&self) -> u64 {
        self.last_answer_ms.load(Ordering::Relaxed)
    }
}
