//! The queue before the engine: a bounded channel, in order, that can give up what nobody waits for any more.
//!
//! The channel carries numbers, and what they stand for lies beside it: so something can be taken out of the middle, and
//! its memory freed at once. Its number stays behind until it is received, or until its place is needed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

/// What waits, by the number that it was given when it came.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    numbers: Receiver<u64>,
    limit: usize,
}

struct State<T> {
    waiting: BTreeMap<u64, T>,
    next: u64,
    door: Option<Sender<u64>>,
}

impl<T> Queue<T> {
    /// A queue for at most `limit`, which is at least 1.
    pub fn new(limit: usize) -> Queue<T> {
        let limit = limit.max(1);
        let (door, numbers) = bounded(limit);
        Queue { state: Mutex::new(State { waiting: BTreeMap::new(), next: 0, door: Some(door) }), numbers, limit }
    }

    /// How much it holds at most.
    pub fn limit(&self) -> usize {
        self.limit
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
        let State { waiting, next, door } = &mut *state;
        let Some(door) = door else { return Err(item) };
        if waiting.len() >= self.limit {
            return Err(item);
        }
        let number = *next;
        if door.try_send(number).is_err() {
            // Numbers of what was taken out hold the places: those that stand for something go back in their order.
            // Nobody else sends meanwhile, so there is room for them, and for one more.
            let numbers: Vec<u64> = self.numbers.try_iter().collect();
            let live = numbers.into_iter().filter(|number| waiting.contains_key(number));
            if live.chain([number]).any(|number| door.try_send(number).is_err()) {
                return Err(item);
            }
        }
        *next += 1;
        waiting.insert(number, item);
        Ok(number)
    }

    /// Waits for what is first; `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        loop {
            let number = self.numbers.recv().ok()?;
            // A number whose item was taken out stands for nothing.
            if let Some(item) = self.state().waiting.remove(&number) {
                return Some(item);
            }
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
        self.state().door.take();
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
    fn a_thousand_that_were_given_up_leave_room_and_order_as_they_were() {
        let queue = Queue::new(3);
        queue.push(-1).unwrap();
        for given_up in 0..1000 {
            let number = queue.push(given_up).unwrap();
            assert_eq!(queue.remove(number), Some(given_up));
        }
        queue.push(1).unwrap();
        queue.push(2).unwrap();
        assert_eq!(queue.push(3), Err(3));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(-1), Some(1), Some(2)));
    }

    #[test]
    fn every_item_is_popped_once_while_others_are_given_up() {
        let queue = Queue::new(4);
        let popped = std::sync::atomic::AtomicU64::new(0);
        let mut sent = 0;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some(item) = queue.pop() {
                        popped.fetch_add(item, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
            for item in 1..20_000u64 {
                let Ok(number) = queue.push(item) else { continue };
                sent += if item % 3 == 0 { queue.remove(number).map_or(item, |_| 0) } else { item };
            }
            queue.close();
        });
        assert_eq!(popped.into_inner(), sent);
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
