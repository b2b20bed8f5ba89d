//! The request's JSON: members in any order, checked against the model as they come.
//!
//! What a member given twice means is not for us to guess: those that are read are refused. Members and parameters that
//! nobody here knows are passed over.

use std::borrow::Cow;

use bytes::Bytes;

use super::binary::{self, Tail};
use super::error::{ProtocolError, STRING_BYTES, clip};
use super::json::Cursor;
use super::parameters::{input_parameters, member_type, missing, output_parameters, request_parameters, set, wrong};
use super::{InferRequest, OutputForm, OutputPlan, ProtocolLimits, data};
use crate::core::tensor::{DataType, ModelSpec, Tensor, TensorData, TensorSpec, element_count};

/// The most dimensions that are read: far more than any model has, and few enough to quote.
const MAX_RANK: usize = 64;

/// Reads an inference request.
///
/// `body` is the whole body, inflated. `header_length` is what [`parse_header_length`](super::parse_header_length)
/// made of the header: none means that all of the body is JSON, 0 that none of it is and that it is the bytes of the
/// model's one input. Every input is checked against `spec`.
///
/// # Errors
/// [`ProtocolError`] says what is wrong, in words for the client.
pub fn parse(
    body: Bytes,
    header_length: Option<usize>,
    model_name: &str,
    spec: &ModelSpec,
    limits: &ProtocolLimits,
) -> Result<InferRequest, ProtocolError> {
    if header_length == Some(0) {
        return binary::parse_raw(body, model_name, spec, limits);
    }
    let length = header_length.unwrap_or(body.len());
    let Some(head) = body.get(..length) else {
        return Err(ProtocolError::HeaderBeyondBody { got: length, body: body.len() });
    };
    let text = std::str::from_utf8(head).map_err(|error| ProtocolError::NotUtf8 { at: error.valid_up_to() })?;
    let mut cursor = Cursor::new(text);
    if cursor.peek().is_none() {
        return Err(ProtocolError::EmptyBody);
    }
    let reader = Reader {
        body: &body,
        tail: header_length.map(|length| Tail::new(&body, length, model_name)),
        model: model_name,
        spec,
        budget: limits.max_tensor_bytes,
        limit: limits.max_tensor_bytes,
    };
    reader.request(&mut cursor)
}

struct Reader<'a> {
    body: &'a Bytes,
    tail: Option<Tail<'a>>,
    model: &'a str,
    spec: &'a ModelSpec,
    /// Bytes of tensors that the request may still hold.
    budget: usize,
    limit: usize,
}

/// One input of the request that the model knows.
struct Input {
    /// Its place among the model's inputs.
    slot: usize,
    shape: Vec<usize>,
    count: usize,
    data: Option<TensorData>,
    binary_data_size: Option<usize>,
}

/// One output as it is asked for.
struct Output<'a> {
    spec: &'a TensorSpec,
    binary: Option<bool>,
    classes: usize,
}

impl<'a> Reader<'a> {
    fn request(mut self, cursor: &mut Cursor<'_>) -> Result<InferRequest, ProtocolError> {
        const OF: &str = "the request";
        if !cursor.opens(b'{')? {
            return Err(wrong(OF, "a JSON object with 'inputs'"));
        }
        let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
        let mut first = true;
        while let Some(key) = cursor.member(&mut first)? {
            match key.as_ref() {
                "id" => {
                    let text = cursor.text()?.ok_or_else(|| member_type("id", OF, "a string"))?;
                    set(&mut id, text.into_owned(), "id", OF)?;
                }
                "parameters" => set(&mut parameters, request_parameters(cursor)?, "parameters", OF)?,
                "inputs" => set(&mut inputs, self.inputs(cursor)?, "inputs", OF)?,
                "outputs" => set(&mut outputs, self.outputs(cursor)?, "outputs", OF)?,
                _ => cursor.skip()?,
            }
        }
        cursor.end()?;
        let inputs = inputs.ok_or_else(|| missing("inputs", OF))?;
        let parameters = parameters.unwrap_or_default();
        let outputs = plans(outputs.unwrap_or_default(), self.spec, parameters.binary_data_output.unwrap_or(false))?;
        Ok(InferRequest { id, timeout_us: parameters.timeout_us, inputs: self.tensors(inputs)?, outputs })
    }

    fn inputs(&mut self, cursor: &mut Cursor<'_>) -> Result<Vec<Input>, ProtocolError> {
        if !cursor.opens(b'[')? {
            return Err(member_type("inputs", "the request", "an array of objects"));
        }
        // Known inputs only, each once: no more than the model has, whatever the request holds.
        let mut inputs: Vec<Input> = Vec::new();
        let mut unknown = None;
        let mut got = 0usize;
        let mut first = true;
        while cursor.element(&mut first)? {
            match self.input(cursor, got)? {
                Ok(input) => {
                    if inputs.iter().any(|other| other.slot == input.slot) {
                        return Err(ProtocolError::Twice { what: "input", name: self.name(input.slot) });
                    }
                    inputs.push(input);
                }
                Err(name) => unknown = unknown.or(Some(name)),
            }
            got += 1;
        }
        self.check_count(&inputs, unknown, got)?;
        Ok(inputs)
    }

    fn check_count(&self, inputs: &[Input], unknown: Option<String>, got: usize) -> Result<(), ProtocolError> {
        let model = self.model.to_owned();
        if let Some(name) = unknown {
            if got <= self.spec.inputs.len() {
                return Err(ProtocolError::UnknownInput { name, model });
            }
            let hint = format!("it has no input '{name}'");
            return Err(ProtocolError::InputCount { want: self.spec.inputs.len(), got, model, hint });
        }
        let absent =
            |(slot, spec): &(usize, &TensorSpec)| !spec.optional && !inputs.iter().any(|input| input.slot == *slot);
        let absent: Vec<String> =
            self.spec.inputs.iter().enumerate().filter(absent).map(|(_, spec)| format!("'{}'", spec.name)).collect();
        if absent.is_empty() {
            return Ok(());
        }
        let hint = format!("missing: {}", absent.join(", "));
        Err(ProtocolError::InputCount { want: got + absent.len(), got, model, hint })
    }

    fn name(&self, slot: usize) -> String {
        self.spec.inputs.get(slot).map(|spec| spec.name.clone()).unwrap_or_default()
    }

    /// Reads one input; the inner error is the name of one that the model does not know.
    fn input(&mut self, cursor: &mut Cursor<'_>, position: usize) -> Result<Result<Input, String>, ProtocolError> {
        let mut name: Option<Cow<'_, str>> = None;
        let mut shape: Option<Vec<usize>> = None;
        let mut datatype: Option<Cow<'_, str>> = None;
        let mut binary_data_size: Option<Option<usize>> = None;
        // Where `data` is, if it came before what it takes to read it.
        let mut seen: Option<Cursor<'_>> = None;
        let mut ready: Option<Input> = None;
        let of = |name: &Option<Cow<'_, str>>| match name {
            Some(name) => format!("input '{}'", clip(name)),
            None => format!("input {position}"),
        };
        if !cursor.opens(b'{')? {
            return Err(wrong(&of(&None), "an object"));
        }
        let mut first = true;
        while let Some(key) = cursor.member(&mut first)? {
            match key.as_ref() {
                "name" => {
                    let text = cursor.text()?.ok_or_else(|| member_type("name", &of(&None), "a string"))?;
                    set(&mut name, text, "name", &of(&None))?;
                }
                "datatype" => {
                    let text = cursor.text()?.ok_or_else(|| member_type("datatype", &of(&name), "a string"))?;
                    set(&mut datatype, text, "datatype", &of(&name))?;
                }
                "shape" => {
                    let read = read_shape(cursor, || of(&name))?;
                    set(&mut shape, read, "shape", &of(&name))?;
                }
                "parameters" => {
                    let read = input_parameters(cursor, &of(&name))?;
                    set(&mut binary_data_size, read, "parameters", &of(&name))?;
                }
                "data" => {
                    set(&mut seen, *cursor, "data", &of(&name))?;
                    if let (Some(name), Some(datatype), Some(shape)) = (&name, &datatype, &shape)
                        && let Some(mut input) = self.known(name, datatype, shape)?
                    {
                        input.data = Some(self.data(cursor, &input)?);
                        ready = Some(input);
                    } else {
                        cursor.skip()?;
                    }
                }
                _ => cursor.skip()?,
            }
        }
        let Some(name) = &name else { return Err(missing("name", &of(&None))) };
        let datatype = datatype.ok_or_else(|| missing("datatype", &of(&Some(name.clone()))))?;
        let shape = shape.ok_or_else(|| missing("shape", &of(&Some(name.clone()))))?;
        let mut input = match ready {
            Some(input) => input,
            None => match self.known(name, &datatype, &shape)? {
                Some(mut input) => {
                    if let Some(mut data) = seen {
                        input.data = Some(self.data(&mut data, &input)?);
                    }
                    input
                }
                None => return Ok(Err(clip(name))),
            },
        };
        input.binary_data_size = binary_data_size.flatten();
        if input.data.is_some() && input.binary_data_size.is_some() {
            return Err(ProtocolError::TwoForms { input: clip(name) });
        }
        Ok(Ok(input))
    }

    /// The model's input of that name, if there is one, once datatype, shape and size are found right.
    fn known(&mut self, name: &str, datatype: &str, shape: &[usize]) -> Result<Option<Input>, ProtocolError> {
        let got = DataType::parse(datatype)
            .ok_or_else(|| ProtocolError::UnknownDatatype { input: clip(name), got: clip(datatype) })?;
        let found = self.spec.inputs.iter().enumerate().find(|(_, spec)| spec.name == name);
        let Some((slot, spec)) = found else { return Ok(None) };
        let (input, model) = (name.to_owned(), self.model.to_owned());
        if got != spec.datatype {
            return Err(ProtocolError::Datatype { input, model, got, want: spec.datatype });
        }
        // Zeros aside, the product must be countable too: others multiply the dimensions in their own order.
        let extent = shape.iter().try_fold(1i64, |extent, dim| extent.checked_mul(i64::try_from(*dim).ok()?.max(1)));
        let (Some(_), Some(count)) = (extent, element_count(shape)) else {
            return Err(ProtocolError::Overflow { input });
        };
        if !spec.accepts(shape) {
            return Err(ProtocolError::Shape { input, model, want: spec.shape.clone(), got: shape.to_vec() });
        }
        let size = count
            .checked_mul(spec.datatype.element_bytes().unwrap_or(STRING_BYTES))
            .ok_or_else(|| ProtocolError::Overflow { input: input.clone() })?;
        self.budget = self.budget.checked_sub(size).ok_or(ProtocolError::TooLarge { input, limit: self.limit })?;
        Ok(Some(Input { slot, shape: shape.to_vec(), count, data: None, binary_data_size: None }))
    }

    fn data(&self, cursor: &mut Cursor<'_>, input: &Input) -> Result<TensorData, ProtocolError> {
        let Some(spec) = self.spec.inputs.get(input.slot) else { return Ok(TensorData::Raw(Bytes::new())) };
        data::read(cursor, self.body, &spec.name, spec.datatype, input.count)
    }

    fn outputs(&self, cursor: &mut Cursor<'_>) -> Result<Vec<Output<'a>>, ProtocolError> {
        if !cursor.opens(b'[')? {
            return Err(member_type("outputs", "the request", "an array of objects"));
        }
        let mut outputs: Vec<Output<'a>> = Vec::new();
        let mut first = true;
        let mut position = 0usize;
        while cursor.element(&mut first)? {
            let output = self.output(cursor, position)?;
            if outputs.iter().any(|other| other.spec.name == output.spec.name) {
                return Err(ProtocolError::Twice { what: "output", name: output.spec.name.clone() });
            }
            outputs.push(output);
            position += 1;
        }
        Ok(outputs)
    }

    fn output(&self, cursor: &mut Cursor<'_>, position: usize) -> Result<Output<'a>, ProtocolError> {
        let of = format!("output {position}");
        if !cursor.opens(b'{')? {
            return Err(wrong(&of, "an object"));
        }
        let (mut name, mut settings) = (None, None);
        let mut first = true;
        while let Some(key) = cursor.member(&mut first)? {
            match key.as_ref() {
                "name" => {
                    let text = cursor.text()?.ok_or_else(|| member_type("name", &of, "a string"))?;
                    set(&mut name, text, "name", &of)?;
                }
                "parameters" => set(&mut settings, output_parameters(cursor, &of)?, "parameters", &of)?,
                _ => cursor.skip()?,
            }
        }
        let name = name.ok_or_else(|| missing("name", &of))?;
        let (binary, classes) = settings.unwrap_or_default();
        let model = || self.model.to_owned();
        match self.spec.outputs.iter().find(|spec| spec.name == name.as_ref()) {
            Some(spec) => Ok(Output { spec, binary, classes }),
            None if self.spec.left_out.iter().any(|left_out| left_out == name.as_ref()) => {
                Err(ProtocolError::NoTensor { name: clip(&name), model: model() })
            }
            None => Err(ProtocolError::UnknownOutput { name: clip(&name), model: model() }),
        }
    }

    /// Deals out the bytes behind the JSON, in the request's order, and puts the inputs into the model's.
    fn tensors(mut self, inputs: Vec<Input>) -> Result<Vec<Tensor>, ProtocolError> {
        let mut tensors = Vec::with_capacity(inputs.len());
        for input in inputs {
            let Some(spec) = self.spec.inputs.get(input.slot) else { continue };
            let contents = match (input.data, &mut self.tail, input.binary_data_size) {
                (Some(data), _, _) => data,
                (None, Some(tail), size) => tail.contents(&spec.name, spec.datatype, input.count, size)?,
                (None, None, None | Some(0)) if input.count == 0 => match spec.datatype {
                    DataType::Bytes => TensorData::Strings(Vec::new()),
                    _ => TensorData::Raw(Bytes::new()),
                },
                (None, None, None) => return Err(missing("data", &format!("input '{}'", spec.name))),
                (None, None, Some(_)) => return Err(ProtocolError::NoHeaderLength { input: spec.name.clone() }),
            };
            tensors.push((input.slot, Tensor::new(spec.name.as_str(), spec.datatype, input.shape, contents)?));
        }
        if let Some(tail) = &self.tail {
            tail.end()?;
        }
        tensors.sort_by_key(|(slot, _)| *slot);
        Ok(tensors.into_iter().map(|(_, tensor)| tensor).collect())
    }
}

/// How every output is sent: its own setting, else the request's default.
fn plans(asked: Vec<Output<'_>>, spec: &ModelSpec, default: bool) -> Result<Vec<OutputPlan>, ProtocolError> {
    let all = || spec.outputs.iter().map(|spec| Output { spec, binary: None, classes: 0 }).collect();
    let asked = if asked.is_empty() { all() } else { asked };
    let plan = |output: Output<'_>| {
        let name = output.spec.name.clone();
        let binary = output.binary.unwrap_or(default);
        let form = match (output.spec.datatype, output.classes, binary) {
            (DataType::Bytes, 1.., _) => return Err(ProtocolError::Classification { output: name }),
            (_, classes @ 1.., binary) => OutputForm::Classification { classes, binary },
            (_, 0, true) => OutputForm::Binary,
            (datatype @ (DataType::Fp16 | DataType::Bf16), 0, false) => {
                return Err(ProtocolError::HalfOutput { output: name, datatype });
            }
            (_, 0, false) => OutputForm::Json,
        };
        Ok(OutputPlan { name, form })
    };
    asked.into_iter().map(plan).collect()
}

fn read_shape(cursor: &mut Cursor<'_>, of: impl Fn() -> String) -> Result<Vec<usize>, ProtocolError> {
    let refuse = |want| member_type("shape", &of(), want);
    if !cursor.opens(b'[')? {
        return Err(refuse("an array of non-negative integers"));
    }
    let mut shape = Vec::new();
    let mut first = true;
    while cursor.element(&mut first)? {
        if shape.len() == MAX_RANK {
            return Err(refuse("an array of at most 64 dimensions"));
        }
        let dim = cursor.unsigned()?.ok_or_else(|| refuse("an array of non-negative integers"))?;
        shape.push(usize::try_from(dim).map_err(|_| refuse("an array of sizes that this machine can count"))?);
    }
    Ok(shape)
}
