//! Golden samples: real frames that quantising did not use, and the digest that names them in a receipt.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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

/// One digest of all that makes the frames what they are: the files by their names, lengths and times of change, and the
/// `model.toml` that pictures go through. Empty where there are none. No frame is read for it: it is asked for at every load.
pub fn digest(config: &ModelConfig) -> String {
    let Some(source) = config.frames() else { return String::new() };
    let mut digest = Sha256::new();
    digest.update(config.max_image_pixels.to_le_bytes());
    match samples::files(&source, MOST_FILES) {
        Ok(files) => {
            for path in files {
                digest.update(path.strip_prefix(&source).unwrap_or(&path).as_os_str().as_encoded_bytes());
                // A file that cannot be looked at is one that is not there.
                let stamp = std::fs::metadata(&path).map(|about| (about.len(), about.mtime(), about.mtime_nsec()));
                let (length, seconds, nanoseconds) = stamp.unwrap_or_default();
                // No name has a NUL in it.
                digest.update([0]);
                digest.update(length.to_le_bytes());
                digest.update(seconds.to_le_bytes());
                digest.update(nanoseconds.to_le_bytes());
            }
        }
        // Then there are no frames, for this reason.
        Err(reason) => digest.update(reason),
    }
    digest.update(std::fs::read(config.path.with_file_name("model.toml")).unwrap_or_default());
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The real frames of a model, one at a time.
pub struct Golden {
    samples: Option<Samples>,
    numbers: std::vec::IntoIter<usize>,
    used: BTreeSet<String>,
    /// The digests of those that were given out.
    given: BTreeSet<String>,
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
        Golden { samples, numbers: numbers.into_iter(), used, given: BTreeSet::new(), left_out: 0, none }
    }
}

impl Golden {
    /// The next frame that can be read, that quantising did not use and that is not the same as one before; none once `is_over`, which is asked also between
    /// frames that are passed over.
    pub fn next_frame(&mut self, is_over: &impl Fn() -> bool) -> Option<Vec<Tensor>> {
        let samples = self.samples.as_mut()?;
        while !is_over() {
            match samples.read(self.numbers.next()?) {
                Ok(sample) if self.used.contains(&sample.digest) => self.left_out += 1,
                Ok(sample) if !self.given.insert(sample.digest.clone()) => {}
                Ok(sample) => return Some(sample.inputs),
                Err(error) => tracing::debug!(event = "frame_left_out", "{error}"),
            }
        }
        None
    }

    /// Whether frames are left that were not looked at.
    pub fn has_more(&self) -> bool {
        self.numbers.len() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::tensor::{DataType, TensorSpec};

    #[test]
    fn the_digest_follows_the_frames_that_are_read_and_the_manifest_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Config::default().model;
        model.path = folder.path().join("model.onnx");
        assert_eq!(digest(&model), "");
        let (frames, below) = (folder.path().join("frames"), folder.path().join("frames/night"));
        std::fs::create_dir_all(&below).unwrap();
        let (one, other) = (frames.join("a.png"), below.join("a.png"));
        std::fs::write(&one, b"one").unwrap();
        let mut seen = vec![digest(&model)];
        let mut changed = |what: &str| {
            let now = digest(&model);
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        std::fs::write(&one, b"longer").unwrap();
        changed("another length");
        let file = std::fs::File::options().write(true).open(&one).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        changed("another time of change");
        std::fs::rename(&one, frames.join("b.png")).unwrap();
        changed("another name");
        std::fs::write(&other, b"one").unwrap();
        changed("a frame in a folder below");
        std::fs::write(folder.path().join("model.toml"), b"x").unwrap();
        changed("what frames go through");
        std::fs::write(frames.join("README.md"), b"no frame").unwrap();
        std::fs::write(frames.join(".hidden.png"), b"no frame").unwrap();
        assert_eq!(Some(&digest(&model)), seen.last());
    }

    #[test]
    fn frames_that_are_passed_over_take_no_longer_than_there_is_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Config::default().model;
        model.path = folder.path().join("model.onnx");
        std::fs::create_dir(folder.path().join("frames")).unwrap();
        for number in 0..9 {
            std::fs::write(folder.path().join(format!("frames/{number}.npy")), b"no array").unwrap();
        }
        let input = TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![1, 2], optional: false };
        let spec = ModelSpec { inputs: vec![input], ..ModelSpec::default() };
        let mut golden = Golden::open(&model, &spec, None, BTreeSet::new());
        let looks = std::cell::Cell::new(0);
        let is_over = || looks.replace(looks.get() + 1) >= 3;
        assert_eq!((golden.next_frame(&is_over), golden.has_more()), (None, true));
        assert_eq!(golden.numbers.len(), 6);
        assert_eq!((golden.next_frame(&|| false), golden.has_more()), (None, false));
    }

    #[test]
    fn a_frame_that_is_there_more_than_once_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Config::default().model;
        model.path = folder.path().join("model.onnx");
        std::fs::create_dir(folder.path().join("frames")).unwrap();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
        for (name, values) in [("a", [1.0f32, 2.0]), ("b", [1.0, 2.0]), ("c", [2.0, 2.0]), ("d", [1.0, 2.0])] {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend(u16::try_from(header.len() + 1).unwrap().to_le_bytes());
            bytes.extend(header.bytes().chain(*b"\n"));
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            std::fs::write(folder.path().join(format!("frames/{name}.npy")), bytes).unwrap();
        }
        let input = TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![1, 2], optional: false };
        let spec = ModelSpec { inputs: vec![input], ..ModelSpec::default() };
        let mut golden = Golden::open(&model, &spec, None, BTreeSet::new());
        let frames = std::iter::from_fn(|| golden.next_frame(&|| false)).count();
        assert_eq!((frames, golden.left_out), (2, 0));
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
