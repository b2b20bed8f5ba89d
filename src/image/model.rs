//! `model.toml` and the files that it names, as found beside a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ImageError;
use super::manifest::{self, Manifest};

/// The largest `model.toml`, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The largest file of labels, in bytes.
const MAX_LABELS_BYTES: u64 = 16 << 20;

/// What `model.toml` says about a model that takes pictures, with its labels; not yet compared with the model.
#[derive(Clone, Debug)]
pub struct ImageModel {
    pub(super) manifest: Manifest,
    pub(super) labels: Option<Arc<[String]>>,
    /// Where the labels came from, for messages.
    pub(super) labels_path: PathBuf,
    path: PathBuf,
    sample: Option<PathBuf>,
}

impl ImageModel {
    /// Reads `model.toml` in the model's folder, and the labels: the file that it names, relative to itself, or
    /// `labels.txt` where there is one. `None` where there is no `model.toml`.
    ///
    /// # Errors
    /// [`ImageError::Read`] if `model.toml` is there and cannot be read; [`ImageError::Manifest`] with every problem in
    /// it and in the files that it names.
    pub fn beside(model_path: &Path) -> Result<Option<ImageModel>, ImageError> {
        let folder = model_path.parent().unwrap_or(Path::new(""));
        let path = folder.join("model.toml");
        if let Err(error) = std::fs::metadata(&path)
            && error.kind() == std::io::ErrorKind::NotFound
        {
            return Ok(None);
        }
        let text =
            read_text(&path, MAX_MANIFEST_BYTES).map_err(|reason| ImageError::Read { path: path.clone(), reason })?;
        let manifest = match manifest::parse(&text) {
            Ok(manifest) => manifest,
            Err(problems) => return Err(ImageError::Manifest { path, problems }),
        };
        let mut problems = Vec::new();

        let named = manifest.output.labels.as_ref();
        let labels_path = folder.join(named.map_or("labels.txt", String::as_str));
        let mut labels = None;
        if named.is_some() || labels_path.is_file() {
            match read_text(&labels_path, MAX_LABELS_BYTES).and_then(|text| parse_labels(&text)) {
                Ok(found) => labels = Some(found),
                Err(reason) => problems.push(format!("the labels in {}: {reason}", labels_path.display())),
            }
        }
        let sample = manifest.sample.as_ref().map(|sample| folder.join(sample));
        if let Some(sample) = sample.as_ref().filter(|sample| !sample.is_file()) {
            problems.push(format!("sample names {}, which is no file", sample.display()));
        }
        if !problems.is_empty() {
            return Err(ImageError::Manifest { path, problems });
        }
        Ok(Some(ImageModel { manifest, labels, labels_path, path, sample }))
    }

    /// The manifest's own path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The picture or the `.npy` file that tries the model, if `model.toml` names one; it was there when it was read.
    pub fn sample(&self) -> Option<&Path> {
        self.sample.as_deref()
    }
}

/// Reads a regular file of text, up to a limit: not a pipe, on which reading could wait for ever.
fn read_text(path: &Path, max_bytes: u64) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if metadata.len() > max_bytes {
        return Err(format!("it has {} bytes, over the limit of {max_bytes}", metadata.len()));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
}

/// One label a line; empty lines at the end do not count, and others are refused: they would shift no index, but they
/// are never meant.
fn parse_labels(text: &str) -> Result<Arc<[String]>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let labels: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
    if let Some(line) = labels.iter().position(|label| label.is_empty()) {
        return Err(format!("line {} is empty, write one label a line", line + 1));
    }
    if labels.is_empty() {
        return Err("it has no lines, write one label a line".to_owned());
    }
    Ok(labels.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn beside(folder: &tempfile::TempDir) -> Result<Option<ImageModel>, ImageError> {
        ImageModel::beside(&folder.path().join("model.onnx"))
    }

    #[test]
    fn no_manifest_is_no_error() {
        assert!(beside(&folder(&[])).unwrap().is_none());
        assert!(ImageModel::beside(Path::new("/")).unwrap().is_none());
        assert!(ImageModel::beside(Path::new("")).unwrap().is_none());
    }

    #[test]
    fn labels_are_found_by_default_and_by_name() {
        let lines = "\u{feff}cat\r\ndog\r\n\r\n";
        let found = beside(&folder(&[("model.toml", ""), ("labels.txt", lines)])).unwrap().unwrap();
        assert_eq!(found.labels.as_deref(), Some(&["cat".to_owned(), "dog".to_owned()][..]));
        let named = [("model.toml", "[output]\nlabels = \"other.txt\""), ("other.txt", "one\n")];
        assert_eq!(beside(&folder(&named)).unwrap().unwrap().labels.unwrap().len(), 1);
        assert!(beside(&folder(&[("model.toml", "")])).unwrap().unwrap().labels.is_none());
    }

    #[test]
    fn the_sample_is_resolved_beside_the_manifest() {
        let folder = folder(&[("model.toml", "sample = \"cat.png\""), ("cat.png", "")]);
        let found = beside(&folder).unwrap().unwrap();
        assert_eq!(found.sample(), Some(folder.path().join("cat.png").as_path()));
    }

    #[test]
    fn every_missing_file_is_named_at_once() {
        let folder = folder(&[("model.toml", "sample = \"no.png\"\n[output]\nlabels = \"no.txt\"")]);
        let error = beside(&folder).unwrap_err().to_string();
        assert!(error.contains("no.png") && error.contains("no.txt") && error.contains("model.toml"), "{error}");
    }

    #[test]
    fn odd_paths_are_refused_and_do_not_hang() {
        for path in ["/dev/zero", ".", "..", "a\\u0000b", "/proc/self/mem"] {
            let text = format!("sample = \"{path}\"\n[output]\nlabels = \"{path}\"");
            let error = beside(&folder(&[("model.toml", &text)])).unwrap_err();
            assert!(matches!(error, ImageError::Manifest { .. }), "{error}");
        }
        let holder = tempfile::tempdir().unwrap();
        std::fs::create_dir(holder.path().join("model.toml")).unwrap();
        assert!(matches!(beside(&holder), Err(ImageError::Read { .. })));
    }

    #[test]
    fn an_empty_label_is_refused() {
        for (text, piece) in [("a\n\nb\n", "line 2"), ("", "no lines"), ("\n\n", "no lines")] {
            let error = beside(&folder(&[("model.toml", ""), ("labels.txt", text)])).unwrap_err().to_string();
            assert!(error.contains(piece), "{error}");
        }
    }
}
