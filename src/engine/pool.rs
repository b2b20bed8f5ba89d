//! The loaded sessions that no thread is using now.

use std::sync::mpsc::{Receiver, Sender, channel};
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
    /// Sessions of this generation that are in use.
    used: usize,
    /// How many of the generation before are still in use, and who gets them.
    late: Option<(usize, Sender<Box<dyn Session>>)>,
}

/// What came of putting sessions into the pool. To drop a session may take time: that is for somebody to do for whom nobody
/// waits.
pub struct Installed {
    /// The number of this generation.
    pub generation: u64,
    /// The sessions before.
    pub before: Vec<Box<dyn Session>>,
    /// Those of them that were in use, as they come back; it ends after the last.
    pub late: Receiver<Box<dyn Session>>,
}

impl SessionPool {
    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other sessions in the place of the ones before, which end with their last run; none: unloads.
    pub fn install(&self, sessions: Vec<Box<dyn Session>>) -> Installed {
        let mut state = self.state();
        let (sender, late) = channel();
        state.generation += 1;
        let used = std::mem::take(&mut state.used);
        state.late = (used > 0).then_some((used, sender));
        Installed { generation: state.generation, before: std::mem::replace(&mut state.idle, sessions), late }
    }

    /// A session and its generation. The session used last is the one whose memory is still warm.
    pub(super) fn take(&self) -> Option<(u64, Box<dyn Session>)> {
        let mut state = self.state();
        let generation = state.generation;
        let session = state.idle.pop()?;
        state.used += 1;
        Some((generation, session))
    }

    /// Gives a session back: to the pool, or, where others took its place meanwhile, to whoever drops it.
    pub(super) fn put(&self, generation: u64, session: Box<dyn Session>) {
        let mut state = self.state();
        if state.generation == generation {
            state.used = state.used.saturating_sub(1);
            state.idle.push(session);
        } else if let Some((left, whoever)) = &mut state.late {
            // Nobody may be left to take it: then it is dropped here, while nobody waits for the pool.
            let refused = whoever.send(session).err();
            *left -= 1;
            if *left == 0 {
                state.late = None;
            }
            drop(state);
            drop(refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::tensor::ModelSpec;
    use crate::engine::fake::FakeSession;

    fn sessions(count: usize) -> Vec<Box<dyn Session>> {
        let session = || FakeSession { spec: ModelSpec::default(), takes: Duration::ZERO };
        (0..count).map(|_| Box::new(session()) as Box<dyn Session>).collect()
    }

    #[test]
    fn sessions_that_were_in_use_at_the_exchange_come_to_whoever_drops_them() {
        let pool = SessionPool::default();
        assert_eq!(pool.install(sessions(3)).before.len(), 0);
        let (one, other) = (pool.take().unwrap(), pool.take().unwrap());
        let installed = pool.install(sessions(1));
        assert_eq!((installed.generation, installed.before.len()), (2, 1));
        pool.put(one.0, one.1);
        pool.put(other.0, other.1);
        assert_eq!(installed.late.iter().count(), 2, "and then it ends");
        let (generation, session) = pool.take().unwrap();
        assert_eq!(generation, 2);
        pool.put(generation, session);
        let installed = pool.install(Vec::new());
        assert_eq!((installed.before.len(), installed.late.iter().count()), (1, 0));
    }

    #[test]
    fn one_that_died_in_use_is_not_waited_for_beyond_the_next_exchange() {
        let pool = SessionPool::default();
        pool.install(sessions(1));
        drop(pool.take());
        let installed = pool.install(sessions(1));
        pool.install(sessions(1));
        assert_eq!(installed.late.iter().count(), 0);
    }
}
