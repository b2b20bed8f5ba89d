//! Where the ONNX Runtime library is found, and whether it can be opened at all.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::config::ModelConfig;

/// The release that this daemon is made for; older ones may crash on malformed models.
pub const MADE_FOR: (u32, u32) = (1, 31);

const LIBRARY: &str = "libonnxruntime.so";
/// The folder of a checkout into which `make` fetches the library.
const FETCHED: &str = ".runtime";
const HINT: &str =
    "run `make runtime` in a checkout, or set model.runtime_library to the file libonnxruntime.so of ONNX Runtime 1.31";

/// Why no library could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// None of the known places has one.
    #[error("no ONNX Runtime library: looked for {tried}; {HINT}")]
    NotFound {
        /// Every path that was tried, comma-separated.
        tried: String,
    },
    /// The file is no shared library, or a part of one.
    #[error("ONNX Runtime library {path}: {reason}; {HINT}")]
    Broken {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The first library that is there, in the order: configuration, `ORT_DYLIB_PATH`, beside the executable,
/// `../lib` of it, a checkout's fetched copy above it, the system's folders.
///
/// # Errors
/// [`RuntimeError`]; a path that was set by hand is not passed over when it is wrong.
pub fn find(
    config: &ModelConfig,
    dylib_path: Option<&Path>,
    executable: Option<&Path>,
) -> Result<PathBuf, RuntimeError> {
    let by_hand = config.runtime_library.as_deref().or(dylib_path);
    let candidates = match by_hand {
        Some(path) => vec![if path.is_dir() { path.join(LIBRARY) } else { path.to_owned() }],
        None => known_places(executable),
    };
    for candidate in &candidates {
        if candidate.is_file() {
            check_whole(candidate)?;
            return Ok(candidate.clone());
        }
    }
    let tried: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    Err(RuntimeError::NotFound { tried: tried.join(", ") })
}

fn known_places(executable: Option<&Path>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(folder) = executable.and_then(Path::parent) {
        places.push(folder.join(LIBRARY));
        places.push(folder.join("../lib").join(LIBRARY));
        places.extend(folder.ancestors().skip(1).take(3).map(|above| above.join(FETCHED).join(LIBRARY)));
    }
    let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    for folder in ["/usr/local/lib", "/usr/lib/edge-service", triplet.as_str(), "/usr/lib"] {
        places.push(Path::new(folder).join(LIBRARY));
    }
    places
}

/// Opening a library that was cut short kills the process (SIGBUS): an ELF file whose section table lies beyond
/// its end is refused before.
fn check_whole(path: &Path) -> Result<(), RuntimeError> {
    let broken = |reason: String| RuntimeError::Broken { path: path.display().to_string(), reason };
    let mut file = File::open(path).map_err(|error| broken(error.to_string()))?;
    let mut header = [0u8; 64];
    file.read_exact(&mut header).map_err(|_| broken("it is no shared library".to_owned()))?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(broken("it is no 64-bit shared library".to_owned()));
    }
    // ELF-64 header: e_shoff at 40, e_shentsize at 58, e_shnum at 60.
    let offset = u64::from_le_bytes(header[40..48].try_into().unwrap_or_default());
    let size = u16::from_le_bytes([header[58], header[59]]);
    let count = u16::from_le_bytes([header[60], header[61]]);
    let end = offset.saturating_add(u64::from(size) * u64::from(count));
    // Program headers: e_phoff at 32, e_phentsize at 54, e_phnum at 56. Their segments are what is mapped.
    let end = end.max(segments_end(&mut file, &header).map_err(|_| broken("it is cut short".to_owned()))?);
    let length = file.seek(SeekFrom::End(0)).map_err(|error| broken(error.to_string()))?;
    if length < end {
        return Err(broken(format!("it is cut short: {length} bytes instead of {end}")));
    }
    Ok(())
}

/// Where the last segment of a 64-bit ELF file ends in it.
fn segments_end(file: &mut File, header: &[u8; 64]) -> std::io::Result<u64> {
    let offset = u64::from_le_bytes(header[32..40].try_into().unwrap_or_default());
    let size = u64::from(u16::from_le_bytes([header[54], header[55]]));
    let count = u64::from(u16::from_le_bytes([header[56], header[57]]));
    let mut end = 0;
    for number in 0..count {
        let mut segment = [0u8; 40];
        file.seek(SeekFrom::Start(offset.saturating_add(number * size)))?;
        file.read_exact(&mut segment)?;
        // p_offset at 8, p_filesz at 32.
        let number = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().unwrap_or_default());
        end = end.max(number(8).saturating_add(number(32)));
    }
    Ok(end)
}

/// Major and minor of a version such as `1.31.1`.
pub fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_nowhere_is_answered_with_every_place_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let config = ModelConfig { runtime_library: Some(folder.path().to_owned()), ..ModelConfig::default() };
        let text = find(&config, None, None).unwrap_err().to_string();
        assert!(text.contains("libonnxruntime.so") && text.contains("make runtime"), "{text}");
    }

    #[test]
    fn a_library_cut_short_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LIBRARY);
        let mut elf = vec![0u8; 100];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[40..48].copy_from_slice(&1000u64.to_le_bytes());
        elf[58] = 64;
        elf[60] = 2;
        std::fs::write(&path, &elf).unwrap();
        let text = find(&ModelConfig::default(), Some(&path), None).unwrap_err().to_string();
        assert!(text.contains("cut short"), "{text}");
        std::fs::write(&path, "not a library at all, and much longer than sixty-four bytes, for sure").unwrap();
        assert!(find(&ModelConfig::default(), Some(&path), None).unwrap_err().to_string().contains("no 64-bit"));
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(parse_version("1.9.0") < parse_version("1.31.1"));
        assert_eq!(parse_version("one"), None);
    }
}
