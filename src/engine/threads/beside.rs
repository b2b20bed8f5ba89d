//! Work that takes long and needs no session of the pool: it is done beside the queue, which goes on meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};

use super::{Busy, Cancel, Threads};

/// What is done beside the queue, until its switch ends it.
pub type BesideWork = Box<dyn FnOnce(&Arc<Cancel>) + Send>;

impl Threads {
    /// Does this on a thread of its own, once what was begun so before has ended; an abort ends it, and a join waits for it.
    /// Its priority is that of any thread: the threads of a session that it makes would keep a lower one.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn beside(&self, name: &str, work: BesideWork) -> std::io::Result<()> {
        let mut last = self.last_beside.lock().unwrap_or_else(PoisonError::into_inner);
        // Numbers from above: those of engine threads begin below.
        let number = usize::MAX - self.works_beside.fetch_add(1, Ordering::Relaxed);
        let (ended, wait) = mpsc::channel::<()>();
        let (before, shared) = (last.take(), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ended = ended;
            // Nothing is ever sent: it ends with its sender.
            before.map(|before| before.recv());
            let cancel = Arc::new(Cancel::default());
            // The engine is not busy with it: the canary goes on.
            if let Some(_busy) = shared.begin(number, Busy { cancels: vec![Arc::clone(&cancel)], until: None }) {
                work(&cancel);
            }
        })?;
        *last = Some(wait);
        let mut handles = self.handles();
        // One that has ended keeps its stack until it is joined or let go.
        handles.retain(|handle| !handle.is_finished());
        handles.push(thread);
        Ok(())
    }
}
