//! The files beside a model that hold contents of its tensors, by what the model says: weights are passed over, so that the
//! look costs little for a model of any size.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Seek};
use std::path::{Component, Path};

use prost::Message;

use super::proto::StringStringEntryProto;

/// How deep messages may stand in each other: deeper than any graph, and nothing that a stack minds.
const DEPTH: usize = 200;
/// The longest entry that is read, in bytes: a name and its value.
const LONGEST_ENTRY: u64 = 64 << 10;

/// The messages in which a tensor may stand.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

/// What the field of a message leads to.
enum Field {
    Message(Kind),
    /// `TensorProto.external_data`
    Entry,
}

impl Kind {
    /// By the numbers of `onnx.proto`.
    fn field(self, number: u64) -> Option<Field> {
        let kind = match (self, number) {
            (Kind::Tensor, 13) => return Some(Field::Entry),
            (Kind::Model, 7) | (Kind::Attribute, 6 | 11) => Kind::Graph,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
            (Kind::Node, 5) => Kind::Attribute,
            (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Kind::Sparse,
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::Sparse, 1 | 2) => Kind::Tensor,
            _ => return None,
        };
        Some(Field::Message(kind))
    }
}

/// The locations of external contents that a model names, in order, each once; those that lead out of its folder, which the
/// runtime takes from nobody, are left out. A file that is no model names none.
///
/// # Errors
/// The file cannot be read.
pub fn locations(mut file: impl Read + Seek) -> io::Result<BTreeSet<String>> {
    let length = file.seek(io::SeekFrom::End(0))?;
    file.rewind()?;
    let mut reader = Reader { file: io::BufReader::new(file), at: 0, found: BTreeSet::new() };
    match reader.message(Kind::Model, length, DEPTH) {
        Err(error) if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Err(error),
        // What is no model is refused by whoever loads it.
        _ => Ok(reader.found),
    }
}

struct Reader<R> {
    file: io::BufReader<R>,
    at: u64,
    found: BTreeSet<String>,
}

impl<R: Read + Seek> Reader<R> {
    fn message(&mut self, kind: Kind, end: u64, depth: usize) -> io::Result<()> {
        while self.at < end {
            let key = self.varint()?;
            let size = match key & 7 {
                0 => self.varint().map(|_| 0)?,
                1 => 8,
                2 => self.varint()?,
                5 => 4,
                _ => return Err(ErrorKind::InvalidData.into()),
            };
            let stop = self.at.checked_add(size).filter(|stop| *stop <= end).ok_or(ErrorKind::InvalidData)?;
            match kind.field(key >> 3).filter(|_| key & 7 == 2) {
                Some(Field::Message(inner)) if depth > 0 => self.message(inner, stop, depth - 1)?,
                Some(Field::Entry) if size <= LONGEST_ENTRY => self.entry(size)?,
                _ => {}
            }
            self.go_to(stop)?;
        }
        Ok(())
    }

    fn entry(&mut self, size: u64) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| ErrorKind::InvalidData)?];
        self.file.read_exact(&mut bytes)?;
        self.at += size;
        let entry = StringStringEntryProto::decode(bytes.as_slice()).map_err(|_| ErrorKind::InvalidData)?;
        if let (Some("location"), Some(location)) = (entry.key.as_deref(), entry.value)
            && stays_inside(&location)
        {
            self.found.insert(location);
        }
        Ok(())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn go_to(&mut self, place: u64) -> io::Result<()> {
        let ahead = i64::try_from(place - self.at).map_err(|_| ErrorKind::InvalidData)?;
        self.file.seek_relative(ahead)?;
        self.at = place;
        Ok(())
    }
}

fn stays_inside(location: &str) -> bool {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    !location.is_empty() && Path::new(location).components().all(inside)
}

#[cfg(test)]
mod tests;
