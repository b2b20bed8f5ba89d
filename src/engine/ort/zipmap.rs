//! A model that ends in a `ZipMap`, loaded without it.

use std::fs::{self, File};
use std::path::Path;

use bytes::Bytes;
use ort::session::builder::SessionBuilder;
use prost::Message;

use crate::onnx::proto::ModelProto;
use crate::onnx::zipmap::{self, TakenOut};

/// The option of a session that names the folder of weights in files of their own, for a model in memory.
const EXTERNAL_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// The model with its `ZipMap` taken out; `None` where the file is to be loaded as it is, which also tells best what is wrong
/// with it.
pub(super) fn taken_out(path: &Path) -> Option<(Vec<u8>, Vec<TakenOut>)> {
    if !zipmap::found_in(File::open(path).ok()?).ok()? {
        return None;
    }
    let mut model = ModelProto::decode(Bytes::from(fs::read(path).ok()?)).ok()?;
    let taken = zipmap::take_out(&mut model);
    (!taken.is_empty()).then(|| (model.encode_to_vec(), taken))
}

/// Weights in files of their own lie beside the model's file, which a model in memory no longer has.
pub(super) fn beside(builder: SessionBuilder, path: &Path) -> ort::Result<SessionBuilder> {
    let path = std::path::absolute(path).map_err(|error| ort::Error::new(error.to_string()))?;
    let Some(folder) = path.parent().and_then(Path::to_str) else { return Ok(builder) };
    builder.with_config_entry(EXTERNAL_FOLDER, folder).map_err(|error| ort::Error::new(error.message()))
}
