//! Tests by requirement number, see `docs/http.md`.

mod answers;
mod binary;
mod json;
mod requests;
mod responses;
mod round_trip;

use bytes::Bytes;

use super::*;
use crate::core::tensor::{DataType, ModelSpec, TensorData, TensorSpec};

pub(super) const LIMITS: ProtocolLimits = ProtocolLimits { max_tensor_bytes: 64 << 20 };

pub(super) fn spec(name: &str, datatype: DataType, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), datatype, shape: shape.to_vec(), optional: false }
}

/// One input `x` and one output `y` of the same datatype.
pub(super) fn model(datatype: DataType, shape: &[i64]) -> ModelSpec {
    ModelSpec {
        inputs: vec![spec("x", datatype, shape)],
        outputs: vec![spec("y", if datatype == DataType::Fp16 { DataType::Fp32 } else { datatype }, &[-1])],
        left_out: vec!["scores".to_owned()],
        ..ModelSpec::default()
    }
}

/// Two inputs of FP32 `[2]` and an optional one, two outputs.
pub(super) fn pair() -> ModelSpec {
    let fp32 = |name| spec(name, DataType::Fp32, &[2]);
    ModelSpec {
        inputs: vec![fp32("a"), fp32("b"), TensorSpec { optional: true, ..fp32("weight") }],
        outputs: vec![fp32("sum"), fp32("difference")],
        ..ModelSpec::default()
    }
}

pub(super) fn parse_text(text: &str, spec: &ModelSpec) -> Result<InferRequest, ProtocolError> {
    parse(Bytes::copy_from_slice(text.as_bytes()), None, "m", spec, &LIMITS)
}

/// A request with one input `x`.
pub(super) fn one(datatype: &str, shape: &str, data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#)
}

/// The error's text of a request that must be the client's fault.
pub(super) fn refused(text: &str, spec: &ModelSpec) -> String {
    refusal(parse_text(text, spec))
}

pub(super) fn refusal<T: std::fmt::Debug>(result: Result<T, ProtocolError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest, "{error}");
    let text = error.to_string();
    assert!(!text.ends_with('.') && text.len() < 700, "{text}");
    text
}

#[track_caller]
pub(super) fn assert_has(text: &str, part: &str) {
    assert!(text.contains(part), "'{part}' is not in: {text}");
}

pub(super) fn raw(request: &InferRequest) -> &[u8] {
    match request.inputs.first().map(Tensor::data) {
        Some(TensorData::Raw(raw)) => raw,
        other => panic!("no raw tensor: {other:?}"),
    }
}

pub(super) fn floats(request: &InferRequest) -> Vec<f32> {
    raw(request).as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}
