//! A folder of pictures, or of `.npy` arrays, each one sample.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{SampleLimits, entering};
use crate::core::tensor::{ModelSpec, Tensor, TensorSpec};
use crate::image::{self, BoundImageModel};

/// Names that end so are samples; others are passed by.
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "npy"];
/// How deep folders are looked into.
const DEPTH: usize = 8;

pub(super) struct Folder {
    root: PathBuf,
    files: Vec<PathBuf>,
    image: Option<BoundImageModel>,
    /// What takes an array where there is no picture.
    input: Option<TensorSpec>,
    limits: SampleLimits,
}

impl Folder {
    pub(super) fn open(
        root: &Path,
        spec: &ModelSpec,
        image: Option<&BoundImageModel>,
        limits: SampleLimits,
    ) -> Result<Folder, String> {
        let files = list(root, limits.max_samples)?;
        if files.is_empty() {
            return Err(format!("the folder has no sample: no name in it ends in {}", ENDINGS.join(", ")));
        }
        let mut required = spec.inputs.iter().filter(|input| !input.optional);
        let input = match (image, required.next(), required.next()) {
            (Some(image), _, _) => spec.inputs.iter().find(|input| input.name == image.input_name()),
            (None, only, None) => only,
            _ => return Err("the model has several inputs: give a .npz with one array an input".to_owned()),
        };
        if image.is_none() && !files.iter().any(|file| ending(file).as_deref() == Some("npy")) {
            return Err("no model.toml beside the model says how a picture becomes its input: write one (see \
                        docs/model-toml.md), or give a .npz"
                .to_owned());
        }
        Ok(Folder { root: root.to_owned(), files, image: image.cloned(), input: input.cloned(), limits })
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The file's path within the folder.
    pub(super) fn name(&self, index: usize) -> String {
        let Some(file) = self.files.get(index) else { return index.to_string() };
        file.strip_prefix(&self.root).unwrap_or(file).display().to_string()
    }

    pub(super) fn read(&self, index: usize) -> Result<Vec<Tensor>, String> {
        let file = self.files.get(index).ok_or("there is no such sample")?;
        let input = self.input.as_ref().ok_or("the model takes no input")?;
        let bytes = read_file(file, self.limits.max_bytes)?;
        let tensor = match (&self.image, ending(file).as_deref()) {
            (_, Some("npy")) => image::read_npy(&bytes, &input.name),
            (Some(image), _) => image::to_input(image, &bytes, &image::Limits { max_pixels: self.limits.max_pixels }),
            (None, _) => return Err("no model.toml says how a picture becomes the model's input".to_owned()),
        };
        let tensor = tensor.map_err(|error| error.to_string())?;
        let shape = entering(input, tensor.datatype(), tensor.shape())?;
        let (datatype, data) = (tensor.datatype(), tensor.data().clone());
        Tensor::new(tensor.name(), datatype, shape, data).map(|tensor| vec![tensor]).map_err(|error| error.to_string())
    }
}

/// The files of a folder that are samples, in their order.
pub(super) fn list(root: &Path, most: usize) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    gather(root, DEPTH, &mut files, most)?;
    files.sort();
    Ok(files)
}

fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
}

/// Plain files whose names say that they are samples, below the folder too; hidden ones are passed by.
fn gather(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, most: usize) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        // A link may lead back up: only depth ends it. What is neither folder nor plain file could make a reader wait.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_dir() && depth > 0 {
            gather(&path, depth - 1, files, most)?;
        } else if metadata.is_file() && ending(&path).is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            files.push(path);
        }
        if files.len() > most {
            return Err(format!("the folder has more than {most} samples: give one with fewer"));
        }
    }
    Ok(())
}

fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most { Err(format!("it has more than {most} bytes")) } else { Ok(bytes) }
}
