//! Why no INT8 file was made, and the exit code of that.

use crate::engine::LoadError;
use crate::onnx::file::FileError;
use crate::quantize::Error;
use crate::samples::SamplesError;

/// Exit codes of `sysexits.h`.
const EX_USAGE: u8 = 64;
const EX_DATAERR: u8 = 65;
const EX_NOINPUT: u8 = 66;
const EX_SOFTWARE: u8 = 70;
const EX_IOERR: u8 = 74;

/// One line that says what stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file or folder is not there.
    #[error("{0}")]
    Missing(String),
    /// What is there is of no use.
    #[error("{0}")]
    Unusable(String),
    /// What was asked for does not go together.
    #[error("{0}")]
    Asked(String),
    /// The output or the report cannot be written.
    #[error("{0}")]
    Output(String),
    /// The INT8 model does not do what it should.
    #[error("{0}")]
    Made(String),
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Missing(_) => EX_NOINPUT,
            Failure::Unusable(_) => EX_DATAERR,
            Failure::Asked(_) => EX_USAGE,
            Failure::Output(_) => EX_IOERR,
            Failure::Made(_) => EX_SOFTWARE,
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        match &error {
            FileError::Read { .. } => Failure::Missing(error.to_string()),
            FileError::Write { .. } => Failure::Output(error.to_string()),
            _ => Failure::Unusable(error.to_string()),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        match &error {
            LoadError::Missing { .. } => Failure::Missing(error.to_string()),
            LoadError::Unusable { .. } => Failure::Unusable(error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match &error {
            Error::Rewritten(_) => Failure::Made(error.to_string()),
            Error::Types => Failure::Asked(error.to_string()),
            _ => Failure::Unusable(error.to_string()),
        }
    }
}

impl From<SamplesError> for Failure {
    fn from(error: SamplesError) -> Failure {
        match &error {
            SamplesError::Missing { .. } => Failure::Missing(error.to_string()),
            SamplesError::Unusable { .. } => Failure::Unusable(error.to_string()),
        }
    }
}
