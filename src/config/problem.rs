//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a setting, or what is wrong with it, stands. The order is the one in which problems are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A configuration file; the line and the column count from 1 and are 0 where the whole file is meant.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line, or 0.
        line: usize,
        /// The column, or 0.
        column: usize,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// An option on the command line, such as `--model`.
    Option(&'static str),
    /// The default of a key that nothing sets.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Place::File { path, line, column: 0 } => write!(f, "{}:{line}", path.display()),
            Place::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Place::Variable(name) => f.write_str(name),
            Place::Option(name) => f.write_str(name),
            Place::Default => f.write_str("default"),
        }
    }
}

/// What kind of problem it is: it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A setting that is unknown, malformed or out of range.
    Setting,
    /// A file that is not there or cannot be read.
    Unreadable,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where it stands.
    pub place: Place,
    /// The key, such as `server.listen`; empty where the problem is a whole file.
    pub key: String,
    /// What is wrong and what to do: lower case, no full stop.
    pub message: String,
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// A second key that takes part, where two settings contradict each other.
    pub(super) against: Option<String>,
}

impl ConfigProblem {
    pub(super) fn new(place: Place, key: impl Into<String>, message: impl Into<String>) -> Self {
        let (key, message) = (key.into(), message.into());
        ConfigProblem { place, key, message, kind: ProblemKind::Setting, against: None }
    }

    pub(super) fn unreadable(place: Place, message: impl Into<String>) -> Self {
        ConfigProblem { kind: ProblemKind::Unreadable, ..ConfigProblem::new(place, "", message) }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: {}: {}", self.place, self.key, self.message)
        }
    }
}

/// Everything that is wrong with a configuration: at least one problem, each one line when displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigProblem>);

impl ConfigErrors {
    /// The exit code that fits: 66 (`EX_NOINPUT`) where a file is missing or unreadable, else 78 (`EX_CONFIG`).
    pub fn exit_code(&self) -> u8 {
        if self.0.iter().any(|problem| problem.kind == ProblemKind::Unreadable) { 66 } else { 78 }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A value as the user wrote it, fit for one line of text: quoted, escaped, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
