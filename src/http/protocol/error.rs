//! What can be wrong with a request or an answer, in the words that the client reads.

pub use super::quote::CLIP;
pub(super) use super::quote::{STRING_BYTES, clip, list};
use crate::core::tensor::{DataType, TensorError};

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The client's: status 400.
    BadRequest,
    /// Ours: the engine's answer is not what the model promised. Status 500.
    Internal,
}

/// Why a request cannot be read or an answer cannot be written. No text holds a path or the contents of a tensor, and
/// what a client sent is quoted in at most [`CLIP`] characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Nothing was sent.
    #[error("the request body is empty; send a JSON object with 'inputs'")]
    EmptyBody,
    /// Brackets within brackets.
    #[error("JSON nesting depth exceeds maximum allowed limit (100)")]
    Depth,
    /// No JSON.
    #[error("invalid JSON at byte {at}: {problem}")]
    Json {
        /// Where.
        at: usize,
        /// What.
        problem: &'static str,
    },
    /// `NaN` or `Infinity`, which some clients write as if JSON had them.
    #[error("invalid JSON at byte {at}: JSON has no {word}; send the tensor in binary, which carries NaN and infinity")]
    NonFinite {
        /// Where.
        at: usize,
        /// Which.
        word: &'static str,
    },
    /// Bytes where text should be.
    #[error(
        "the request's JSON is not UTF-8 from byte {at} on; where tensors follow in binary, send the JSON's length in \
         Inference-Header-Content-Length"
    )]
    NotUtf8 {
        /// Where.
        at: usize,
    },
    /// A header length that is no length.
    #[error("unable to parse Inference-Header-Content-Length, got: '{got}'; send the JSON's length in bytes")]
    HeaderLength {
        /// What was sent.
        got: String,
    },
    /// A header length beyond the body.
    #[error("Inference-Header-Content-Length is {got}, but the body has {body} bytes; send the JSON's length in bytes")]
    HeaderBeyondBody {
        /// What was sent.
        got: usize,
        /// Bytes of the body.
        body: usize,
    },
    /// A member that must be there.
    #[error("{of} has no '{member}'; add it")]
    Missing {
        /// Which member.
        member: &'static str,
        /// Of what.
        of: String,
    },
    /// A member given twice.
    #[error("'{member}' occurs twice in {of}; send it once")]
    Duplicate {
        /// Which member.
        member: &'static str,
        /// Of what.
        of: String,
    },
    /// A member of the wrong type.
    #[error("'{member}' of {of} must be {want}")]
    MemberType {
        /// Which member.
        member: &'static str,
        /// Of what.
        of: String,
        /// What it must be.
        want: &'static str,
    },
    /// Something of the wrong type that is no member.
    #[error("{what} must be {want}")]
    WrongType {
        /// What.
        what: String,
        /// What it must be.
        want: &'static str,
    },
    /// A `triton_` parameter.
    #[error("parameter '{key}' of {of}: keys that start with 'triton_' are reserved; leave it out")]
    ReservedParameter {
        /// The parameter.
        key: String,
        /// Of what.
        of: String,
    },
    /// A parameter that is no scalar.
    #[error("parameter '{key}' of {of} must be a string, a number or a boolean")]
    ParameterType {
        /// The parameter.
        key: String,
        /// Of what.
        of: String,
    },
    /// The same input or output twice.
    #[error("{what} '{name}' already exists in request; send it once")]
    Twice {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Too many or too few inputs.
    #[error("expected {want} inputs but got {got} inputs for model '{model}'; {hint}")]
    InputCount {
        /// How many the model takes, or needs.
        want: usize,
        /// How many came.
        got: usize,
        /// The model's name.
        model: String,
        /// Which are missing or not known.
        hint: String,
    },
    /// An input that the model does not have.
    #[error("unexpected inference input '{name}' for model '{model}'; the model's metadata lists its inputs")]
    UnknownInput {
        /// The input's name.
        name: String,
        /// The model's name.
        model: String,
    },
    /// An output that the model does not have.
    #[error("unexpected inference output '{name}' for model '{model}'; the model's metadata lists its outputs")]
    UnknownOutput {
        /// The output's name.
        name: String,
        /// The model's name.
        model: String,
    },
    /// An output that is a sequence or a map.
    #[error(
        "inference output '{name}' of model '{model}' is no tensor (a sequence or a map) and cannot be sent; ask for \
         the outputs that the model's metadata lists, or export the model without that last step (ZipMap)"
    )]
    NoTensor {
        /// The output's name.
        name: String,
        /// The model's name.
        model: String,
    },
    /// A datatype that the protocol does not have.
    #[error(
        "unknown datatype '{got}' of input '{input}'; the protocol's names are BOOL, UINT8 to UINT64, INT8 to \
             INT64, FP16, BF16, FP32, FP64 and BYTES"
    )]
    UnknownDatatype {
        /// The input's name.
        input: String,
        /// What was sent.
        got: String,
    },
    /// Another datatype than the model's.
    #[error("inference input '{input}' data-type is '{got}', but model '{model}' expects '{want}'")]
    Datatype {
        /// The input's name.
        input: String,
        /// The model's name.
        model: String,
        /// What was sent.
        got: DataType,
        /// What the model takes.
        want: DataType,
    },
    /// Another shape than the model's.
    #[error("unexpected shape for input '{input}' for model '{model}'. Expected {}, got {}", list(want), list(got))]
    Shape {
        /// The input's name.
        input: String,
        /// The model's name.
        model: String,
        /// What the model takes, -1 where it takes any size.
        want: Vec<i64>,
        /// What was sent.
        got: Vec<usize>,
    },
    /// A shape that no machine could fill.
    #[error("the shape of input '{input}' causes total element count to exceed maximum size of {}", i64::MAX)]
    Overflow {
        /// The input's name.
        input: String,
    },
    /// More than a request may hold.
    #[error(
        "input '{input}' brings the request's tensors over the limit of {limit} bytes (an element of BYTES counts as \
         {STRING_BYTES} bytes); send smaller requests or raise server.max_body_bytes"
    )]
    TooLarge {
        /// The input's name.
        input: String,
        /// The limit.
        limit: usize,
    },
    /// `data` with too few or too many elements.
    #[error("'data' of input '{input}' has {got} elements, but its shape asks for {want}")]
    ElementCount {
        /// The input's name.
        input: String,
        /// Elements that the shape asks for.
        want: usize,
        /// Elements that came.
        got: usize,
    },
    /// An element that the datatype does not hold.
    #[error("element {index} of input '{input}' is {got}, but {datatype} takes {want}")]
    Element {
        /// The input's name.
        input: String,
        /// Which element, row-major, from 0.
        index: usize,
        /// What was sent.
        got: String,
        /// The input's datatype.
        datatype: DataType,
        /// What it takes.
        want: &'static str,
    },
    /// FP16 or BF16 in a JSON request.
    #[error(
        "receiving {datatype} data via JSON is not supported. Please use the binary data format for input '{input}'"
    )]
    HalfInput {
        /// The input's name.
        input: String,
        /// Its datatype.
        datatype: DataType,
    },
    /// FP16 or BF16 in a JSON answer.
    #[error(
        "sending {datatype} data via JSON is not supported. Please use the binary data format: set 'binary_data' of \
         output '{output}' to true"
    )]
    HalfOutput {
        /// The output's name.
        output: String,
        /// Its datatype.
        datatype: DataType,
    },
    /// Both forms at once.
    #[error("input '{input}' has both 'data' and 'binary_data_size'; send one of them")]
    TwoForms {
        /// The input's name.
        input: String,
    },
    /// A binary input in a request that says nothing of its JSON's length.
    #[error(
        "input '{input}' has 'binary_data_size', but the request has no Inference-Header-Content-Length; send the \
         JSON's length in bytes in that header"
    )]
    NoHeaderLength {
        /// The input's name.
        input: String,
    },
    /// A binary input whose size is not that of its shape.
    #[error("input byte size mismatch for input '{input}' for model '{model}'. Expected {want}, got {got}")]
    ByteSize {
        /// The input's name.
        input: String,
        /// The model's name.
        model: String,
        /// Bytes that shape and datatype ask for.
        want: usize,
        /// Bytes that are announced.
        got: usize,
    },
    /// The body ends within a binary input.
    #[error("unexpected size for input '{input}', expecting {more} additional bytes for model '{model}'")]
    BodyTooShort {
        /// The input's name.
        input: String,
        /// The model's name.
        model: String,
        /// Bytes that are missing.
        more: usize,
    },
    /// The body goes on after the last binary input.
    #[error("unexpected additional input data for model '{model}': {extra} bytes after the last input")]
    BodyTooLong {
        /// The model's name.
        model: String,
        /// Bytes too many.
        extra: usize,
    },
    /// Binary strings that end within a length.
    #[error(
        "incomplete string length indicator for inference input '{input}': element {index} needs 4 bytes, {got} are left"
    )]
    StringLength {
        /// The input's name.
        input: String,
        /// Which element.
        index: usize,
        /// Bytes that are left.
        got: usize,
    },
    /// Binary strings that end within a string.
    #[error("incomplete string data for inference input '{input}': element {index} has {want} bytes, {got} are left")]
    StringData {
        /// The input's name.
        input: String,
        /// Which element.
        index: usize,
        /// Its length.
        want: usize,
        /// Bytes that are left.
        got: usize,
    },
    /// Too few or too many binary strings.
    #[error("unexpected number of string elements for inference input '{input}': expecting {want}, got {got}")]
    StringCount {
        /// The input's name.
        input: String,
        /// Elements that the shape asks for.
        want: usize,
        /// Elements that came.
        got: usize,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("element {index} of input '{input}' is the byte {got}, but BOOL takes 0 or 1")]
    BoolByte {
        /// The input's name.
        input: String,
        /// Which element.
        index: usize,
        /// What was sent.
        got: u8,
    },
    /// A raw binary request for a model with more inputs than one.
    #[error("raw request must only have 1 input (found {got}) for model '{model}'; describe the inputs in JSON")]
    RawInputs {
        /// How many inputs the model needs.
        got: usize,
        /// The model's name.
        model: String,
    },
    /// A raw binary request whose shape is open in too many places.
    #[error(
        "the shape of the raw input '{input}' can not be deduced because there are more than one variable-sized \
         dimension; describe the input in JSON"
    )]
    RawShape {
        /// The input's name.
        input: String,
    },
    /// A raw binary request for more strings than one.
    #[error("for BYTES datatype raw input '{input}', the model must have input shape [1]; describe the input in JSON")]
    RawString {
        /// The input's name.
        input: String,
    },
    /// Classes of strings.
    #[error("output '{output}' has datatype BYTES, which cannot be classified; leave 'classification' out")]
    Classification {
        /// The output's name.
        output: String,
    },
    /// Strings that JSON cannot hold.
    #[error(
        "element {index} of output '{output}' is not UTF-8 and cannot be sent in JSON; set 'binary_data' of that \
         output to true"
    )]
    OutputNotUtf8 {
        /// The output's name.
        output: String,
        /// Which element.
        index: usize,
    },
    /// The engine did not give what the plan asks for.
    #[error("the model gave no output '{output}'; see the service's log")]
    NoOutput {
        /// The output's name.
        output: String,
    },
    /// The engine gave a string that the protocol's length word cannot describe, or JSON could not be written.
    #[error("output '{output}' cannot be written; see the service's log")]
    Unwritable {
        /// The output's name.
        output: String,
    },
    /// Contents and shape do not make a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl ProtocolError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ProtocolError::NoOutput { .. } | ProtocolError::Unwritable { .. } | ProtocolError::Tensor(_) => {
                ErrorKind::Internal
            }
            _ => ErrorKind::BadRequest,
        }
    }
}
