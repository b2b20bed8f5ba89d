//! Protocol Buffers on the wire, field by field: what looks for one thing in a model file passes over the rest, weights above all.

use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};

/// A field of a message.
pub(super) struct Field {
    /// Its number, where it is of the type that holds messages and texts.
    pub number: Option<u64>,
    /// The bytes of its contents.
    pub size: u64,
    /// Where they end.
    pub end: u64,
}

/// A file that is read so.
pub(super) struct Reader<R> {
    file: BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// At the beginning of a file, and the file's end.
    pub fn open(mut file: R) -> io::Result<(Reader<R>, u64)> {
        let length = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        Ok((Reader { file: BufReader::new(file), at: 0 }, length))
    }

    /// The next field of the message that ends at `end`, whose contents come next; `None` behind the last.
    pub fn field(&mut self, end: u64) -> io::Result<Option<Field>> {
        if self.at >= end {
            return Ok(None);
        }
        let key = self.varint()?;
        let size = match key & 7 {
            0 => self.varint().map(|_| 0)?,
            1 => 8,
            2 => self.varint()?,
            5 => 4,
            _ => return Err(ErrorKind::InvalidData.into()),
        };
        let stop = self.at.checked_add(size).filter(|stop| *stop <= end).ok_or(ErrorKind::InvalidData)?;
        Ok(Some(Field { number: (key & 7 == 2).then_some(key >> 3), size, end: stop }))
    }

    /// Reads contents.
    pub fn read(&mut self, contents: &mut [u8]) -> io::Result<()> {
        self.file.read_exact(contents)?;
        self.at += contents.len() as u64;
        Ok(())
    }

    /// Passes over what is left of a field.
    pub fn leave(&mut self, field: &Field) -> io::Result<()> {
        let ahead = i64::try_from(field.end - self.at).map_err(|_| ErrorKind::InvalidData)?;
        self.file.seek_relative(ahead)?;
        self.at = field.end;
        Ok(())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.read(&mut byte)?;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(ErrorKind::InvalidData.into())
    }
}

/// Whether an error of reading says that the file is no model, and not that it cannot be read.
pub(super) fn is_no_model(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
}
