//! The classification extension: the highest values of an output instead of all of them.

use std::cmp::Ordering;
use std::fmt::Write;

use bytes::Bytes;

use super::error::ProtocolError;
use crate::core::tensor::{DataType, Tensor, TensorData};

/// The `classes` highest values of `tensor`, highest first, as strings `value:index[:label]`.
///
/// With two dimensions or more the first is the batch and the others are flattened: the shape is `[batch, k]`, else
/// `[k]`. Floats have six decimals, as C's `%f` prints them. Equal values keep their order, and NaN comes last.
pub(super) fn classify(tensor: &Tensor, classes: usize, labels: Option<&[String]>) -> Result<Tensor, ProtocolError> {
    let refuse = || ProtocolError::Classification { output: tensor.name().to_owned() };
    let TensorData::Raw(raw) = tensor.data() else { return Err(refuse()) };
    macro_rules! values {
        ($type:ty) => {
            raw.as_chunks::<{ size_of::<$type>() }>().0.iter().map(|chunk| <$type>::from_le_bytes(*chunk))
        };
    }
    macro_rules! whole {
        ($type:ty) => {
            top(tensor, &values!($type).collect::<Vec<_>>(), classes, labels, Ord::cmp, |value| value.to_string())
        };
    }
    macro_rules! float {
        ($values:expr) => {
            top(tensor, &$values.collect::<Vec<f64>>(), classes, labels, nan_lowest, |value| {
                format!("{value:.6}").to_ascii_lowercase()
            })
        };
    }
    let strings = match tensor.datatype() {
        DataType::Bool | DataType::Uint8 => whole!(u8),
        DataType::Uint16 => whole!(u16),
        DataType::Uint32 => whole!(u32),
        DataType::Uint64 => whole!(u64),
        DataType::Int8 => whole!(i8),
        DataType::Int16 => whole!(i16),
        DataType::Int32 => whole!(i32),
        DataType::Int64 => whole!(i64),
        DataType::Fp16 => float!(values!(half::f16).map(f64::from)),
        DataType::Bf16 => float!(values!(half::bf16).map(f64::from)),
        DataType::Fp32 => float!(values!(f32).map(f64::from)),
        DataType::Fp64 => float!(values!(f64)),
        DataType::Bytes => return Err(refuse()),
    };
    let (batch, width) = batches(tensor);
    let kept = classes.min(width);
    let shape = batch.map_or_else(|| vec![kept], |batch| vec![batch, kept]);
    Ok(Tensor::new(tensor.name(), DataType::Bytes, shape, TensorData::Strings(strings))?)
}

/// The batch, if there is such a dimension, and the values of one entry of it.
fn batches(tensor: &Tensor) -> (Option<usize>, usize) {
    match tensor.shape() {
        [batch, rest @ ..] if !rest.is_empty() => (Some(*batch), rest.iter().product()),
        _ => (None, tensor.len()),
    }
}

fn nan_lowest(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn top<T>(
    tensor: &Tensor,
    values: &[T],
    classes: usize,
    labels: Option<&[String]>,
    order: impl Fn(&T, &T) -> Ordering,
    print: impl Fn(&T) -> String,
) -> Vec<Bytes> {
    let (_, width) = batches(tensor);
    let mut strings = Vec::new();
    for entry in values.chunks_exact(width.max(1)) {
        let mut ranked: Vec<(usize, &T)> = entry.iter().enumerate().collect();
        let highest_first = |a: &(usize, &T), b: &(usize, &T)| order(b.1, a.1).then(a.0.cmp(&b.0));
        if let Some(last) = classes.checked_sub(1).filter(|last| *last < ranked.len()) {
            ranked.select_nth_unstable_by(last, highest_first);
            ranked.truncate(classes);
        }
        ranked.sort_unstable_by(highest_first);
        for (index, value) in ranked {
            let mut string = print(value);
            // Writing to a string cannot fail.
            let _ = write!(string, ":{index}");
            if let Some(label) = labels.and_then(|labels| labels.get(index)) {
                let _ = write!(string, ":{label}");
            }
            strings.push(Bytes::from(string));
        }
    }
    strings
}
