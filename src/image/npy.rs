//! NumPy's `.npy` files to tensors. Source: NumPy, `numpy.lib.format`, versions 1.0, 2.0 and 3.0.

use std::io::Read;

use bytes::Bytes;

use super::ImageError;
use crate::core::tensor::{DataType, Tensor, TensorData};

const MAGIC: &[u8] = b"\x93NUMPY";

/// More dimensions than any model takes; NumPy itself stops at 64.
const MAX_RANK: usize = 64;

/// The longest header that is read from a stream, in bytes; NumPy itself writes some hundred.
const LONGEST_HEADER: usize = 64 << 10;

const ENDS_IN_HEADER: &str = "it ends within its header: send the whole file";
const NO_BOOLEAN: &str = "a boolean is neither 0 nor 1: the file is damaged";

/// Reads one array as a tensor called `name`: little-endian, C order, booleans, integers and floats of NumPy.
///
/// # Errors
/// [`ImageError::Npy`] says what is wrong with the file and how to write it instead.
pub fn read_npy(bytes: &[u8], name: &str) -> Result<Tensor, ImageError> {
    parse(bytes, name).map_err(|reason| ImageError::Npy { name: name.to_owned(), reason })
}

fn parse(bytes: &[u8], name: &str) -> Result<Tensor, String> {
    let (length, rest) = header_length(bytes)?;
    let (header, data) = rest.split_at_checked(length).ok_or(ENDS_IN_HEADER)?;
    let (datatype, shape) = parse_header(header)?;
    if datatype == DataType::Bool && data.iter().any(|byte| *byte > 1) {
        return Err(NO_BOOLEAN.to_owned());
    }
    Tensor::new(name, datatype, shape, TensorData::Raw(Bytes::copy_from_slice(data))).map_err(|error| error.to_string())
}

/// Reads no more than the head of an array from a stream, which then stands at its first element.
///
/// # Errors
/// What is wrong with it, and how to write it instead.
pub fn read_npy_head(stream: &mut impl Read) -> Result<(DataType, Vec<usize>), String> {
    let cut = |_| ENDS_IN_HEADER.to_owned();
    let mut start = [0u8; 10];
    stream.read_exact(&mut start).map_err(cut)?;
    let mut start = start.to_vec();
    if start.starts_with(MAGIC) && matches!(start[6], 2 | 3) {
        let mut more = [0u8; 2];
        stream.read_exact(&mut more).map_err(cut)?;
        start.extend(more);
    }
    let (length, _) = header_length(&start)?;
    if length > LONGEST_HEADER {
        return Err(format!("its header has {length} bytes: write it with numpy.save"));
    }
    let mut header = vec![0u8; length];
    stream.read_exact(&mut header).map_err(cut)?;
    parse_header(&header)
}

/// The header's length, and what follows the field that tells it.
fn header_length(bytes: &[u8]) -> Result<(usize, &[u8]), String> {
    let Some([major, _minor, rest @ ..]) = bytes.strip_prefix(MAGIC) else {
        return Err("it does not begin as a .npy file: write it with numpy.save".to_owned());
    };
    match (major, rest) {
        (1, [b0, b1, rest @ ..]) => Ok((usize::from(u16::from_le_bytes([*b0, *b1])), rest)),
        (2 | 3, [b0, b1, b2, b3, rest @ ..]) => Ok((u32::from_le_bytes([*b0, *b1, *b2, *b3]) as usize, rest)),
        (1..=3, _) => Err(ENDS_IN_HEADER.to_owned()),
        _ => Err(format!("its format version {major} is not known: write it with numpy.save")),
    }
}

fn parse_header(header: &[u8]) -> Result<(DataType, Vec<usize>), String> {
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text: write it with numpy.save")?;
    let order = value_of(header, "fortran_order").unwrap_or_default();
    if order.starts_with("True") {
        return Err("it is in fortran order: save numpy.ascontiguousarray(array) instead".to_owned());
    }
    let descr = value_of(header, "descr").ok_or("its header names no 'descr': write it with numpy.save")?;
    let datatype = datatype(descr)?;
    let shape = shape(value_of(header, "shape").ok_or("its header names no 'shape': write it with numpy.save")?)?;
    Ok((datatype, shape))
}

/// What follows a key of the header, which is a Python dictionary as text.
fn value_of<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let (_, after) = quoted.iter().find_map(|quoted| header.split_once(quoted.as_str()))?;
    Some(after.trim_start().strip_prefix(':')?.trim_start())
}

/// NumPy's type string: byte order, kind, size.
fn datatype(descr: &str) -> Result<DataType, String> {
    let word = descr.strip_prefix(['\'', '"']).and_then(|rest| rest.split(['\'', '"']).next());
    let word = word.ok_or("it is a structured array: save one plain array of numbers")?;
    if let Some(rest) = word.strip_prefix('>')
        && !rest.ends_with('1')
    {
        return Err(format!("its type '{word}' is big-endian: save array.astype('<{rest}') instead"));
    }
    Ok(match word.trim_start_matches(['<', '>', '|', '=']) {
        "b1" => DataType::Bool,
        "u1" => DataType::Uint8,
        "u2" => DataType::Uint16,
        "u4" => DataType::Uint32,
        "u8" => DataType::Uint64,
        "i1" => DataType::Int8,
        "i2" => DataType::Int16,
        "i4" => DataType::Int32,
        "i8" => DataType::Int64,
        "f2" => DataType::Fp16,
        "f4" => DataType::Fp32,
        "f8" => DataType::Fp64,
        _ => {
            return Err(format!("its type '{word}' is not served: save booleans, integers or floats of up to 64 bits"));
        }
    })
}

/// A tuple of whole numbers.
fn shape(tuple: &str) -> Result<Vec<usize>, String> {
    let inside = tuple.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inside, _)| inside);
    let inside = inside.ok_or("its shape is no tuple: write it with numpy.save")?;
    let dims: Result<Vec<usize>, _> = inside
        .split(',')
        .map(|dim| dim.trim().trim_end_matches('L'))
        .filter(|dim| !dim.is_empty())
        .take(MAX_RANK + 1)
        .map(str::parse)
        .collect();
    let dims =
        dims.map_err(|_| format!("its shape ({inside}) is not made of whole numbers: write it with numpy.save"))?;
    if dims.len() > MAX_RANK {
        return Err(format!("it has more than {MAX_RANK} dimensions: reshape it to what the model takes"));
    }
    Ok(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend([version, 0]);
        if version == 1 {
            file.extend((header.len() as u16).to_le_bytes());
        } else {
            file.extend((header.len() as u32).to_le_bytes());
        }
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}    \n")
    }

    fn refusal(file: &[u8]) -> String {
        read_npy(file, "x").unwrap_err().to_string()
    }

    #[test]
    fn every_type_is_read_in_every_version() {
        for (descr, datatype) in [
            ("|b1", DataType::Bool),
            ("|u1", DataType::Uint8),
            ("<u2", DataType::Uint16),
            ("<u4", DataType::Uint32),
            ("<u8", DataType::Uint64),
            ("|i1", DataType::Int8),
            ("<i2", DataType::Int16),
            ("<i4", DataType::Int32),
            ("<i8", DataType::Int64),
            ("<f2", DataType::Fp16),
            ("<f4", DataType::Fp32),
            ("<f8", DataType::Fp64),
        ] {
            for version in 1..=3 {
                let data = vec![1; 6 * datatype.element_bytes().unwrap()];
                let tensor = read_npy(&npy(version, &header(descr, "(2, 3)"), &data), "x").unwrap();
                assert_eq!((tensor.datatype(), tensor.shape(), tensor.name()), (datatype, &[2, 3][..], "x"));
            }
        }
    }

    #[test]
    fn scalars_vectors_and_empty_arrays_are_read() {
        assert_eq!(read_npy(&npy(1, &header("<f4", "()"), &[0; 4]), "x").unwrap().shape(), &[] as &[usize]);
        assert_eq!(read_npy(&npy(1, &header("<f4", "(2,)"), &[0; 8]), "x").unwrap().shape(), [2]);
        assert!(read_npy(&npy(1, &header("<f4", "(2, 0)"), &[]), "x").unwrap().is_empty());
    }

    #[test]
    fn every_refusal_says_why() {
        assert!(refusal(b"").contains("numpy.save"));
        assert!(refusal(b"\x93NUMPY\x01").contains("numpy.save"));
        assert!(refusal(b"\x93NUMPY\x01\x00\xff").contains("whole file"));
        assert!(refusal(b"\x93NUMPY\x01\x00\xff\xff{}").contains("whole file"));
        assert!(refusal(&npy(9, "", &[])).contains("version 9"));
        assert!(refusal(&npy(1, "{}", &[])).contains("'descr'"));
        assert!(refusal(&npy(1, "{'descr': '<f4'}", &[])).contains("'shape'"));
        assert!(refusal(&npy(1, &header(">f4", "(1,)"), &[0; 4])).contains("astype('<f4')"));
        assert!(refusal(&npy(1, &header("|O", "(1,)"), &[0; 4])).contains("'|O'"));
        assert!(refusal(&npy(1, &header("<f4", "(2,)"), &[0; 4])).contains("needs 8 bytes, got 4"));
        assert!(refusal(&npy(1, &header("<f4", "(1,)"), &[0; 5])).contains("needs 4 bytes, got 5"));
        assert!(refusal(&npy(1, &header("|b1", "(1,)"), &[2])).contains("neither 0 nor 1"));
        assert!(refusal(&npy(1, &header("<f4", "(-1,)"), &[])).contains("whole numbers"));
        assert!(refusal(&npy(1, &header("<f4", "(18446744073709551615, 2)"), &[])).contains("more elements"));
        assert!(refusal(&npy(1, &header("<f4", &format!("({})", "1,".repeat(65))), &[0; 4])).contains("dimensions"));
        let structured = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }";
        assert!(refusal(&npy(1, structured, &[0; 4])).contains("structured"));
        let fortran = header("<f4", "(1,)").replace("False", "True");
        assert!(refusal(&npy(1, &fortran, &[0; 4])).contains("ascontiguousarray"));
    }

    #[test]
    fn a_stream_stands_at_the_first_element_after_its_head() {
        for version in 1..=3 {
            let file = npy(version, &header("<f4", "(2, 3)"), &[7; 24]);
            let mut stream = file.as_slice();
            assert_eq!(read_npy_head(&mut stream), Ok((DataType::Fp32, vec![2, 3])));
            assert_eq!(stream, [7; 24]);
            for end in 0..file.len() - 24 {
                assert!(read_npy_head(&mut &file[..end]).is_err());
            }
        }
        let long = [MAGIC, &[2, 0], &u32::MAX.to_le_bytes()].concat();
        assert!(read_npy_head(&mut long.as_slice()).unwrap_err().contains("numpy.save"));
    }

    #[test]
    fn no_prefix_of_a_file_panics() {
        let file = npy(1, &header("<f4", "(2, 3)"), &[0; 24]);
        for end in 0..file.len() {
            assert!(read_npy(&file[..end], "x").is_err());
        }
    }
}
