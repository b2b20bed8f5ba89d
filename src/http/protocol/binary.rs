//! The binary tensor data extension: tensors behind the JSON, or instead of it. Contents are slices of the body.

use bytes::Bytes;

use super::error::{ProtocolError, clip};
use super::{InferRequest, OutputForm, OutputPlan, ProtocolLimits};
use crate::core::tensor::{DataType, ModelSpec, Tensor, TensorData, TensorSpec, element_count};

/// Reads the value of `Inference-Header-Content-Length`: the bytes of JSON that a body begins with. 0 means a raw
/// binary request, without JSON. `body_length` is the whole, inflated body's, where it is known by now.
///
/// # Errors
/// A value that is no number of digits, above 2^31 - 1, or longer than the body.
pub fn parse_header_length(value: &str, body_length: Option<usize>) -> Result<usize, ProtocolError> {
    let digits = value.trim_matches([' ', '\t']);
    let length = Some(digits)
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<i32>().ok())
        .and_then(|length| usize::try_from(length).ok())
        .ok_or_else(|| ProtocolError::HeaderLength { got: clip(value) })?;
    match body_length {
        Some(body) if length > body => Err(ProtocolError::HeaderBeyondBody { got: length, body }),
        _ => Ok(length),
    }
}

/// The bytes behind the JSON, dealt out in the order of the binary inputs.
pub(super) struct Tail<'a> {
    body: &'a Bytes,
    at: usize,
    model: &'a str,
}

impl<'a> Tail<'a> {
    pub fn new(body: &'a Bytes, at: usize, model: &'a str) -> Tail<'a> {
        Tail { body, at, model }
    }

    /// The contents of the next binary input. `announced` is its `binary_data_size`, which may be left out where the
    /// size follows from `count` and the datatype.
    pub fn contents(
        &mut self,
        input: &str,
        datatype: DataType,
        count: usize,
        announced: Option<usize>,
    ) -> Result<TensorData, ProtocolError> {
        let size = match (datatype.element_bytes(), announced) {
            (Some(element), announced) => {
                let want =
                    element.checked_mul(count).ok_or_else(|| ProtocolError::Overflow { input: input.to_owned() })?;
                let got = announced.unwrap_or(want);
                if got != want {
                    let (input, model) = (input.to_owned(), self.model.to_owned());
                    return Err(ProtocolError::ByteSize { input, model, want, got });
                }
                want
            }
            (None, Some(size)) => size,
            (None, None) if count == 0 => 0,
            (None, None) => {
                return Err(ProtocolError::Missing {
                    member: "binary_data_size",
                    of: format!("the parameters of input '{input}'"),
                });
            }
        };
        let left = self.body.len().saturating_sub(self.at);
        if size > left {
            let (input, model) = (input.to_owned(), self.model.to_owned());
            return Err(ProtocolError::BodyTooShort { input, model, more: size - left });
        }
        let bytes = self.body.slice(self.at..self.at + size);
        self.at += size;
        match datatype {
            DataType::Bytes => strings(input, &bytes, count).map(TensorData::Strings),
            DataType::Bool => booleans(input, bytes).map(TensorData::Raw),
            _ => Ok(TensorData::Raw(bytes)),
        }
    }

    /// Asks that every byte has been dealt out.
    pub fn end(&self) -> Result<(), ProtocolError> {
        match self.body.len().saturating_sub(self.at) {
            0 => Ok(()),
            extra => Err(ProtocolError::BodyTooLong { model: self.model.to_owned(), extra }),
        }
    }
}

/// A boolean of another bit pattern is undefined behaviour in the code that computes with it.
fn booleans(input: &str, bytes: Bytes) -> Result<Bytes, ProtocolError> {
    match bytes.iter().enumerate().find(|(_, byte)| **byte > 1) {
        Some((index, got)) => Err(ProtocolError::BoolByte { input: input.to_owned(), index, got: *got }),
        None => Ok(bytes),
    }
}

/// Every element: four bytes of length, little-endian, then as many bytes.
fn strings(input: &str, bytes: &Bytes, count: usize) -> Result<Vec<Bytes>, ProtocolError> {
    let mut strings = Vec::with_capacity(count.min(bytes.len() / 4));
    let mut found = 0usize;
    let mut at = 0usize;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            return Err(ProtocolError::StringLength { input: input.to_owned(), index: found, got: rest.len() });
        };
        // A length that this machine cannot count is longer than the body in any case.
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > rest.len() {
            let (input, got) = (input.to_owned(), rest.len());
            return Err(ProtocolError::StringData { input, index: found, want: length, got });
        }
        if found < count {
            strings.push(bytes.slice(at + 4..at + 4 + length));
        }
        found += 1;
        at += 4 + length;
    }
    if found != count {
        return Err(ProtocolError::StringCount { input: input.to_owned(), want: count, got: found });
    }
    Ok(strings)
}

/// A request without JSON: the body is the model's one input, and all outputs are sent in binary.
///
/// The shape is the model's, its one open dimension deduced from the body's length. With two open dimensions of which
/// one comes first, that one is the batch and taken as 1. `BYTES` are one string, without its length.
pub(super) fn parse_raw(
    body: Bytes,
    model: &str,
    spec: &ModelSpec,
    limits: &ProtocolLimits,
) -> Result<InferRequest, ProtocolError> {
    let needed = spec.inputs.iter().filter(|input| !input.optional);
    let input = match (needed.clone().count(), spec.inputs.as_slice()) {
        (1, _) => needed.clone().next(),
        (0, [only]) => Some(only),
        _ => None,
    };
    let Some(input) = input else {
        return Err(ProtocolError::RawInputs { got: needed.count(), model: model.to_owned() });
    };
    if body.len() > limits.max_tensor_bytes {
        return Err(ProtocolError::TooLarge { input: input.name.clone(), limit: limits.max_tensor_bytes });
    }
    let (shape, data) = match input.datatype.element_bytes() {
        None => {
            if !input.shape.iter().all(|dim| *dim == 1 || *dim < 0) {
                return Err(ProtocolError::RawString { input: input.name.clone() });
            }
            (vec![1; input.shape.len()], TensorData::Strings(vec![body]))
        }
        Some(element) => {
            let shape = raw_shape(input, element, body.len(), model)?;
            let count = element_count(&shape).unwrap_or(usize::MAX);
            let size = body.len();
            let data = Tail::new(&body, 0, model).contents(&input.name, input.datatype, count, Some(size))?;
            (shape, data)
        }
    };
    let tensor = Tensor::new(input.name.as_str(), input.datatype, shape, data)?;
    let plan = |output: &TensorSpec| OutputPlan { name: output.name.clone(), form: OutputForm::Binary };
    Ok(InferRequest {
        id: None,
        timeout_us: None,
        inputs: vec![tensor],
        outputs: spec.outputs.iter().map(plan).collect(),
    })
}

fn raw_shape(input: &TensorSpec, element: usize, body: usize, model: &str) -> Result<Vec<usize>, ProtocolError> {
    let mut dims = input.shape.clone();
    let open = dims.iter().filter(|dim| **dim < 0).count();
    match dims.first_mut() {
        Some(batch) if open == 2 && *batch < 0 => *batch = 1,
        _ if open <= 1 => {}
        _ => return Err(ProtocolError::RawShape { input: input.name.clone() }),
    }
    let overflow = || ProtocolError::Overflow { input: input.name.clone() };
    let fixed: Vec<usize> =
        dims.iter().filter(|dim| **dim >= 0).map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX)).collect();
    let step = element_count(&fixed).and_then(|count| count.checked_mul(element)).ok_or_else(overflow)?;
    // Whether the step divides the body is for the caller's check of its size to say.
    let deduced = body.checked_div(step).unwrap_or(0);
    let shape: Vec<usize> = dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(deduced)).collect();
    let want = element_count(&shape).and_then(|count| count.checked_mul(element)).ok_or_else(overflow)?;
    if want != body {
        let (input, model) = (input.name.clone(), model.to_owned());
        return Err(ProtocolError::ByteSize { input, model, want, got: body });
    }
    Ok(shape)
}
