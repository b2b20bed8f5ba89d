//! A picture or a `.npy` file as the model's input: for the command line and the canary's sample.

use std::path::Path;

use super::{BoundImageModel, ImageError, Limits, decode, read_npy};
use crate::core::tensor::Tensor;

/// The first bytes of every `.npy` file.
const NUMPY: &[u8] = b"\x93NUMPY";

/// The input tensor that `bytes` stand for: a `.npy` array as it is, a picture through the preprocessing.
///
/// # Errors
/// [`ImageError`] says what is wrong with the contents.
pub fn to_input(model: &BoundImageModel, bytes: &[u8], limits: &Limits) -> Result<Tensor, ImageError> {
    if bytes.starts_with(NUMPY) {
        return read_npy(bytes, model.input_name());
    }
    model.preprocess(&decode(bytes, limits)?)
}

/// The same for a file.
///
/// # Errors
/// One line: the file cannot be read, or what is wrong with its contents.
pub fn read_input(model: &BoundImageModel, path: &Path, limits: &Limits) -> Result<Tensor, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    to_input(model, &bytes, limits).map_err(|error| error.to_string())
}
