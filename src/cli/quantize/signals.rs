//! Ctrl-C and SIGTERM while quantising: the process leaves at once, but never in the middle of a write.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::complain;

/// What a shell adds to the number of the signal that ended a command.
const BY_SIGNAL: i32 = 128;
/// The exit codes of a process that left so.
pub(super) const CODES: [i32; 2] = [BY_SIGNAL + libc::SIGINT, BY_SIGNAL + libc::SIGTERM];

/// From now on the two signals end the process with 128 and their number, as soon as nobody holds `placing`. To be called
/// before other threads are: they inherit that they do not take the signals themselves.
///
/// # Errors
/// The system refuses.
pub(super) fn leave_at_once(placing: Arc<Mutex<()>>) -> std::io::Result<()> {
    wait(move |signal| {
        // Held until the process is gone: what is being written is whole by now, and nothing else begins.
        let _whole = placing.lock().unwrap_or_else(PoisonError::into_inner);
        complain(&format!("interrupted by signal {signal}"));
        // SAFETY: it ends the process, without running anything of it: the runtime may be in the middle of a run.
        unsafe { libc::_exit(BY_SIGNAL + signal) }
    })
}

/// Calls back, on a thread of its own, with the first of the two signals.
///
/// # Errors
/// The system refuses.
pub(super) fn wait(then: impl FnOnce(i32) + Send + 'static) -> std::io::Result<()> {
    // SAFETY: the set is plain data that the calls fill before it is read; the mask of this thread alone changes.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
            0 => set,
            error => return Err(std::io::Error::from_raw_os_error(error)),
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut signal = 0;
        // SAFETY: both are alive during the call, which waits for a signal of the set.
        if unsafe { libc::sigwait(&raw const set, &raw mut signal) } == 0 {
            then(signal);
        }
    })?;
    Ok(())
}
