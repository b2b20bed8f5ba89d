//! The queue before the engine: bounded, in order, and able to give up what nobody waits for any more.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What waits, by the number that it was given when it came.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    limit: usize,
}

struct State<T> {
    waiting: BTreeMap<u64, T>,
    next: u64,
    closed: bool,
}

impl<T> Queue<T> {
    /// A queue for at most `limit`.
    pub fn new(limit: usize) -> Queue<T> {
        let state = State { waiting: BTreeMap::new(), next: 0, closed: false };
        Queue { state: Mutex::new(state), arrived: Condvar::new(), limit }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something at the end, at once or not at all, and gives its number.
    ///
    /// # Errors
    /// What was to be put there, when the queue is full or closed.
    pub fn push(&self, item: T) -> Result<u64, T> {
        let mut state = self.state();
        if state.closed || state.waiting.len() >= self.limit {
            return Err(item);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, item);
        drop(state);
        self.arrived.notify_one();
        Ok(number)
    }

    /// Waits for what is first; `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if let Some((_, first)) = state.waiting.pop_first() {
                return Some(first);
            }
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes out what has this number, if it waits still.
    pub fn remove(&self, number: u64) -> Option<T> {
        self.state().waiting.remove(&number)
    }

    /// Takes out everything.
    pub fn drain(&self) -> Vec<T> {
        std::mem::take(&mut self.state().waiting).into_values().collect()
    }

    /// Nothing comes in any more; what is there is still given out.
    pub fn close(&self) {
        self.state().closed = true;
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_first_leaves_first_and_past_the_limit_nothing_comes_in() {
        let queue = Queue::new(2);
        queue.push('a').unwrap();
        queue.push('b').unwrap();
        assert_eq!(queue.push('c'), Err('c'));
        assert_eq!(queue.pop(), Some('a'));
        queue.push('c').unwrap();
        assert_eq!((queue.pop(), queue.pop()), (Some('b'), Some('c')));
    }

    #[test]
    fn what_is_taken_out_of_the_middle_makes_room_at_once() {
        let queue = Queue::new(2);
        let first = queue.push('a').unwrap();
        queue.push('b').unwrap();
        assert_eq!(queue.remove(first), Some('a'));
        assert_eq!(queue.remove(first), None);
        queue.push('c').unwrap();
        assert_eq!((queue.pop(), queue.pop()), (Some('b'), Some('c')));
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_has_and_then_nothing() {
        let queue = Queue::new(2);
        queue.push('a').unwrap();
        queue.close();
        assert_eq!(queue.push('b'), Err('b'));
        assert_eq!((queue.pop(), queue.pop()), (Some('a'), None));
    }

    #[test]
    fn every_waiting_thread_hears_of_the_close() {
        let queue = Queue::<()>::new(1);
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| queue.pop())).collect();
            queue.close();
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap().is_none()));
        });
    }
}
