//! Reads small text files below a root into one buffer that is kept.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::ProbeError;

/// What is read of a file at most: `/proc/self/mountinfo` of a box with thousands of mounts fits.
const LIMIT_BYTES: usize = 1 << 20;
/// The buffer at the start: most files fit.
const START_BYTES: usize = 4 << 10;

/// Reads text files, one at a time.
pub struct Files {
    root: PathBuf,
    buffer: Vec<u8>,
}

impl Files {
    /// A reader of files below `root`.
    pub fn new(root: &Path) -> Files {
        Files { root: root.to_owned(), buffer: Vec::new() }
    }

    /// Where `path`, which may begin with a slash, is below the root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of `path`; its whole lines where it is longer than [`LIMIT_BYTES`].
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub fn read(&mut self, path: &str) -> io::Result<Cow<'_, str>> {
        let path = self.path(path);
        self.read_at(&path)
    }

    /// The text of the file at `path`, root included.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub fn read_at(&mut self, path: &Path) -> io::Result<Cow<'_, str>> {
        let mut file = File::open(path)?;
        if self.buffer.is_empty() {
            self.buffer.resize(START_BYTES, 0);
        }
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                if filled >= LIMIT_BYTES {
                    break;
                }
                self.buffer.resize(filled * 2, 0);
            }
            match file.read(self.buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut text = self.buffer.get(..filled).unwrap_or_default();
        if filled >= LIMIT_BYTES {
            let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            text = text.get(..end).unwrap_or_default();
        }
        Ok(String::from_utf8_lossy(text))
    }

    /// The number in `path`; none where there is none.
    pub fn number<N: std::str::FromStr>(&mut self, path: &Path) -> Option<N> {
        self.read_at(path).ok()?.trim().parse().ok()
    }
}

/// That a file could not be read, as a probe says it: what is not there is absent.
pub fn problem(path: &str, error: &io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::NotFound => ProbeError::Absent(format!("this box has no {path}")),
        _ => ProbeError::Failed(format!("{path} could not be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::Tree;

    #[test]
    fn a_long_file_is_cut_at_a_line_and_a_short_one_after_it_is_whole() {
        let tree = Tree::new();
        tree.write("proc/long", &"0123456789\n".repeat(200_000));
        tree.write("proc/short", "42\n");
        let mut files = Files::new(tree.root());
        let text = files.read("/proc/long").unwrap();
        assert!(text.len() < LIMIT_BYTES && text.len() > LIMIT_BYTES - 16);
        assert!(text.lines().all(|line| line == "0123456789"));
        assert_eq!(files.read("/proc/short").unwrap(), "42\n");
        let short = files.path("proc/short");
        assert_eq!(files.number::<u64>(&short), Some(42));
    }

    #[test]
    fn bytes_that_are_no_text_and_folders_do_no_harm() {
        let tree = Tree::new();
        tree.write_bytes("proc/odd", b"a\xff\xfeb\0");
        let mut files = Files::new(tree.root());
        assert_eq!(files.read("proc/odd").unwrap(), "a\u{fffd}\u{fffd}b\0");
        assert!(files.read("proc").is_err());
        let error = files.read("proc/none").unwrap_err();
        assert!(matches!(problem("/proc/none", &error), ProbeError::Absent(_)));
    }
}
