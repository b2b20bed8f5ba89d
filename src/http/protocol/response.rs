//! The answer to an inference request: JSON, and bytes behind it.

use bytes::Bytes;
use serde::Serialize;

use super::classify::classify;
use super::error::ProtocolError;
use super::{OutputForm, OutputPlan};
use crate::core::tensor::{DataType, Tensor, TensorData};

/// An answer's body, in pieces that need no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The value of `Inference-Header-Content-Length`, the length of `head`; with it the content type is
    /// `application/octet-stream`. `None` where no output is binary: no such header, and `application/json`.
    ///
    /// It is there whenever an output is sent in binary, also where all of those are empty.
    pub header_length: Option<usize>,
    /// The JSON.
    pub head: Bytes,
    /// The binary outputs, one piece each, to follow the JSON in this order.
    pub binary: Vec<Bytes>,
}

impl Rendered {
    /// Bytes of the whole body.
    pub fn len(&self) -> usize {
        self.binary.iter().map(Bytes::len).fold(self.head.len(), usize::saturating_add)
    }

    /// Whether there is nothing to send; never so in fact.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes the answer: every output that `plans` names, in that order. `outputs` holds them in any order; `labels` gives
/// the classes' names of an output for the classification extension.
///
/// In JSON, NaN and the infinities are `null`, and that output has the parameter `non_finite: true`.
///
/// # Errors
/// The client's fault: FP16, BF16 or strings that are not UTF-8 asked for in JSON. Ours: an output that is not there.
pub fn render<'a>(
    model_name: &str,
    model_version: &str,
    id: Option<&str>,
    outputs: &[Tensor],
    plans: &[OutputPlan],
    labels: impl Fn(&str) -> Option<&'a [String]>,
) -> Result<Rendered, ProtocolError> {
    let mut head = Vec::with_capacity(256 + plans.iter().map(|plan| room(plan, outputs)).sum::<usize>());
    let mut binary = Vec::new();
    let mut with_binary = false;
    head.extend_from_slice(b"{");
    if let Some(id) = id {
        head.extend_from_slice(b"\"id\":");
        push(&mut head, id, "id")?;
        head.push(b',');
    }
    head.extend_from_slice(b"\"model_name\":");
    push(&mut head, model_name, "model_name")?;
    head.extend_from_slice(b",\"model_version\":");
    push(&mut head, model_version, "model_version")?;
    head.extend_from_slice(b",\"outputs\":[");
    for (index, plan) in plans.iter().enumerate() {
        if index > 0 {
            head.push(b',');
        }
        let found = outputs.iter().find(|output| output.name() == plan.name);
        let tensor = found.ok_or_else(|| ProtocolError::NoOutput { output: plan.name.clone() })?;
        let classified;
        let (tensor, as_binary) = match plan.form {
            OutputForm::Json => (tensor, false),
            OutputForm::Binary => (tensor, true),
            OutputForm::Classification { classes, binary } => {
                classified = classify(tensor, classes, labels(tensor.name()))?;
                (&classified, binary)
            }
        };
        head.extend_from_slice(b"{\"name\":");
        push(&mut head, tensor.name(), &plan.name)?;
        head.extend_from_slice(b",\"datatype\":\"");
        head.extend_from_slice(tensor.datatype().name().as_bytes());
        head.extend_from_slice(b"\",\"shape\":");
        push(&mut head, tensor.shape(), &plan.name)?;
        if as_binary {
            with_binary = true;
            let piece = bytes(tensor)?;
            head.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            push(&mut head, &piece.len(), &plan.name)?;
            head.extend_from_slice(b"}}");
            binary.push(piece);
        } else {
            head.extend_from_slice(b",\"data\":[");
            let finite = elements(&mut head, tensor)?;
            head.push(b']');
            if !finite {
                head.extend_from_slice(b",\"parameters\":{\"non_finite\":true}");
            }
            head.push(b'}');
        }
    }
    head.extend_from_slice(b"]}");
    Ok(Rendered { header_length: with_binary.then_some(head.len()), head: Bytes::from(head), binary })
}

/// About how much JSON an output makes.
fn room(plan: &OutputPlan, outputs: &[Tensor]) -> usize {
    let characters = outputs.iter().find(|output| output.name() == plan.name).map_or(0, |tensor| {
        let each = match tensor.datatype() {
            DataType::Bool | DataType::Uint8 | DataType::Int8 => 4,
            DataType::Fp64 => 20,
            _ => 12,
        };
        tensor.len().saturating_mul(each)
    });
    128 + if plan.form == OutputForm::Json { characters } else { 0 }
}

fn push<T: Serialize + ?Sized>(head: &mut Vec<u8>, value: &T, output: &str) -> Result<(), ProtocolError> {
    serde_json::to_writer(head, value).map_err(|_| ProtocolError::Unwritable { output: output.to_owned() })
}

/// The elements, flat and row-major, with commas between; whether all of them were finite.
fn elements(head: &mut Vec<u8>, tensor: &Tensor) -> Result<bool, ProtocolError> {
    let name = tensor.name();
    let (raw, strings) = match tensor.data() {
        TensorData::Raw(raw) => (raw.as_ref(), [].as_slice()),
        TensorData::Strings(strings) => ([].as_slice(), strings.as_slice()),
    };
    let mut finite = true;
    macro_rules! numbers {
        ($type:ty) => {
            for chunk in raw.as_chunks::<{ size_of::<$type>() }>().0 {
                push(head, &<$type>::from_le_bytes(*chunk), name)?;
                head.push(b',');
            }
        };
    }
    macro_rules! floats {
        ($type:ty) => {
            for chunk in raw.as_chunks::<{ size_of::<$type>() }>().0 {
                let value = <$type>::from_le_bytes(*chunk);
                finite &= value.is_finite();
                // Shortest text that reads back to the same bits; `null` for what JSON has no number for.
                push(head, &value, name)?;
                head.push(b',');
            }
        };
    }
    match tensor.datatype() {
        DataType::Bool => {
            for byte in raw {
                head.extend_from_slice(if *byte == 0 { b"false," } else { b"true," });
            }
        }
        DataType::Uint8 => numbers!(u8),
        DataType::Uint16 => numbers!(u16),
        DataType::Uint32 => numbers!(u32),
        DataType::Uint64 => numbers!(u64),
        DataType::Int8 => numbers!(i8),
        DataType::Int16 => numbers!(i16),
        DataType::Int32 => numbers!(i32),
        DataType::Int64 => numbers!(i64),
        DataType::Fp32 => floats!(f32),
        DataType::Fp64 => floats!(f64),
        datatype @ (DataType::Fp16 | DataType::Bf16) => {
            return Err(ProtocolError::HalfOutput { output: name.to_owned(), datatype });
        }
        DataType::Bytes => {
            for (index, string) in strings.iter().enumerate() {
                let text = std::str::from_utf8(string)
                    .map_err(|_| ProtocolError::OutputNotUtf8 { output: name.to_owned(), index })?;
                push(head, text, name)?;
                head.push(b',');
            }
        }
    }
    if !tensor.is_empty() {
        head.pop();
    }
    Ok(finite)
}

/// The contents as the binary extension has them.
fn bytes(tensor: &Tensor) -> Result<Bytes, ProtocolError> {
    let strings = match tensor.data() {
        TensorData::Raw(raw) => return Ok(raw.clone()),
        TensorData::Strings(strings) => strings,
    };
    let mut piece = Vec::with_capacity(strings.iter().map(|string| string.len().saturating_add(4)).sum());
    for string in strings {
        let length =
            u32::try_from(string.len()).map_err(|_| ProtocolError::Unwritable { output: tensor.name().to_owned() })?;
        piece.extend_from_slice(&length.to_le_bytes());
        piece.extend_from_slice(string);
    }
    Ok(Bytes::from(piece))
}
