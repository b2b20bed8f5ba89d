//! Golden samples: real frames that quantising did not use, and the digest that names them in a receipt.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};

use crate::config::ModelConfig;
use crate::core::tensor::{ModelSpec, Tensor};
use crate::image::BoundImageModel;
use crate::onnx::proto::StringStringEntryProto;
use crate::samples::{self, SampleLimits, Samples};

/// The most files of a folder that are looked at.
const MOST_FILES: usize = 10_000;
/// The most frames on which two models are held against each other.
pub const MOST_FRAMES: usize = 256;
/// The metadata in which the quantiser tells the samples that it used.
pub const SAMPLES_USED: &str = "edge_service.samples_used";
/// The metadata in which the quantiser tells the SHA-256 of the original.
pub const SOURCE: &str = "edge_service.source_sha256";

/// What is known of a model file that the runtime need not be asked for: the rest of it is passed over.
#[derive(Clone, PartialEq, Message)]
struct Props {
    #[prost(message, repeated, tag = "14")]
    metadata: Vec<StringStringEntryProto>,
}

/// What a file says of itself under this key.
fn told(candidate: &Path, key: &str) -> Option<String> {
    let props = std::fs::read(candidate).ok().and_then(|bytes| Props::decode(bytes.as_slice()).ok())?;
    props.metadata.into_iter().find(|entry| entry.key.as_deref() == Some(key))?.value
}

/// The SHA-256 of the original that a quantised file was made of, where it tells that.
pub fn source(candidate: &Path) -> Option<String> {
    told(candidate, SOURCE)
}

/// The digests of the samples that quantising used, as the file itself tells; none where it does not.
pub fn used(candidate: &Path) -> BTreeSet<String> {
    let told = told(candidate, SAMPLES_USED);
    let digests = told.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|digest| !digest.is_empty());
    digests.map(str::to_owned).collect()
}

/// One digest of all that makes the frames what they are: the files, and the `model.toml` that pictures go through. Empty
/// where there are none.
pub fn digest(config: &ModelConfig) -> String {
    let Some(source) = config.frames() else { return String::new() };
    let mut digest = Sha256::new();
    let manifest = [config.path.with_file_name("model.toml")];
    for path in files(&source).iter().chain(&manifest) {
        digest.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        // A file that cannot be read is one that is not there.
        let _ = feed(&mut digest, path);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn files(source: &Path) -> Vec<PathBuf> {
    if !source.is_dir() {
        return vec![source.to_owned()];
    }
    let entries = std::fs::read_dir(source).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort_unstable();
    files.truncate(MOST_FILES);
    files
}

fn feed(digest: &mut Sha256, path: &Path) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0u8; 256 << 10];
    let mut length = 0u64;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                digest.update(buffer.get(..count).unwrap_or_default());
                length += count as u64;
            }
        }
    }
    digest.update(length.to_le_bytes());
    Ok(())
}

/// The real frames of a model, one at a time.
pub struct Golden {
    samples: Option<Samples>,
    numbers: std::vec::IntoIter<usize>,
    used: BTreeSet<String>,
    /// Frames that were left out because quantising used them.
    pub left_out: usize,
    /// Why there are none.
    pub none: Option<String>,
}

impl Golden {
    /// The frames that the configuration names, or that lie beside the model, without those that are `used`.
    pub fn open(
        config: &ModelConfig,
        spec: &ModelSpec,
        image: Option<&BoundImageModel>,
        used: BTreeSet<String>,
    ) -> Golden {
        let limits =
            SampleLimits { max_pixels: config.max_image_pixels, max_samples: MOST_FILES, ..SampleLimits::default() };
        let opened = match config.frames() {
            None => Err("there is no folder of frames".to_owned()),
            Some(source) => samples::open(&source, spec, image, limits).map_err(|error| error.to_string()),
        };
        let (samples, none) = match opened {
            Ok(samples) => (Some(samples), None),
            Err(reason) => (None, Some(reason)),
        };
        // All of them, where quantising may have used some; else as many as are compared.
        let most = MOST_FRAMES.saturating_add(used.len());
        let numbers = samples.as_ref().map(|samples| samples.spread(most)).unwrap_or_default();
        Golden { samples, numbers: numbers.into_iter(), used, left_out: 0, none }
    }
}

impl Iterator for Golden {
    type Item = Vec<Tensor>;

    /// The next frame that can be read and that quantising did not use.
    fn next(&mut self) -> Option<Vec<Tensor>> {
        let samples = self.samples.as_mut()?;
        for number in self.numbers.by_ref() {
            match samples.read(number) {
                Ok(sample) if self.used.contains(&sample.digest) => self.left_out += 1,
                Ok(sample) => return Some(sample.inputs),
                Err(error) => tracing::debug!(event = "frame_left_out", "{error}"),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_digest_follows_the_files_and_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Config::default().model;
        model.path = folder.path().join("model.onnx");
        assert_eq!(digest(&model), "");
        let frames = folder.path().join("frames");
        std::fs::create_dir(&frames).unwrap();
        std::fs::write(frames.join("a.png"), b"one").unwrap();
        let mut seen = vec![digest(&model)];
        std::fs::write(frames.join("a.png"), b"two").unwrap();
        seen.push(digest(&model));
        std::fs::rename(frames.join("a.png"), frames.join("b.png")).unwrap();
        seen.push(digest(&model));
        std::fs::write(folder.path().join("model.toml"), b"x").unwrap();
        seen.push(digest(&model));
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 4, "{seen:?}");
        assert_eq!(digest(&model), seen[3]);
    }

    #[test]
    fn the_samples_that_quantising_used_are_read_off_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let entry =
            |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
        let props =
            Props { metadata: vec![entry("other", "z"), entry(SAMPLES_USED, "0011, 2233,"), entry(SOURCE, "ab")] };
        // As in a file that holds more than this.
        let model = crate::onnx::proto::ModelProto {
            metadata_props: props.metadata,
            ir_version: Some(8),
            ..Default::default()
        };
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        assert_eq!(used(&path), BTreeSet::from(["0011".to_owned(), "2233".to_owned()]));
        assert!(used(&folder.path().join("none")).is_empty());
        assert_eq!((source(&path).as_deref(), source(&folder.path().join("none"))), (Some("ab"), None));
    }
}
