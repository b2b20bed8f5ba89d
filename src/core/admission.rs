//! The limits at the door: how many requests may wait, and how many bytes of bodies may be held.
//!
//! Both are counters that give out tokens; a token gives its share back when it is dropped, so that no
//! path, not even a panic, can leak one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A counter with a limit that can be changed while tokens are out.
#[derive(Debug)]
pub struct Gate {
    limit: AtomicUsize,
    held: AtomicUsize,
}

impl Gate {
    /// A gate that gives out at most `limit` at once.
    pub fn new(limit: usize) -> Arc<Gate> {
        Arc::new(Gate { limit: AtomicUsize::new(limit), held: AtomicUsize::new(0) })
    }

    /// What is out now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The limit in force.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Puts another limit in force; what is out already stays out.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Whether a token of one would be refused now.
    pub fn is_full(&self) -> bool {
        self.held() >= self.limit()
    }

    /// A token of `amount`, unless the limit would be passed.
    pub fn take(self: &Arc<Gate>, amount: usize) -> Option<Token> {
        let limit = self.limit();
        self.held
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |held| {
                held.checked_add(amount).filter(|after| *after <= limit)
            })
            .ok()?;
        Some(Token { gate: Arc::clone(self), amount })
    }
}

/// A share of a [`Gate`], given back on drop.
#[derive(Debug)]
pub struct Token {
    gate: Arc<Gate>,
    amount: usize,
}

impl Token {
    /// A token of nothing, of the same gate.
    pub fn clone_empty(token: &Token) -> Token {
        Token { gate: Arc::clone(&token.gate), amount: 0 }
    }

    /// Takes `more` onto the same token, unless the limit would be passed.
    pub fn grow(&mut self, more: usize) -> bool {
        match self.gate.take(more) {
            Some(mut extra) => {
                self.amount += std::mem::take(&mut extra.amount);
                true
            }
            None => false,
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.gate.held.fetch_sub(self.amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_its_limit_a_gate_refuses_and_a_dropped_token_makes_room() {
        let gate = Gate::new(2);
        let first = gate.take(1).unwrap();
        let second = gate.take(1).unwrap();
        assert!(gate.take(1).is_none());
        assert!(gate.is_full());
        drop(first);
        assert!(gate.take(1).is_some());
        drop(second);
        assert_eq!(gate.held(), 0);
    }

    #[test]
    fn a_token_grows_only_within_the_limit_and_gives_all_back() {
        let gate = Gate::new(10);
        let mut token = gate.take(4).unwrap();
        assert!(token.grow(6));
        assert!(!token.grow(1));
        assert_eq!(gate.held(), 10);
        drop(token);
        assert_eq!(gate.held(), 0);
    }

    #[test]
    fn a_lowered_limit_refuses_at_once_and_an_absurd_amount_never_overflows() {
        let gate = Gate::new(3);
        let held = gate.take(3).unwrap();
        gate.set_limit(1);
        assert!(gate.take(1).is_none());
        drop(held);
        assert!(gate.take(usize::MAX).is_none());
        let one = gate.take(1).unwrap();
        assert!(gate.take(usize::MAX).is_none());
        drop(one);
    }

    #[test]
    fn many_threads_never_pass_the_limit() {
        let gate = Gate::new(5);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Some(token) = gate.take(1) {
                            assert!(gate.held() <= 5);
                            drop(token);
                        }
                    }
                });
            }
        });
        assert_eq!(gate.held(), 0);
    }
}
