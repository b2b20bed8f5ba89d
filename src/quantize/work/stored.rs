//! A model that is not in this process's memory while a session of it is: in a file without a name, which lies in memory of
//! the system's.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;

use bytes::Bytes;
use prost::Message;

use crate::onnx::file;
use crate::onnx::proto::ModelProto;

/// Tags of the specification, with the wire type of a message: `ModelProto.graph` (7) and `GraphProto.initializer` (5).
const GRAPH: u8 = 7 << 3 | 2;
const INITIALIZER: u8 = 5 << 3 | 2;

/// A model put away.
pub(super) struct Stored(File);

impl Stored {
    /// A file without a name.
    pub fn file() -> io::Result<File> {
        // SAFETY: the name is terminated, and the descriptor is owned by nothing else.
        unsafe {
            match libc::memfd_create(c"edge-service-model".as_ptr(), libc::MFD_CLOEXEC) {
                -1 => Err(io::Error::last_os_error()),
                descriptor => Ok(File::from_raw_fd(descriptor)),
            }
        }
    }

    /// What was written into a file without a name.
    pub fn of(file: File) -> Stored {
        Stored(file)
    }

    /// Puts a model away, one constant after another: it is never there a second time. A message that comes in parts is the
    /// parts joined, as the encoding has it: each constant is a graph that has nothing else.
    pub fn keep(model: ModelProto) -> Result<Stored, String> {
        let write = || -> io::Result<File> {
            let mut file = BufWriter::new(Stored::file()?);
            let mut rest = model;
            let constants = rest.graph.as_mut().map(|graph| std::mem::take(&mut graph.initializer)).unwrap_or_default();
            file.write_all(&rest.encode_to_vec())?;
            drop(rest);
            for constant in constants {
                let length = constant.encoded_len();
                let inner = 1 + prost::length_delimiter_len(length) + length;
                let mut head = vec![GRAPH];
                prost::encode_length_delimiter(inner, &mut head).map_err(io::Error::other)?;
                head.push(INITIALIZER);
                prost::encode_length_delimiter(length, &mut head).map_err(io::Error::other)?;
                file.write_all(&head)?;
                file.write_all(&constant.encode_to_vec())?;
            }
            file.into_inner().map_err(|error| error.into_error())
        };
        write().map(Stored).map_err(|error| format!("a model cannot be put away in memory: {error}"))
    }

    /// Puts a file's bytes away, as they are.
    pub fn keep_bytes(bytes: &[u8]) -> Result<Stored, String> {
        let write = || -> io::Result<File> {
            let mut file = Stored::file()?;
            file.write_all(bytes)?;
            Ok(file)
        };
        write().map(Stored).map_err(|error| format!("a model cannot be put away in memory: {error}"))
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = &self.0;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(usize::try_from(file.metadata()?.len()).unwrap_or(0))?;
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| error.to_string())
    }

    /// The model, in memory.
    pub fn open(&self) -> Result<ModelProto, String> {
        self.bytes().and_then(|bytes| file::decode(Bytes::from(bytes)))
    }

    /// A path by which this process can open it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};

    #[test]
    fn a_model_put_away_comes_back_as_it_was() {
        let initializer = (0..3).map(|n| TensorProto::of_floats(&format!("w{n}"), &[200], &[n as f32; 200])).collect();
        let node = vec![NodeProto::new("Add", "a", &["w0", "w1"], &["y"])];
        let graph = GraphProto { node, initializer, ..Default::default() };
        let model = ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() };
        let stored = Stored::keep(model.clone()).unwrap();
        assert_eq!(stored.open().unwrap(), model);
        assert_eq!(stored.open().unwrap(), model, "a second time too");
        assert!(std::fs::metadata(stored.path()).unwrap().len() > 2400);
    }
}
