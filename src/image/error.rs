//! What can go wrong with a picture, with `model.toml`, and with a model's scores.

use std::path::PathBuf;

use crate::core::tensor::TensorError;

/// Why a picture, a manifest or a set of scores was refused.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The body has no bytes.
    #[error("the body is empty: send one JPEG or PNG as the body")]
    Empty,
    /// The first bytes are those of something else.
    #[error("the body is not JPEG or PNG, it looks like {looks_like}: send one JPEG or PNG as the body")]
    NotAPicture {
        /// The format that the first bytes tell, or the bytes themselves.
        looks_like: String,
    },
    /// The header declares more pixels than the limit; nothing was decoded.
    #[error("the {format} declares {width} x {height} pixels, over the limit of {max_pixels}: send a smaller picture")]
    TooManyPixels {
        /// `JPEG` or `PNG`.
        format: &'static str,
        /// Declared width, in pixels.
        width: u32,
        /// Declared height, in pixels.
        height: u32,
        /// The limit, in pixels.
        max_pixels: u64,
    },
    /// Too many pictures are being decoded; nothing of this one was.
    #[error("too many bytes of pictures are held (server.max_image_memory_bytes)")]
    NoMemory,
    /// The file ends before the picture does.
    #[error("the {format} is cut short: send the whole file")]
    CutShort {
        /// `JPEG` or `PNG`.
        format: &'static str,
    },
    /// A kind of file that is valid and not served.
    #[error(
        "the {format} is of a kind that is not read ({what}): save it as a baseline or progressive 8-bit JPEG, or as PNG"
    )]
    Unsupported {
        /// `JPEG` or `PNG`.
        format: &'static str,
        /// What is special about it.
        what: String,
    },
    /// The contents break the format's rules.
    #[error("the {format} is damaged ({reason}): send a file that other programs open")]
    Damaged {
        /// `JPEG` or `PNG`.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// The resizer refused, or contents and shape of a tensor did not fit: a fault of this program.
    #[error("cannot make the model's input from the picture ({reason}): report this with the picture and model.toml")]
    Preprocess {
        /// What failed.
        reason: String,
    },
    /// A file named by the operator cannot be read.
    #[error("cannot read {}: {reason}: check that the file exists and that the service may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// `model.toml`, or what it names, is wrong: every problem found.
    #[error("{} is wrong: {}: correct it, see docs/model-toml.md", path.display(), problems.join("; "))]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// One line a problem.
        problems: Vec<String>,
    },
    /// The bytes are no NumPy array that can be read.
    #[error("cannot read the .npy array '{name}': {reason}")]
    Npy {
        /// The name that the tensor would have had.
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The scores cannot be read as one list.
    #[error("cannot read the scores in output '{output}': {reason}")]
    Scores {
        /// The output's name.
        output: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl From<TensorError> for ImageError {
    fn from(error: TensorError) -> Self {
        ImageError::Preprocess { reason: error.to_string() }
    }
}
