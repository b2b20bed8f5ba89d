//! The state directory: the little that outlives a restart.
//!
//! A file in it is JSON with the version of its form. It is written beside the old one, synced and renamed into its
//! place, so a power cut or a full disk leaves the old one or the new one. One that is not what was written is set aside and
//! named, never deleted and never in the way; one that the system does not give is left. Where no folder can be written, everything is kept in memory.
//!
//! Saving and loading block on the disk: neither belongs on the path of a request.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Environment};

#[cfg(test)]
mod tests;

/// The largest state file that is read or written, in bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// How many unreadable forms of one file are kept.
const SET_ASIDE_LIMIT: u32 = 5;

/// A state file that could not be written; the one before it still stands.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The name could lead out of the folder or clash with the files made here.
    #[error("{0:?} cannot name a state file: expected lower-case letters, digits, '.', '-' and '_'")]
    Name(String),
    /// The value has no JSON form.
    #[error("the state {name} cannot be written as JSON: {source}")]
    Encode {
        /// The file's name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The value is larger than any state file may be.
    #[error("the state {name} has {bytes} bytes, and the most is {LARGEST_FILE}")]
    TooLarge {
        /// The file's name.
        name: String,
        /// Its size, in bytes.
        bytes: usize,
    },
    /// The disk refused.
    #[error("{} cannot be written: {source}; the one before it is kept", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What [`StateDirectory::load`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered<T> {
    /// The value; `None` where there is no file, or none that can be read.
    pub value: Option<T>,
    /// One line for the log where a file could not be read: its name, why, and where it was set aside.
    pub notice: Option<String>,
    /// Whether there is a file all the same, which could not be read now and is left as it is.
    pub is_left: bool,
}

/// The folder that state is kept in, or the memory that stands in for it.
#[derive(Debug)]
pub struct StateDirectory {
    place: Place,
    /// Held while a file is written, so that two saves of one name do not share a temporary file.
    writing: Mutex<()>,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Memory { reason: String, files: Mutex<BTreeMap<String, Vec<u8>>> },
}

#[derive(Serialize)]
struct Written<'a, T: ?Sized> {
    version: u32,
    data: &'a T,
}

#[derive(Deserialize)]
struct Header {
    version: u32,
}

#[derive(Deserialize)]
struct Body<T> {
    data: T,
}

impl StateDirectory {
    /// Opens the folder, making it where it is missing: `server.state_directory`, else the first of `$STATE_DIRECTORY`,
    /// else `$XDG_STATE_HOME/edge-service`, else `$HOME/.local/state/edge-service`. Where it cannot be written,
    /// everything is kept in memory and [`StateDirectory::memory_reason`] says why.
    pub fn open(config: &Config, environment: &Environment) -> Self {
        let place = match folder(config, environment) {
            None => Place::memory("no folder for it is known; set server.state_directory".to_owned()),
            Some(path) => match prepare(&path) {
                Ok(()) => Place::Folder(path),
                Err(error) => Place::memory(format!("{} cannot be written: {error}", path.display())),
            },
        };
        StateDirectory { place, writing: Mutex::new(()) }
    }

    /// Keeps everything in memory: for commands that leave no trace.
    pub fn in_memory() -> Self {
        StateDirectory { place: Place::memory("as asked".to_owned()), writing: Mutex::new(()) }
    }

    /// The folder; `None` where state is kept in memory.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(path) => Some(path),
            Place::Memory { .. } => None,
        }
    }

    /// Why state is kept in memory, for one line in the log; `None` where it is not.
    pub fn memory_reason(&self) -> Option<&str> {
        match &self.place {
            Place::Folder(_) => None,
            Place::Memory { reason, .. } => Some(reason),
        }
    }

    /// Replaces the state `name` by `value`, whose form has this version. Blocks until the disk has it.
    ///
    /// # Errors
    ///
    /// The name is no plain one, the value has no JSON form or is too large, or the disk refuses; the state that was
    /// there before is kept.
    pub fn save<T: Serialize + ?Sized>(&self, name: &str, value: &T, version: u32) -> Result<(), StateError> {
        let name = plain(name)?;
        let bytes = serde_json::to_vec(&Written { version, data: value })
            .map_err(|source| StateError::Encode { name: name.to_owned(), source })?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(StateError::TooLarge { name: name.to_owned(), bytes: bytes.len() });
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.place {
            Place::Memory { files, .. } => {
                files.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), bytes);
                Ok(())
            }
            Place::Folder(folder) => replace(folder, name, |file| file.write_all(&bytes))
                .map_err(|source| StateError::Write { path: folder.join(name), source }),
        }
    }

    /// The state `name`, where it is there and has this version. A file that is not what was written, or has another
    /// version, is renamed to `NAME.unreadable-N`, and the notice says so; one that the system does not give now is left.
    pub fn load<T: DeserializeOwned>(&self, name: &str, version: u32) -> Recovered<T> {
        let nothing = |notice| Recovered { value: None, notice, is_left: false };
        if let Err(error) = plain(name) {
            return nothing(Some(error.to_string()));
        }
        let read = match &self.place {
            Place::Folder(folder) => read(&folder.join(name)),
            Place::Memory { files, .. } => Ok(files.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()),
        };
        let decoded = match read {
            Ok(None) => return nothing(None),
            Ok(Some(bytes)) => decode(&bytes, version),
            Err(Unread::Refused(error)) => {
                let notice = format!("the state {name} cannot be read now ({error}): it is left as it is");
                return Recovered { is_left: true, ..nothing(Some(notice)) };
            }
            Err(Unread::Unusable(why)) => Err(why),
        };
        match decoded {
            Ok(value) => Recovered { value: Some(value), notice: None, is_left: false },
            Err(why) => nothing(Some(self.set_aside(name, &why))),
        }
    }

    fn set_aside(&self, name: &str, why: &str) -> String {
        let Place::Folder(folder) = &self.place else {
            return format!("the state {name} cannot be read ({why}); starting without it");
        };
        let path = folder.join(name);
        let numbered = |number| folder.join(format!("{name}.unreadable-{number}"));
        let free = (1..=SET_ASIDE_LIMIT).map(numbered).find(|aside| fs::symlink_metadata(aside).is_err());
        let aside = free.unwrap_or_else(|| numbered(SET_ASIDE_LIMIT));
        match fs::rename(&path, &aside) {
            Ok(()) => format!(
                "{} cannot be read ({why}); it was set aside as {}, and the daemon starts without it",
                path.display(),
                aside.display()
            ),
            Err(error) => format!(
                "{} cannot be read ({why}) nor set aside ({error}); the daemon starts without it",
                path.display()
            ),
        }
    }
}

impl Place {
    fn memory(reason: String) -> Self {
        Place::Memory { reason, files: Mutex::default() }
    }
}

fn folder(config: &Config, environment: &Environment) -> Option<PathBuf> {
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    // The specification has relative paths ignored in these two.
    let absolute = |name: &str| given(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let first = |list: &String| list.split(':').find(|path| !path.is_empty()).map(PathBuf::from);
    let chosen = config.server.state_directory.clone();
    chosen
        .or_else(|| given("STATE_DIRECTORY").and_then(first))
        .or_else(|| absolute("XDG_STATE_HOME").map(|home| home.join("edge-service")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/edge-service")))
}

/// Makes the folder, proves that a file can be written in it, and removes what a killed process left half-written.
fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let probe = temporary(folder, "probe");
    write_new(&probe, |file| file.write_all(b"{}"))?;
    fs::remove_file(&probe)?;
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit('.').next());
        if process.is_some_and(is_gone) {
            // Nothing depends on it: a leftover costs only its bytes.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn is_gone(process: &str) -> bool {
    process.parse::<u32>().is_ok_and(|id| id == std::process::id() || !Path::new("/proc").join(process).exists())
}

fn temporary(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.{}.tmp", std::process::id()))
}

/// A plain file name: no path, not hidden, and not one of those that are set aside.
fn plain(name: &str) -> Result<&str, StateError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let reserved = name.is_empty() || name.starts_with('.') || name.len() > 100 || name.contains(".unreadable-");
    if reserved || !name.bytes().all(fits) { Err(StateError::Name(name.to_owned())) } else { Ok(name) }
}

fn write_new(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A new file each time: an existing one could be a link to somewhere else.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let outcome = write(&mut file).and_then(|()| file.sync_all());
    if outcome.is_err() {
        let _ = fs::remove_file(path);
    }
    outcome
}

/// Writes a file beside the old one and puts it in its place: at every moment one of the two is there, whole.
fn replace(folder: &Path, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let new = temporary(folder, name);
    write_new(&new, write)?;
    if let Err(error) = fs::rename(&new, folder.join(name)) {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    // The rename itself is on disk only once its folder is.
    File::open(folder)?.sync_all()
}

/// Why a file was not read.
enum Unread {
    /// The system did not give it, which may be otherwise the next time.
    Refused(io::Error),
    /// It is nothing that was written here.
    Unusable(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Refused(error)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Unread> {
    // Only a plain file: opening a pipe would wait for a writer.
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.is_file() => return Err(Unread::Unusable("it is no plain file".to_owned())),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Unread::Unusable(format!("it has more than {LARGEST_FILE} bytes")));
    }
    Ok(Some(bytes))
}

/// The version is read first, so that another form is called that, and not malformed.
fn decode<T: DeserializeOwned>(bytes: &[u8], version: u32) -> Result<T, String> {
    let header: Header = serde_json::from_slice(bytes).map_err(|error| format!("not a whole state file: {error}"))?;
    if header.version != version {
        return Err(format!("its form has version {}, and this one reads {version}", header.version));
    }
    let body: Body<T> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(body.data)
}
