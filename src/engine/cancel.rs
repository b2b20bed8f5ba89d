//! Ending a job from outside, whether it waits or runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a job was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its deadline has passed.
    Deadline,
    /// Its client has gone.
    ClientGone,
    /// The daemon stops.
    Stopping,
}

impl Reason {
    /// The word for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Deadline => "deadline",
            Reason::ClientGone => "client_gone",
            Reason::Stopping => "stopping",
        }
    }
}

/// Something that runs and can be told to end.
pub trait Interrupt: Send + Sync {
    /// Asks the run to end soon; may be called at any time, from any thread, more than once.
    fn interrupt(&self);
}

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    Running(Arc<dyn Interrupt>),
    Cancelled(Reason),
}

/// The switch shared by a job, its waiter and the thread that runs it.
#[derive(Default)]
pub struct Cancel {
    state: Mutex<State>,
}

impl Cancel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the job: it is not begun, or its run is interrupted. The first reason stays.
    pub fn cancel(&self, reason: Reason) {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Cancelled(reason)) {
            State::Waiting => {}
            State::Running(run) => run.interrupt(),
            State::Cancelled(earlier) => *state = State::Cancelled(earlier),
        }
    }

    /// The reason, once the job was ended.
    pub fn reason(&self) -> Option<Reason> {
        match &*self.state() {
            State::Cancelled(reason) => Some(*reason),
            _ => None,
        }
    }

    /// Tells the switch what to interrupt from now on; a job that was ended before answers why.
    ///
    /// # Errors
    /// The reason for which the job was ended.
    pub fn begin(&self, run: Arc<dyn Interrupt>) -> Result<(), Reason> {
        let mut state = self.state();
        match &*state {
            State::Cancelled(reason) => Err(*reason),
            _ => {
                *state = State::Running(run);
                Ok(())
            }
        }
    }

    /// The run is over: there is nothing to interrupt any more.
    pub fn end(&self) {
        let mut state = self.state();
        if matches!(&*state, State::Running(_)) {
            *state = State::Waiting;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Interrupt for Count {
        fn interrupt(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waiting_job_that_is_ended_never_begins() {
        let cancel = Cancel::default();
        cancel.cancel(Reason::Deadline);
        cancel.cancel(Reason::ClientGone);
        assert_eq!(cancel.begin(Arc::new(Count::default())), Err(Reason::Deadline));
    }

    #[test]
    fn a_running_job_is_interrupted_once_and_a_finished_one_never() {
        let run = Arc::new(Count::default());
        let cancel = Cancel::default();
        cancel.begin(run.clone()).unwrap();
        cancel.cancel(Reason::ClientGone);
        cancel.cancel(Reason::Deadline);
        assert_eq!(run.0.load(Ordering::Relaxed), 1);
        assert_eq!(cancel.reason(), Some(Reason::ClientGone));

        let finished = Cancel::default();
        finished.begin(run.clone()).unwrap();
        finished.end();
        finished.cancel(Reason::Deadline);
        assert_eq!(run.0.load(Ordering::Relaxed), 1);
    }
}
