//! The system's limit of open files, raised as far as the connections need it and the system lets it be.

/// Open files beside those of connections: libraries, models, pipes, the log.
const OTHERS: u64 = 128;
/// A connection's socket, and the second handle on it.
const PER_CONNECTION: u64 = 2;

/// Raises the limit, so that `connections` have room in it. Where they have not, says what to do.
///
/// # Errors
/// One line: the limit is too low, and how many connections have room in it.
pub fn make_room(connections: usize) -> Result<(), String> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is alive during the call, which writes it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(format!("the limit of open files is not known: {}", std::io::Error::last_os_error()));
    }
    let wanted = needed(connections);
    if limit.rlim_cur < wanted {
        limit.rlim_cur = wanted.min(limit.rlim_max);
        // SAFETY: the structure is alive during the call, which only reads it.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(format!("the limit of open files cannot be raised: {}", std::io::Error::last_os_error()));
        }
    }
    if limit.rlim_cur < wanted {
        return Err(format!(
            "the system allows {} open files, which is room for {} connections: raise LimitNOFILE to {wanted}, or lower \
             server.max_connections",
            limit.rlim_cur,
            room(limit.rlim_cur)
        ));
    }
    Ok(())
}

fn needed(connections: usize) -> u64 {
    (connections as u64).saturating_mul(PER_CONNECTION).saturating_add(OTHERS)
}

fn room(files: u64) -> u64 {
    files.saturating_sub(OTHERS) / PER_CONNECTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_has_room() {
        for connections in [1, 1024, 100_000] {
            assert_eq!(room(needed(connections)), connections as u64);
        }
        assert_eq!(room(10), 0);
    }
}
