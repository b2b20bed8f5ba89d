//! Model files: read with the contents that lie beside them, written whole or not at all.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::proto::{DataLocation, ElementType, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};

/// The largest message of Protocol Buffers, in bytes, less a little: contents of tensors of larger models go into a file beside.
const LARGEST_MESSAGE: usize = (2 << 30) - (16 << 20);
/// Where contents go into a file beside the model, only tensors of at least so many bytes do.
const LEAST_EXTERNAL: usize = 1024;
/// Where the contents of tensors start in such a file: multiples of this, so that they can be mapped.
const ALIGNMENT: usize = 4096;

/// A model file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its bytes are no model.
    #[error("{} is not an ONNX model: {why}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Contents that lie beside the model cannot be had.
    #[error("{}: the contents of the tensor {tensor:?} lie in another file, and {why}", path.display())]
    External {
        /// The model.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        why: String,
    },
    /// It cannot be written; nothing of it is there.
    #[error("{} cannot be written: {source}; nothing was left there", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Bytes to a model; contents of tensors stay slices of the bytes. The text says why they are none.
pub fn decode(bytes: Bytes) -> Result<ModelProto, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let model = ModelProto::decode(bytes).map_err(|error| format!("{error}; it is damaged, or something else"))?;
    match model.graph {
        Some(_) => Ok(model),
        None => Err("it has no graph".to_owned()),
    }
}

/// A model to bytes.
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// Reads a model, with the contents of tensors that lie in files beside it.
pub fn read(path: &Path) -> Result<ModelProto, FileError> {
    let bytes = whole(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let mut model = decode(bytes).map_err(|why| FileError::Decode { path: path.to_owned(), why })?;
    bring_in(&mut model, path)?;
    Ok(model)
}

/// The contents of a regular file. Anything else, such as a device without an end, is refused.
fn whole(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let length = usize::try_from(about.len()).map_err(|_| ErrorKind::FileTooLarge)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length)?;
    file.take(about.len()).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Whether contents of tensors lie in other files.
pub fn is_parted(model: &mut ModelProto) -> bool {
    let mut parted = false;
    let looked = each_tensor(model, &mut |tensor| {
        parted |= tensor.is_external();
        Ok(())
    });
    parted && looked.is_ok()
}

/// Brings contents that lie beside a model in, whose path this is. Each file is read once, and its tensors are slices of it.
///
/// # Errors
/// [`FileError::External`]: what cannot be had of them.
pub fn bring_in(model: &mut ModelProto, path: &Path) -> Result<(), FileError> {
    let mut files: HashMap<PathBuf, Bytes> = HashMap::new();
    each_tensor(model, &mut |tensor| {
        if !tensor.is_external() {
            return Ok(());
        }
        let contents = external(tensor, path, &mut files);
        let contents = contents.map_err(|why| FileError::External {
            path: path.to_owned(),
            tensor: tensor.label().to_owned(),
            why,
        })?;
        tensor.raw_data = Some(contents);
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    })
}

/// Contents that lie in the folder of the model, or, where both are links as a cache of downloads has them, in the folder of
/// the file that the model's link leads to.
fn external(tensor: &TensorProto, model: &Path, files: &mut HashMap<PathBuf, Bytes>) -> Result<Bytes, String> {
    let entry = |key: &str| {
        let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key))?;
        entry.value.as_deref()
    };
    let number = |key: &str| match entry(key) {
        Some(text) => text.parse::<usize>().map(Some).map_err(|_| format!("its {key} is {text:?}, no number")),
        None => Ok(None),
    };
    let location = entry("location").ok_or("its location is not said")?;
    let inside = Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || location.is_empty() {
        return Err(format!("its location {location:?} leads out of the model's folder"));
    }
    let folder = model.parent().unwrap_or(Path::new(""));
    let file = folder.join(location);
    if !files.contains_key(&file) {
        let real =
            |path: &Path| fs::canonicalize(path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
        let root = real(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
        let (found, linked) = (real(&file)?, real(model)?);
        if !found.starts_with(root) && !linked.parent().is_some_and(|linked| found.starts_with(linked)) {
            return Err(format!("its location {location:?} leads out of the model's folder"));
        }
        let bytes = whole(&file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        files.insert(file.clone(), bytes);
    }
    let bytes = files.get(&file).cloned().unwrap_or_default();
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(bytes.len().saturating_sub(offset));
    let end = offset.checked_add(length).filter(|end| *end <= bytes.len());
    let end = end.ok_or_else(|| format!("{} ends before them", file.display()))?;
    let bits = tensor.elements().ok().zip(width(tensor)).and_then(|(count, bits)| count.checked_mul(bits));
    match bits.map(|bits| bits.div_ceil(8)) {
        Some(expected) if expected != length => Err(format!("has {length} bytes where its shape wants {expected}")),
        _ => Ok(bytes.slice(offset..end)),
    }
}

/// Bits of an element; `None` for strings and types that are not known.
fn width(tensor: &TensorProto) -> Option<usize> {
    use ElementType::*;
    Some(match tensor.element()? {
        Float | Int32 | Uint32 => 32,
        Uint8 | Int8 | Bool => 8,
        Uint16 | Int16 | Float16 | Bfloat16 => 16,
        Int64 | Uint64 | Double | Complex64 => 64,
        Complex128 => 128,
        Uint4 | Int4 => 4,
        _ => return None,
    })
}

type Visit<'a> = &'a mut dyn FnMut(&mut TensorProto) -> Result<(), FileError>;

/// Calls back for every dense tensor of a model, wherever it stands.
fn each_tensor(model: &mut ModelProto, visit: Visit) -> Result<(), FileError> {
    fn nodes(nodes: &mut [NodeProto], visit: Visit) -> Result<(), FileError> {
        for attribute in nodes.iter_mut().flat_map(|node| &mut node.attribute) {
            attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
            let graphs = attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs);
            graphs.into_iter().try_for_each(|inner| graph(inner, visit))?;
        }
        Ok(())
    }
    fn graph(graph: &mut GraphProto, visit: Visit) -> Result<(), FileError> {
        graph.initializer.iter_mut().try_for_each(&mut *visit)?;
        let sparse = graph.sparse_initializer.iter_mut();
        sparse.flat_map(|tensor| tensor.values.iter_mut().chain(&mut tensor.indices)).try_for_each(&mut *visit)?;
        nodes(&mut graph.node, visit)
    }
    model.graph.iter_mut().try_for_each(|inner| graph(inner, visit))?;
    model.functions.iter_mut().try_for_each(|function| nodes(&mut function.node, visit))
}

/// Writes a model, whole or not at all: under another name first, synced, then renamed into its place. Contents of tensors go
/// into a file beside it only where the model is too large for one message.
pub fn write(path: &Path, model: &ModelProto) -> Result<(), FileError> {
    if model.encoded_len() < LARGEST_MESSAGE {
        return put(path, &[&encode(model)]).map_err(|source| FileError::Write { path: path.to_owned(), source });
    }
    write_beside(path, model.clone())
}

/// Writes bytes, whole or not at all, as [`write()`] does.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    put(path, &[bytes]).map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Writes a model whose larger contents stand in a file beside it, named by their digest: a file that another version of
/// the model reads is never touched.
pub fn write_beside(path: &Path, mut model: ModelProto) -> Result<(), FileError> {
    let path = &*target(path);
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let mut contents: Vec<Bytes> = Vec::new();
    let (mut offset, mut digest) = (0usize, Sha256::new());
    let mut entries: Vec<(usize, usize)> = Vec::new();
    let graph = model.graph.get_or_insert_default();
    let large = |tensor: &TensorProto| tensor.raw_data.as_ref().is_some_and(|raw| raw.len() >= LEAST_EXTERNAL);
    for tensor in graph.initializer.iter().filter(|tensor| large(tensor)) {
        let raw = tensor.raw_data.clone().unwrap_or_default();
        digest.update(&raw);
        entries.push((offset, raw.len()));
        let padding = raw.len().next_multiple_of(ALIGNMENT) - raw.len();
        offset += raw.len() + padding;
        contents.push(raw);
        contents.push(vec![0; padding].into());
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("model.onnx");
    let digest: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let beside = format!("{name}.{digest}.data");
    for (tensor, (offset, length)) in graph.initializer.iter_mut().filter(|tensor| large(tensor)).zip(entries) {
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
        tensor.raw_data = None;
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![
            entry("location", beside.clone()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
    }
    let data = path.with_file_name(&beside);
    let existed = data.exists();
    put(&data, &contents.iter().map(Bytes::as_ref).collect::<Vec<_>>()).map_err(failed)?;
    put(path, &[&encode(&model)]).map_err(|source| {
        if !existed {
            let _ = fs::remove_file(&data);
        }
        failed(source)
    })
}

/// A file that is removed unless it was renamed into its place.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether a file could be written there now, so that it is told before the work.
pub fn probe(path: &Path) -> Result<(), FileError> {
    let try_out = || match is_special(path) {
        // Not opened: who reads a pipe would see its end.
        true => writable(path),
        false => File::create(&beside(&target(path))?.0).map(drop),
    };
    try_out().map_err(|source| FileError::Write { path: path.to_owned(), source })
}

fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir())
}

fn beside(path: &Path) -> io::Result<Temporary> {
    let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?.to_string_lossy();
    Ok(Temporary(path.with_file_name(format!(".{name}.{}", std::process::id()))))
}

/// Where a file goes: a link stays, and what it leads to is replaced.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether this process may write there.
fn writable(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the name is terminated, and is not kept.
    match unsafe { libc::access(name.as_ptr(), libc::W_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What is there and is no file to be replaced, such as a device or a pipe that somebody reads.
fn open_special(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    // SAFETY: the descriptor is open; it only sets a flag: a pipe that nobody reads was refused, and others are waited for.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(file),
    }
}

fn put(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    if is_special(path) {
        let mut file = open_special(path)?;
        return parts.iter().try_for_each(|part| file.write_all(part));
    }
    let path = &target(path);
    let beside = beside(path)?;
    let mut file = File::create(&beside.0)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    fs::rename(&beside.0, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What was renamed is whole; some file systems cannot sync a folder.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

#[cfg(test)]
mod tests;
