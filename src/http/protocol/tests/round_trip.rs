//! Properties: what is written reads back, and nothing that is read can bring the reader down.

use proptest::prelude::*;

use super::*;

fn datatypes() -> impl Strategy<Value = DataType> {
    prop::sample::select(DataType::ALL.to_vec())
}

/// A tensor `x` of one or two dimensions. Floats are of any bit pattern, strings of any bytes.
fn tensors() -> impl Strategy<Value = Tensor> {
    let shapes = prop::collection::vec(0usize..5, 0..3);
    (datatypes(), shapes).prop_flat_map(|(datatype, shape)| {
        let count: usize = shape.iter().product();
        let data = match datatype.element_bytes() {
            None => prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), count)
                .prop_map(|strings| TensorData::Strings(strings.into_iter().map(Bytes::from).collect()))
                .boxed(),
            Some(size) => prop::collection::vec(any::<u8>(), count * size)
                .prop_map(move |mut raw| {
                    if datatype == DataType::Bool {
                        raw.iter_mut().for_each(|byte| *byte &= 1);
                    }
                    TensorData::Raw(Bytes::from(raw))
                })
                .boxed(),
        };
        data.prop_map(move |data| Tensor::new("x", datatype, shape.clone(), data).unwrap())
    })
}

fn model_of(tensor: &Tensor) -> ModelSpec {
    let shape: Vec<i64> = tensor.shape().iter().map(|_| -1).collect();
    let spec = |name| spec(name, tensor.datatype(), &shape);
    ModelSpec { inputs: vec![spec("x")], outputs: vec![spec("x")], ..ModelSpec::default() }
}

/// An answer read as a request: the two forms are the same but for the name of the array.
fn read_back(tensor: &Tensor, form: OutputForm) -> Option<InferRequest> {
    let plans = [OutputPlan { name: "x".to_owned(), form }];
    let answer = render("m", "1", None, std::slice::from_ref(tensor), &plans, |_| None).ok()?;
    let text = std::str::from_utf8(&answer.head).unwrap();
    let head = text.replacen("\"outputs\":[", "\"parameters\":{\"binary_data_output\":true},\"inputs\":[", 1);
    let length = answer.header_length.map(|_| head.len());
    let body = Bytes::from([head.as_bytes(), &answer.binary.concat()].concat());
    Some(parse(body, length, "m", &model_of(tensor), &LIMITS).unwrap())
}

proptest! {
    #[test]
    fn req_69_binary_round_trips_for_every_datatype(tensor in tensors()) {
        let request = read_back(&tensor, OutputForm::Binary).unwrap();
        prop_assert_eq!(request.inputs, vec![tensor]);
    }

    #[test]
    fn req_47_json_round_trips_for_every_datatype_that_it_has(tensor in tensors()) {
        let finite = tensor.to_f64().is_none_or(|values| values.iter().all(|value| value.is_finite()));
        let utf8 = match tensor.data() {
            TensorData::Strings(strings) => strings.iter().all(|string| std::str::from_utf8(string).is_ok()),
            TensorData::Raw(_) => true,
        };
        let half = matches!(tensor.datatype(), DataType::Fp16 | DataType::Bf16);
        if finite && utf8 && !half {
            let request = read_back(&tensor, OutputForm::Json).unwrap();
            prop_assert_eq!(request.inputs, vec![tensor]);
        }
    }

    #[test]
    fn req_62_any_bytes_are_read_or_refused(body: Vec<u8>, length: Option<u8>) {
        let _ = parse(Bytes::from(body), length.map(usize::from), "m", &pair(), &LIMITS);
    }

    #[test]
    fn req_62_a_damaged_request_is_read_or_refused(
        tensor in tensors(),
        binary: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        let form = if binary { OutputForm::Binary } else { OutputForm::Json };
        let plans = [OutputPlan { name: "x".to_owned(), form }];
        if let Ok(answer) = render("m", "1", Some("id"), std::slice::from_ref(&tensor), &plans, |_| None) {
            let head = std::str::from_utf8(&answer.head).unwrap().replacen("outputs", "inputs", 1);
            let mut body = [head.as_bytes(), &answer.binary.concat()].concat();
            for (index, byte, kind) in damage {
                let at = index.index(body.len().max(1));
                match kind {
                    0 if at < body.len() => body[at] = byte,
                    1 if at < body.len() => { body.remove(at); }
                    _ => body.insert(at, byte),
                }
            }
            let length = answer.header_length.map(|_| head.len().min(body.len()));
            let _ = parse(Bytes::from(body), length, "m", &model_of(&tensor), &LIMITS);
        }
    }
}
