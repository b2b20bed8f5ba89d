//! A JSON `data` array straight to the bytes of its datatype, whatever its nesting.

use bytes::Bytes;

use super::error::{ProtocolError, clip};
use super::json::Cursor;
use super::number::Number;
use crate::core::tensor::{DataType, TensorData};

/// Reads the `data` that comes next as `want` elements of `datatype`. `body` is the text's own memory: strings without
/// escapes are slices of it.
///
/// Any nesting is accepted and flattened. Room is made for `want` elements at most, and never for more than the
/// remaining text could hold.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    body: &Bytes,
    input: &str,
    datatype: DataType,
    want: usize,
) -> Result<TensorData, ProtocolError> {
    macro_rules! integers {
        ($type:ty, $via:ident, $range:literal) => {
            numbers(cursor, input, datatype, want, $range, |number| {
                Some(<$type>::try_from(number.$via()?).ok()?.to_le_bytes())
            })
        };
    }
    let raw = match datatype {
        DataType::Fp16 | DataType::Bf16 => {
            return Err(ProtocolError::HalfInput { input: input.to_owned(), datatype });
        }
        DataType::Bytes => return strings(cursor, body, input, want).map(TensorData::Strings),
        DataType::Bool => booleans(cursor, input, want),
        DataType::Uint8 => integers!(u8, to_u64, "integers from 0 to 255"),
        DataType::Uint16 => integers!(u16, to_u64, "integers from 0 to 65535"),
        DataType::Uint32 => integers!(u32, to_u64, "integers from 0 to 4294967295"),
        DataType::Uint64 => integers!(u64, to_u64, "integers from 0 to 18446744073709551615"),
        DataType::Int8 => integers!(i8, to_i64, "integers from -128 to 127"),
        DataType::Int16 => integers!(i16, to_i64, "integers from -32768 to 32767"),
        DataType::Int32 => integers!(i32, to_i64, "integers from -2147483648 to 2147483647"),
        DataType::Int64 => integers!(i64, to_i64, "integers from -9223372036854775808 to 9223372036854775807"),
        DataType::Fp32 => {
            numbers(cursor, input, datatype, want, "numbers up to 3.4028235e38", |n| Some(n.to_f32()?.to_le_bytes()))
        }
        DataType::Fp64 => numbers(cursor, input, datatype, want, "numbers up to 1.7976931348623157e308", |n| {
            Some(n.to_f64()?.to_le_bytes())
        }),
    }?;
    Ok(TensorData::Raw(Bytes::from(raw)))
}

/// Walks the array and hands every element to `one`, which takes it from the cursor. Asks for exactly `want`.
#[inline]
fn each<'a>(
    cursor: &mut Cursor<'a>,
    input: &str,
    want: usize,
    mut one: impl FnMut(&mut Cursor<'a>, u8, usize) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    if !cursor.opens(b'[')? {
        return Err(ProtocolError::MemberType {
            member: "data",
            of: format!("input '{input}'"),
            want: "an array, also for a scalar",
        });
    }
    let mut level = 1usize;
    let mut count = 0usize;
    // Whether an array has just been opened: only then may it be closed without a value before.
    let mut fresh = true;
    loop {
        match cursor.peek() {
            Some(b'[') => {
                cursor.open()?;
                level += 1;
                fresh = true;
                continue;
            }
            Some(b']') if fresh => {}
            Some(byte) => {
                one(cursor, byte, count)?;
                count += 1;
            }
            None => return cursor.error("expected a value"),
        }
        while !cursor.take(b',') {
            if cursor.peek() != Some(b']') {
                return cursor.error("expected ',' or ']'");
            }
            cursor.close();
            level -= 1;
            if level == 0 {
                if count == want {
                    return Ok(());
                }
                return Err(ProtocolError::ElementCount { input: input.to_owned(), want, got: count });
            }
        }
        fresh = false;
    }
}

/// An element of another kind than the datatype's.
#[cold]
fn refuse<T>(
    cursor: &mut Cursor<'_>,
    input: &str,
    datatype: DataType,
    index: usize,
    want: &'static str,
) -> Result<T, ProtocolError> {
    Err(refusal(cursor.describe()?, input, datatype, index, want))
}

#[cold]
fn refusal(got: String, input: &str, datatype: DataType, index: usize, want: &'static str) -> ProtocolError {
    ProtocolError::Element { input: input.to_owned(), index, got, datatype, want }
}

#[inline]
fn numbers<const N: usize>(
    cursor: &mut Cursor<'_>,
    input: &str,
    datatype: DataType,
    want: usize,
    takes: &'static str,
    convert: impl Fn(Number<'_>) -> Option<[u8; N]>,
) -> Result<Vec<u8>, ProtocolError> {
    let mut raw = Vec::with_capacity(room(cursor, want).saturating_mul(N));
    each(cursor, input, want, |cursor, byte, index| {
        if !matches!(byte, b'-' | b'0'..=b'9') {
            return refuse(cursor, input, datatype, index, takes);
        }
        let number = cursor.number()?;
        match convert(number) {
            Some(element) if index < want => raw.extend_from_slice(&element),
            Some(_) => {}
            None => return Err(refusal(clip(number.text), input, datatype, index, takes)),
        }
        Ok(())
    })?;
    Ok(raw)
}

fn booleans(cursor: &mut Cursor<'_>, input: &str, want: usize) -> Result<Vec<u8>, ProtocolError> {
    let mut raw = Vec::with_capacity(room(cursor, want));
    each(cursor, input, want, |cursor, byte, index| {
        let value = match byte {
            b't' if cursor.word("true") => 1,
            b'f' if cursor.word("false") => 0,
            _ => return refuse(cursor, input, DataType::Bool, index, "true and false"),
        };
        if index < want {
            raw.push(value);
        }
        Ok(())
    })?;
    Ok(raw)
}

fn strings(cursor: &mut Cursor<'_>, body: &Bytes, input: &str, want: usize) -> Result<Vec<Bytes>, ProtocolError> {
    let mut strings = Vec::with_capacity(room(cursor, want));
    each(cursor, input, want, |cursor, byte, index| {
        if byte != b'"' {
            return refuse(cursor, input, DataType::Bytes, index, "strings");
        }
        let text = cursor.string()?;
        if index < want {
            strings.push(if text.escaped {
                Bytes::from(text.decode()?.into_owned())
            } else {
                body.slice(text.at..text.at + text.raw.len())
            });
        }
        Ok(())
    })?;
    Ok(strings)
}

/// How many elements to make room for: an element takes two characters at least, itself and what parts it from the
/// next.
fn room(cursor: &Cursor<'_>, want: usize) -> usize {
    want.min(cursor.remaining() / 2 + 1)
}
