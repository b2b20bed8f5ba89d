//! Signals of the service manager and of a terminal, as messages to the supervisor.

use actix::Recipient;
use tokio::signal::unix::{SignalKind, signal};

use crate::actors::supervisor::Stop;

/// Exit code when a second signal does not wait for the stop that the first began (128 + SIGINT).
const EXIT_IMPATIENT: i32 = 130;

/// Turns SIGTERM and SIGINT into [`Stop`]; a second one ends the process where it stands.
///
/// # Errors
/// The system refuses the handlers.
pub fn watch(supervisor: Recipient<Stop>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    actix_rt::spawn(async move {
        let mut asked = false;
        loop {
            let why = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if asked {
                tracing::warn!(event = "stop_forced", "a second {why}: leaving at once");
                std::process::exit(EXIT_IMPATIENT);
            }
            asked = true;
            supervisor.do_send(Stop { why });
        }
    });
    Ok(())
}
