//! The few calls to the C library: the size of a file system and two constants of the kernel.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A file system's size, as `statvfs(3)` gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystemSize {
    /// Bytes a block.
    pub block_bytes: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Blocks that are free for users other than root.
    pub available_blocks: u64,
    /// Inodes in all.
    pub inodes: u64,
    /// Inodes that are free for users other than root.
    pub available_inodes: u64,
    /// Inodes that are free.
    pub free_inodes: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
}

/// The size of the file system that holds `path`. Blocks for as long as the file system does.
///
/// # Errors
/// What the file system says.
// The C library's types differ between 32 and 64 bits.
#[allow(clippy::useless_conversion)]
pub fn file_system_size(path: &Path) -> io::Result<FileSystemSize> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` ends with NUL, and `found` is a whole statvfs, for which all zeros are a value.
    let found = unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        found.assume_init()
    };
    Ok(FileSystemSize {
        block_bytes: u64::from(found.f_frsize),
        blocks: u64::from(found.f_blocks),
        free_blocks: u64::from(found.f_bfree),
        available_blocks: u64::from(found.f_bavail),
        inodes: u64::from(found.f_files),
        available_inodes: u64::from(found.f_favail),
        free_inodes: u64::from(found.f_ffree),
        read_only: found.f_flag & libc::ST_RDONLY != 0,
    })
}

/// Bytes a page of memory.
pub fn page_bytes() -> u64 {
    constant(libc::_SC_PAGESIZE, 4096)
}

/// Ticks a second in which `/proc` counts CPU time.
pub fn ticks_a_second() -> u64 {
    constant(libc::_SC_CLK_TCK, 100)
}

fn constant(name: libc::c_int, fallback: u64) -> u64 {
    // SAFETY: sysconf takes any number and touches no memory of ours.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).ok().filter(|value| *value > 0).unwrap_or(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_a_size_and_what_is_not_there_is_an_error() {
        let size = file_system_size(Path::new("/")).unwrap();
        assert!(size.block_bytes > 0 && size.blocks >= size.free_blocks);
        assert!(file_system_size(Path::new("/no/such/folder")).is_err());
        assert!(file_system_size(Path::new("a\0b")).is_err());
        assert!(page_bytes() >= 4096 && ticks_a_second() > 0);
    }
}
