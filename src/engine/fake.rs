//! A session without a runtime, for tests of the rooms around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::cancel::Interrupt;
use super::{Call, RunError, Session};
use crate::core::tensor::{ModelSpec, Tensor};

/// Answers with its inputs after a while.
pub struct FakeSession {
    /// What it claims to take and give.
    pub spec: ModelSpec,
    /// How long a run takes.
    pub takes: Duration,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Interrupt for Flag {
    fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Session for FakeSession {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn run(&mut self, calls: &[Call<'_>]) -> Vec<Result<Vec<Tensor>, RunError>> {
        calls
            .iter()
            .map(|call| {
                let flag = Arc::new(Flag::default());
                call.cancel.begin(flag.clone()).map_err(|_| RunError::Cancelled)?;
                let end = Instant::now() + self.takes;
                while Instant::now() < end {
                    if flag.0.load(Ordering::Relaxed) {
                        return Err(RunError::Cancelled);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                call.cancel.end();
                Ok(call.inputs.to_vec())
            })
            .collect()
    }
}
