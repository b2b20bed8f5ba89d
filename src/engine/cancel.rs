//! Ending a job from outside, whether it waits or runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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

/// Something that waits or runs and can be told to end.
pub trait Interrupt: Send + Sync {
    /// Asks it to end soon; may be called at any time, from any thread, also when it is over.
    fn interrupt(&self);
}

enum State {
    /// Not begun; what takes it off the queue, once it is there.
    Waiting(Option<Arc<dyn Interrupt>>),
    Running(Arc<dyn Interrupt>),
    Cancelled(Reason),
}

impl Default for State {
    fn default() -> State {
        State::Waiting(None)
    }
}

/// The switch shared by a job, its waiter and the thread that runs it.
#[derive(Default)]
pub struct Cancel {
    state: Mutex<State>,
    ended: Notify,
}

impl Cancel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the job: it leaves the queue, or its run is interrupted. The first reason stays.
    pub fn cancel(&self, reason: Reason) {
        let mut state = self.state();
        if matches!(&*state, State::Cancelled(_)) {
            return;
        }
        let before = std::mem::replace(&mut *state, State::Cancelled(reason));
        drop(state);
        self.ended.notify_one();
        if let State::Waiting(Some(interrupt)) | State::Running(interrupt) = before {
            interrupt.interrupt();
        }
    }

    /// Waits until the job was ended from outside: for the one who waits for its answer.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }

    /// The reason, once the job was ended.
    pub fn reason(&self) -> Option<Reason> {
        match &*self.state() {
            State::Cancelled(reason) => Some(*reason),
            _ => None,
        }
    }

    /// Tells the switch how to take the job off its queue.
    pub fn wait(&self, leave: Arc<dyn Interrupt>) {
        let mut state = self.state();
        match &*state {
            State::Waiting(_) => *state = State::Waiting(Some(leave)),
            State::Running(_) => {}
            State::Cancelled(_) => {
                drop(state);
                leave.interrupt();
            }
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
            *state = State::Waiting(None);
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
    fn a_job_that_is_ended_leaves_its_queue_also_when_it_comes_there_later() {
        let leave = Arc::new(Count::default());
        let queued = Cancel::default();
        queued.wait(leave.clone());
        queued.cancel(Reason::ClientGone);
        assert_eq!(leave.0.load(Ordering::Relaxed), 1);

        let late = Cancel::default();
        late.cancel(Reason::ClientGone);
        late.wait(leave.clone());
        assert_eq!(leave.0.load(Ordering::Relaxed), 2);

        let running = Cancel::default();
        running.begin(Arc::new(Count::default())).unwrap();
        running.wait(leave.clone());
        running.cancel(Reason::ClientGone);
        assert_eq!(leave.0.load(Ordering::Relaxed), 2, "a run that was begun has left its queue");
    }

    #[tokio::test]
    async fn whoever_waits_for_the_answer_hears_of_the_end() {
        let cancel = Cancel::default();
        cancel.cancel(Reason::Stopping);
        cancel.ended().await;
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
