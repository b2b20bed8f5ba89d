//! Samples: what a model is calibrated, compared and qualified with, read one at a time. They come from a folder of
//! pictures, through the `model.toml` beside the model (or of `.npy` arrays, each one run), or from a `.npz` with one array
//! an input whose first axis counts the samples.
//!
//! A sample that cannot be read is told and passed over; what is wrong with all of them is an error at once.

mod folder;
mod npz;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::core::tensor::{DataType, ModelSpec, Tensor, TensorData, TensorSpec};
use crate::image::BoundImageModel;

/// One run's inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The file's name, or its place in the arrays.
    pub name: String,
    /// The inputs, in the model's order.
    pub inputs: Vec<Tensor>,
    /// The first 16 hexadecimal digits of the SHA-256 of the inputs' contents, in the model's order.
    pub digest: String,
}

/// What is read at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleLimits {
    /// Pixels of a picture.
    pub max_pixels: u64,
    /// Bytes of a file in a folder, and of one sample's inputs.
    pub max_bytes: u64,
    /// Samples that are looked at.
    pub max_samples: usize,
}

impl Default for SampleLimits {
    fn default() -> SampleLimits {
        SampleLimits { max_pixels: 64 << 20, max_bytes: 512 << 20, max_samples: 1_000_000 }
    }
}

/// Why there are no samples at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplesError {
    /// The path cannot be read.
    #[error("samples {path}: {reason}")]
    Missing {
        /// The path as given.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// What is there does not fit the model.
    #[error("samples {path}: {reason}")]
    Unusable {
        /// The path as given.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// One sample that was passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sample {name} is passed over: {reason}")]
pub struct Unreadable {
    /// The sample's name.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The samples of one folder or file, by number. Reading in ascending order is cheap; going back in a compressed
/// array begins it anew.
pub struct Samples {
    source: Source,
    spec: ModelSpec,
    next: usize,
}

enum Source {
    Folder(Box<folder::Folder>),
    Arrays(npz::Arrays),
}

/// Opens the samples at `path` for a model of this spec: a folder, whose pictures go through `image`, or a `.npz`.
///
/// # Errors
/// [`SamplesError`], one line: nothing there, or nothing that fits the model.
pub fn open(
    path: &Path,
    spec: &ModelSpec,
    image: Option<&BoundImageModel>,
    limits: SampleLimits,
) -> Result<Samples, SamplesError> {
    let shown = path.display().to_string();
    let unusable = |reason: String| SamplesError::Unusable { path: shown.clone(), reason };
    let metadata = std::fs::metadata(path)
        .map_err(|error| SamplesError::Missing { path: shown.clone(), reason: error.to_string() })?;
    let source = if metadata.is_dir() {
        Source::Folder(Box::new(folder::Folder::open(path, spec, image, limits).map_err(unusable)?))
    } else if metadata.is_file() {
        Source::Arrays(npz::Arrays::open(path, spec, limits).map_err(unusable)?)
    } else {
        return Err(unusable("it is neither a folder nor a .npz file".to_owned()));
    };
    Ok(Samples { source, spec: spec.clone(), next: 0 })
}

/// The files from which [`open`] reads the samples at `path`, in their order: of a folder those that are samples, else the
/// file itself.
///
/// # Errors
/// The folder cannot be read, or has more than `most`.
pub fn files(path: &Path, most: usize) -> Result<Vec<PathBuf>, String> {
    if path.is_dir() { folder::list(path, most) } else { Ok(vec![path.to_owned()]) }
}

impl Samples {
    /// How many there are, unreadable ones included: at least one.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Folder(folder) => folder.len(),
            Source::Arrays(arrays) => arrays.len(),
        }
    }

    /// Never: an empty folder or array is an error at [`open`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of at most `count` samples, evenly spread over all and ascending: files are often sorted by what they show.
    pub fn spread(&self, count: usize) -> Vec<usize> {
        let all = self.len();
        let count = count.min(all);
        (0..count).map(|index| index * all / count.max(1)).collect()
    }

    /// Reads one sample.
    ///
    /// # Errors
    /// [`Unreadable`] says what is wrong with this one.
    pub fn read(&mut self, index: usize) -> Result<Sample, Unreadable> {
        let (name, inputs) = match &mut self.source {
            Source::Folder(folder) => (folder.name(index), folder.read(index)),
            Source::Arrays(arrays) => (format!("{index}"), arrays.read(index)),
        };
        match inputs.and_then(|inputs| fitted(&self.spec, inputs)) {
            Ok(inputs) => Ok(Sample { digest: digest(&inputs), name, inputs }),
            Err(reason) => Err(Unreadable { name, reason }),
        }
    }
}

impl Iterator for Samples {
    type Item = Result<Sample, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next;
        self.next += 1;
        (index < self.len()).then(|| self.read(index))
    }
}

/// The inputs in the model's order, each of the shape that it takes, and finite.
fn fitted(spec: &ModelSpec, mut inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
    let mut ordered = Vec::with_capacity(inputs.len());
    for wanted in &spec.inputs {
        if let Some(at) = inputs.iter().position(|tensor| tensor.name() == wanted.name) {
            let tensor = inputs.swap_remove(at);
            fits(wanted, tensor.datatype(), tensor.shape())?;
            if let Some(index) = not_finite(&tensor) {
                return Err(format!("input '{}' holds a NaN or an infinity, at element {index}", wanted.name));
            }
            ordered.push(tensor);
        }
    }
    Ok(ordered)
}

/// The shape with which one sample of `shape` enters the model: as it is, or with a leading 1 put back.
fn entering(wanted: &TensorSpec, datatype: DataType, shape: &[usize]) -> Result<Vec<usize>, String> {
    let with_one: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
    if !wanted.accepts(shape) && wanted.accepts(&with_one) {
        fits(wanted, datatype, &with_one).map(|()| with_one)
    } else {
        fits(wanted, datatype, shape).map(|()| shape.to_vec())
    }
}

fn fits(wanted: &TensorSpec, datatype: DataType, shape: &[usize]) -> Result<(), String> {
    let name = &wanted.name;
    if datatype != wanted.datatype {
        return Err(format!("input '{name}' takes {}, not {datatype}: convert the array", wanted.datatype));
    }
    if wanted.accepts(shape) {
        return Ok(());
    }
    Err(format!("input '{name}' takes the shape {:?}, and one sample has {shape:?}", wanted.shape))
}

fn not_finite(tensor: &Tensor) -> Option<usize> {
    let TensorData::Raw(raw) = tensor.data() else { return None };
    match tensor.datatype() {
        DataType::Fp32 => raw.as_chunks::<4>().0.iter().position(|c| !f32::from_le_bytes(*c).is_finite()),
        DataType::Fp64 => raw.as_chunks::<8>().0.iter().position(|c| !f64::from_le_bytes(*c).is_finite()),
        DataType::Fp16 => raw.as_chunks::<2>().0.iter().position(|c| !half::f16::from_le_bytes(*c).is_finite()),
        DataType::Bf16 => raw.as_chunks::<2>().0.iter().position(|c| !half::bf16::from_le_bytes(*c).is_finite()),
        _ => None,
    }
}

fn digest(inputs: &[Tensor]) -> String {
    let mut digest = Sha256::new();
    for tensor in inputs {
        match tensor.data() {
            TensorData::Raw(raw) => digest.update(raw),
            TensorData::Strings(strings) => strings.iter().for_each(|string| {
                digest.update((string.len() as u64).to_le_bytes());
                digest.update(string);
            }),
        }
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
