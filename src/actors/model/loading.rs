//! How a load is done: on an engine thread where nothing serves meanwhile, else beside the engine, which then only exchanges
//! the sessions.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::LoadFinished;
use super::actor::{Model, Waiter};
use super::choose::Chosen;
use super::load::{self, Loaded};
use super::shelf::{Shelf, Ticket};
use crate::engine::cancel::Cancel;
use crate::engine::memory;
use crate::engine::threads::{Installed, Threads, Work};
use crate::metrics::seconds;

/// The longest that an exchange should take: it moves a few pointers.
const EXCHANGE: Duration = Duration::from_secs(1);
/// How long sessions that were in use at the exchange are waited for, so that they are dropped beside the engine.
const LATE: Duration = Duration::from_secs(5);
/// The wait before a queue that was full is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// What a load on an engine thread is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The first model, or one after none.
    Replace,
    /// A session died with its thread: without a new one there is none.
    Revive,
}

impl Model {
    /// A load as work for an engine thread; what came of it comes back as a message to the room that is there then.
    pub(super) fn load_work(&self, purpose: Purpose, chosen: Option<Chosen>, reply: Option<Waiter>) -> Work {
        let (config, name, loader) = (Arc::clone(&self.config), self.name.clone(), Arc::clone(&self.loader));
        let (shelf, metrics, ticket) = (Arc::clone(&self.shelf), Arc::clone(&self.metrics), self.shelf.begin_load());
        Work::Load {
            limit: Duration::from_secs_f64(self.config.model.load_timeout_seconds),
            load: Box::new(move |pool, cancel| {
                let result = load::load_until(&config.model, &name, chosen, &loader, cancel).map(|loaded| {
                    metrics.model_load_duration.observe(seconds(loaded.served.load_duration));
                    bury(shelf.exchange(pool, Some((loaded.served, loaded.sessions))));
                });
                if result.is_err() && purpose == Purpose::Revive {
                    bury(shelf.exchange(pool, None));
                }
                ticket.hand_in(LoadFinished { result, reply });
            }),
        }
    }

    /// Loads and warms up beside the model that serves; whether there was a thread for it.
    pub(super) fn load_beside(&self, chosen: Option<Chosen>, reply: Option<Waiter>) -> bool {
        let (config, name, loader) = (Arc::clone(&self.config), self.name.clone(), Arc::clone(&self.loader));
        let (shelf, metrics, ticket) = (Arc::clone(&self.shelf), Arc::clone(&self.metrics), self.shelf.begin_load());
        let threads = Arc::clone(&self.threads);
        let load = move |cancel: &Arc<Cancel>| {
            let result = load::load_until(&config.model, &name, chosen, &loader, cancel);
            if ticket.is_void() {
                // As of any load that was asked for before: whoever waits sees the reply dropped.
                return;
            }
            match result {
                Err(error) => ticket.hand_in(LoadFinished { result: Err(error), reply }),
                Ok(loaded) => {
                    metrics.model_load_duration.observe(seconds(loaded.served.load_duration));
                    exchange(loaded, shelf, ticket, reply, &threads, cancel);
                }
            }
        };
        let begun = self.threads.beside("load", Box::new(load));
        if let Err(error) = &begun {
            tracing::error!(event = "thread_refused", "the system gives no thread for a load: {error}");
        }
        begun.is_ok()
    }
}

/// Has an engine thread put the new sessions in the place of the old ones, in its turn, and drops those here.
fn exchange(
    loaded: Loaded,
    shelf: Arc<Shelf>,
    ticket: Ticket,
    reply: Option<Waiter>,
    threads: &Threads,
    cancel: &Cancel,
) {
    let (old, replaced) = mpsc::channel();
    let mut work = Work::Load {
        limit: EXCHANGE,
        load: Box::new(move |pool, _| {
            if !ticket.is_void() {
                // It goes back to the thread that waits for it below.
                let _ = old.send(shelf.exchange(pool, Some((loaded.served, loaded.sessions))));
                ticket.hand_in(LoadFinished { result: Ok(()), reply });
            }
        }),
    };
    while let Err(refused) = threads.send(work) {
        if cancel.reason().is_some() {
            return;
        }
        work = refused;
        std::thread::sleep(ASK_AGAIN);
    }
    // An exchange that never came about leaves nothing to drop.
    let Ok(Installed { before, late, .. }) = replaced.recv() else { return };
    drop(before);
    // The next load waits for this one: a run that goes on for long ends its session itself.
    let until = Instant::now() + LATE;
    loop {
        match late.recv_timeout(Duration::from_millis(50)) {
            Ok(session) => drop(session),
            Err(RecvTimeoutError::Timeout) if cancel.reason().is_none() && Instant::now() < until => {}
            Err(_) => break,
        }
    }
    memory::give_back();
}

/// Drops the sessions before, here, where nothing could be served meanwhile.
pub(super) fn bury(installed: Installed) {
    drop(installed);
    memory::give_back();
}
