//! The loaded sessions that no thread is using now.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Session;

/// The pool; what is put in it anew takes the place of what was there, whole.
#[derive(Default)]
pub struct SessionPool {
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    generation: u64,
    idle: Vec<Box<dyn Session>>,
}

impl SessionPool {
    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other sessions in the place of the ones before, which end with their last run; none: unloads. Gives
    /// the number of this generation, and the sessions before, for the caller to drop where that may take time.
    pub fn install(&self, sessions: Vec<Box<dyn Session>>) -> (u64, Vec<Box<dyn Session>>) {
        let mut state = self.state();
        state.generation += 1;
        (state.generation, std::mem::replace(&mut state.idle, sessions))
    }

    /// A session and its generation. The session used last is the one whose memory is still warm.
    pub(super) fn take(&self) -> Option<(u64, Box<dyn Session>)> {
        let mut state = self.state();
        let generation = state.generation;
        state.idle.pop().map(|session| (generation, session))
    }

    /// Gives a session back, unless others took its place meanwhile.
    pub(super) fn put(&self, generation: u64, session: Box<dyn Session>) {
        let mut state = self.state();
        if state.generation == generation {
            state.idle.push(session);
        }
    }
}
