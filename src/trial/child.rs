//! What the child gives up before it touches the file: a long life, a core dump, and a life beyond the daemon's.

use std::fs;
use std::io;

use super::Order;

/// Limits this process, which is about to try the model that `order` names.
///
/// # Errors
/// The daemon that asked is gone already, or the system refuses.
pub fn restrain(order: &Order) -> io::Result<()> {
    // The system shall take this process before the daemon when memory runs out. It is a wish.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // A stop is sent to the daemon, which ends its trial itself: a signal to the whole group would look like a crash.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: no handler is set; from here on the signal is ignored.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    limit(libc::RLIMIT_CORE, 0, 0)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).max(order.model.threads);
    // The daemon ends the child by the clock; this ends one that nobody watches any more.
    let seconds = (order.model.load_timeout_seconds.ceil() as u64 + 1).saturating_mul(threads as u64);
    limit(libc::RLIMIT_CPU, seconds, seconds + 1)?;
    control(libc::PR_SET_DUMPABLE, 0)?;
    control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    // SAFETY: the call takes nothing and cannot fail.
    let parent = unsafe { libc::getppid() };
    // A parent that ended before the line above sends no signal.
    if u32::try_from(parent) != Ok(order.parent) {
        return Err(io::Error::other("the daemon that asked for the trial is gone"));
    }
    Ok(())
}

/// Lowers a limit: to `soft`, where the process is told, and `hard`, where it is ended.
fn limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is alive during the call, which writes it.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // One that was lower already cannot be raised, and need not be.
    limit = libc::rlimit { rlim_cur: limit.rlim_cur.min(soft), rlim_max: limit.rlim_max.min(hard) };
    // SAFETY: the structure is alive during the call, which only reads it.
    if unsafe { libc::setrlimit(resource, &raw const limit) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn control(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both options take one number.
    if unsafe { libc::prctl(option, value) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
