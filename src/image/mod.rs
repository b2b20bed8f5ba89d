//! Pictures: bytes of a JPEG or a PNG to the tensor that a model wants, and its scores to labels. What the model wants is
//! told by `model.toml` beside it (`docs/model-toml.md`). No HTTP, no actor, no clock in here.
//!
//! The way of a picture: [`decode`] (8-bit RGB, upright) → [`BoundImageModel::preprocess`] (resize, normalise) → the
//! engine → [`BoundImageModel::postprocess`] (activation, top-k, labels).

mod bind;
mod decode;
mod error;
mod file;
mod manifest;
mod model;
mod npy;
mod pixels;
mod resample;
mod resize;
mod scores;
mod section;

pub use bind::BoundImageModel;
pub use decode::{BYTES_A_PIXEL, Limits, Picture, decode, decode_among};
pub use error::ImageError;
pub use file::{read_input, to_input};
pub use model::ImageModel;
pub use npy::{read_npy, read_npy_head};
pub use scores::Prediction;
