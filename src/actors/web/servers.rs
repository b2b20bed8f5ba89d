//! The HTTP servers that have not ended: a web room that died leaves its own behind to finish.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use futures_util::future::join_all;
use tokio::sync::oneshot;

/// A connection that was accepted and has not reached its worker is lost when the worker is told to stop: between
/// accepting no more and telling so lies this long in a stop, which somebody waits for.
const SETTLE_IN_A_STOP: Duration = Duration::from_millis(100);
/// The same where another server has taken over.
const SETTLE: Duration = Duration::from_secs(1);

/// The handles of all servers that run, whichever room started them.
#[derive(Default)]
pub struct Servers {
    running: Mutex<Vec<(u64, ServerHandle)>>,
    stopping: AtomicBool,
}

impl Servers {
    fn running(&self) -> MutexGuard<'_, Vec<(u64, ServerHandle)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a server until it ends, or until its room is `gone`: then it accepts no more and finishes what it has.
    /// Whether it ended without being asked to.
    pub(super) async fn run(self: Arc<Servers>, mut server: Server, gone: oneshot::Receiver<()>) -> bool {
        let handle = server.handle();
        let number = {
            let mut running = self.running();
            let number = running.last().map_or(0, |(last, _)| last + 1);
            running.push((number, handle.clone()));
            number
        };
        let retired = AtomicBool::new(false);
        let retire = async {
            let _ = gone.await;
            retired.store(true, Ordering::Relaxed);
            finish(handle, SETTLE).await;
        };
        let ended = tokio::select! {
            ended = &mut server => ended,
            () = retire => Ok(()),
        };
        self.running().retain(|(other, _)| *other != number);
        let expected = retired.load(Ordering::Relaxed) || self.stopping.load(Ordering::Relaxed);
        match ended {
            Err(error) => tracing::error!(event = "server_failed", "the HTTP server ended: {error}"),
            Ok(()) if !expected => tracing::error!(event = "server_failed", "the HTTP server ended by itself"),
            Ok(()) => {}
        }
        !expected
    }

    /// Accepts no more, and waits until every connection is done.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let handles: Vec<ServerHandle> = self.running().iter().map(|(_, handle)| handle.clone()).collect();
        join_all(handles.into_iter().map(|handle| finish(handle, SETTLE_IN_A_STOP))).await;
    }
}

async fn finish(handle: ServerHandle, settle: Duration) {
    handle.pause().await;
    actix_rt::time::sleep(settle).await;
    handle.stop(true).await;
}
