//! Memory that sessions leave behind.

/// Gives the system back what the allocator keeps of memory that was freed: after a session went, that is about as much as it
/// had. It takes a few milliseconds, and is no work for a thread that others wait for.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number and only touches memory that nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}
