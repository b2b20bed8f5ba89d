//! Signals of the service manager and of a terminal, as messages to the supervisor.

use std::time::{Duration, Instant};

use actix::Recipient;
use tokio::signal::unix::{SignalKind, signal};

use crate::actors::supervisor::{EXIT_OK, Record, Reload, Stop};

/// Exit code when a second signal does not wait for the stop that the first began (128 + SIGINT).
const EXIT_IMPATIENT: i32 = 130;

/// What comes within this time is the same wish.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// Turns SIGTERM and SIGINT into [`Stop`]; a second one ends the process where it stands.
///
/// # Errors
/// The system refuses the handlers.
pub fn watch(supervisor: Recipient<Stop>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    actix_rt::spawn(async move {
        let mut asked: Option<Instant> = None;
        loop {
            let why = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            // A process group and its parent may both pass one on: only a later one is impatience.
            if asked.is_some_and(|first| first.elapsed() > IMPATIENCE) {
                tracing::warn!(event = "stop_forced", "a second {why}: leaving at once");
                // SAFETY: it ends the process, without running anything of it: the runtime may be in the middle of a run.
                unsafe { libc::_exit(EXIT_IMPATIENT) }
            }
            asked.get_or_insert_with(Instant::now);
            supervisor.do_send(Stop { why, code: EXIT_OK });
        }
    });
    Ok(())
}

/// Turns SIGHUP into [`Reload`] and SIGUSR1 into [`Record`].
///
/// # Errors
/// The system refuses the handlers.
pub fn watch_wishes(reload: Recipient<Reload>, record: Recipient<Record>) -> std::io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut user = signal(SignalKind::user_defined1())?;
    actix_rt::spawn(async move {
        loop {
            tokio::select! {
                _ = hang_up.recv() => reload.do_send(Reload { why: "SIGHUP" }),
                _ = user.recv() => record.do_send(Record),
            }
        }
    });
    Ok(())
}
