//! The files beside a model that hold contents of its tensors, by what the model says: weights are passed over, so that the
//! look costs little for a model of any size.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Seek};
use std::path::{Component, Path};

use prost::Message;

use super::proto::StringStringEntryProto;
use super::wire::{Reader, is_no_model};

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
enum Holds {
    Message(Kind),
    /// `TensorProto.external_data`
    Entry,
}

impl Kind {
    /// By the numbers of `onnx.proto`.
    fn field(self, number: u64) -> Option<Holds> {
        let kind = match (self, number) {
            (Kind::Tensor, 13) => return Some(Holds::Entry),
            (Kind::Model, 7) | (Kind::Attribute, 6 | 11) => Kind::Graph,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
            (Kind::Node, 5) => Kind::Attribute,
            (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Kind::Sparse,
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::Sparse, 1 | 2) => Kind::Tensor,
            _ => return None,
        };
        Some(Holds::Message(kind))
    }
}

/// The locations of external contents that a model names, in order, each once; those that lead out of its folder, which the
/// runtime takes from nobody, are left out. A file that is no model names none.
///
/// # Errors
/// The file cannot be read.
pub fn locations(file: impl Read + Seek) -> io::Result<BTreeSet<String>> {
    let (mut reader, length) = Reader::open(file)?;
    let mut found = BTreeSet::new();
    match message(&mut reader, Kind::Model, length, DEPTH, &mut found) {
        // What is no model is refused by whoever loads it.
        Err(error) if !is_no_model(&error) => Err(error),
        _ => Ok(found),
    }
}

fn message<R: Read + Seek>(
    reader: &mut Reader<R>,
    kind: Kind,
    end: u64,
    depth: usize,
    found: &mut BTreeSet<String>,
) -> io::Result<()> {
    while let Some(field) = reader.field(end)? {
        match field.number.and_then(|number| kind.field(number)) {
            Some(Holds::Message(inner)) if depth > 0 => message(reader, inner, field.end, depth - 1, found)?,
            Some(Holds::Entry) if field.size <= LONGEST_ENTRY => found.extend(location(reader, field.size)?),
            _ => {}
        }
        reader.leave(&field)?;
    }
    Ok(())
}

fn location<R: Read + Seek>(reader: &mut Reader<R>, size: u64) -> io::Result<Option<String>> {
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| ErrorKind::InvalidData)?];
    reader.read(&mut bytes)?;
    let entry = StringStringEntryProto::decode(bytes.as_slice()).map_err(|_| ErrorKind::InvalidData)?;
    let location = entry.value.filter(|_| entry.key.as_deref() == Some("location"));
    Ok(location.filter(|location| stays_inside(location)))
}

fn stays_inside(location: &str) -> bool {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    !location.is_empty() && Path::new(location).components().all(inside)
}

#[cfg(test)]
mod tests;
