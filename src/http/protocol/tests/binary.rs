//! G: the binary tensor data extension, requests.

use super::*;

const AB: &str = r#"{"inputs":[{"name":"b","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}},
                               {"name":"a","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}}]}"#;

fn send(head: &str, tail: &[u8], spec: &ModelSpec) -> Result<InferRequest, ProtocolError> {
    let body = Bytes::from([head.as_bytes(), tail].concat());
    parse(body, Some(head.len()), "m", spec, &LIMITS)
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn x(datatype: &str, shape: &str, parameters: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"parameters":{parameters}}}]}}"#)
}

#[test]
fn req_66_bytes_follow_in_the_order_of_the_inputs() {
    let request = send(AB, &le(&[1.0, 2.0, 3.0, 4.0]), &pair()).unwrap();
    assert_eq!((request.inputs[0].name(), floats(&request)), ("a", vec![3.0, 4.0]));
    let mixed = AB.replacen(r#""parameters":{"binary_data_size":8}"#, r#""data":[9,8]"#, 1);
    let request = send(&mixed, &le(&[3.0, 4.0]), &pair()).unwrap();
    assert_eq!(request.inputs[1].data(), &TensorData::Raw(Bytes::from(le(&[9.0, 8.0]))));
}

#[test]
fn req_66_tensors_are_slices_of_the_body() {
    let head = x("FP32", "[2]", r#"{"binary_data_size":8}"#);
    let body = Bytes::from([head.as_bytes(), &le(&[1.0, 2.0])].concat());
    let request = parse(body.clone(), Some(head.len()), "m", &model(DataType::Fp32, &[2]), &LIMITS).unwrap();
    assert!(std::ptr::eq(raw(&request).as_ptr(), &raw const body[head.len()]));
}

#[test]
fn req_67_binary_data_needs_the_header() {
    let head = x("FP32", "[2]", r#"{"binary_data_size":8}"#);
    let text = refused(&head, &model(DataType::Fp32, &[2]));
    assert_has(&text, "the request has no Inference-Header-Content-Length");
    let body = Bytes::from([head.as_bytes(), b"\xff\xff\xff\xff\0\0\0\0"].concat());
    let text = refusal(parse(body, None, "m", &model(DataType::Fp32, &[2]), &LIMITS));
    assert_has(&text, "in Inference-Header-Content-Length");
    // The header alone, without any binary input, is fine.
    let head = one("FP32", "[1]", "[1]");
    assert_eq!(floats(&send(&head, b"", &model(DataType::Fp32, &[1])).unwrap()), [1.0]);
}

#[test]
fn req_68_the_size_may_be_left_out_where_it_follows() {
    assert_eq!(
        floats(&send(&x("FP32", "[2]", "{}"), &le(&[1.0, 2.0]), &model(DataType::Fp32, &[2])).unwrap()),
        [1.0, 2.0]
    );
    let text = refusal(send(&x("BYTES", "[1]", "{}"), b"\0\0\0\0", &model(DataType::Bytes, &[1])));
    assert_has(&text, "has no 'binary_data_size'");
}

#[test]
fn req_69_strings_have_their_length_before_them() {
    let tail = b"\x02\0\0\0he\0\0\0\0\x03\0\0\0\xff\0\xfe";
    let head = x("BYTES", "[3]", &format!(r#"{{"binary_data_size":{}}}"#, tail.len()));
    let request = send(&head, tail, &model(DataType::Bytes, &[-1])).unwrap();
    let strings = [b"he".as_slice(), b"", b"\xff\0\xfe"].map(Bytes::copy_from_slice).to_vec();
    assert_eq!(request.inputs[0].data(), &TensorData::Strings(strings));
}

#[test]
fn req_70_a_size_that_is_not_that_of_the_shape_is_refused() {
    let text = refusal(send(&x("FP32", "[2]", r#"{"binary_data_size":7}"#), &[0; 7], &model(DataType::Fp32, &[2])));
    assert_eq!(text, "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 7");
    let strings = |tail: &[u8], part: &str| {
        let head = x("BYTES", "[2]", &format!(r#"{{"binary_data_size":{}}}"#, tail.len()));
        assert_has(&refusal(send(&head, tail, &model(DataType::Bytes, &[2]))), part);
    };
    strings(b"\0\0\0\0\0\0", "incomplete string length indicator");
    strings(b"\0\0\0\0\x05\0\0\0abc", "element 1 has 5 bytes, 3 are left");
    strings(b"\xff\xff\xff\xffabc", "element 0 has 4294967295 bytes, 3 are left");
    strings(b"\0\0\0\0", "expecting 2, got 1");
    strings(&[0; 12], "expecting 2, got 3");
    let bools = refusal(send(&x("BOOL", "[2]", r#"{"binary_data_size":2}"#), &[1, 2], &model(DataType::Bool, &[2])));
    assert_has(&bools, "element 1 of input 'x' is the byte 2, but BOOL takes 0 or 1");
}

#[test]
fn req_71_a_body_too_short_or_too_long_is_refused() {
    let text = refusal(send(AB, &le(&[1.0, 2.0, 3.0]), &pair()));
    assert_eq!(text, "unexpected size for input 'a', expecting 4 additional bytes for model 'm'");
    let text = refusal(send(AB, &le(&[0.0; 5]), &pair()));
    assert_has(&text, "unexpected additional input data for model 'm': 4 bytes");
}

#[test]
fn req_72_a_header_length_out_of_range_is_refused() {
    for value in ["-1", "", "+5", "1.5", "abc", "0x10", "2147483648", "99999999999", "1 2", "１"] {
        let text = refusal(parse_header_length(value, Some(10)));
        assert_has(&text, "unable to parse Inference-Header-Content-Length");
    }
    assert_has(&refusal(parse_header_length("11", Some(10))), "is 11, but the body has 10 bytes");
    assert_eq!(parse_header_length(" 10 ", Some(10)), Ok(10));
    assert_eq!(parse_header_length("2147483647", None), Ok(i32::MAX as usize));
    assert!(refusal(parse_header_length(&"9".repeat(10_000), None)).len() < 300);
    let beyond = parse(Bytes::from_static(b"{}"), Some(3), "m", &pair(), &LIMITS);
    assert_has(&refusal(beyond), "is 3, but the body has 2 bytes");
}

#[test]
fn req_73_a_header_length_that_cuts_or_passes_the_json_is_refused() {
    let body = Bytes::from([AB.as_bytes(), &le(&[1.0, 2.0, 3.0, 4.0])].concat());
    for length in [AB.len() - 1, AB.len() + 1, 1] {
        let text = refusal(parse(body.clone(), Some(length), "m", &pair(), &LIMITS));
        assert!(text.contains("JSON") || text.contains("UTF-8"), "{text}");
    }
}

#[test]
fn req_74_bad_binary_sizes_are_refused() {
    let spec = model(DataType::Fp32, &[-1]);
    for size in ["-8", "8.0", "\"8\"", "true", "1e1", "18446744073709551616", "99999999999999999999999"] {
        let head = x("FP32", "[2]", &format!(r#"{{"binary_data_size":{size}}}"#));
        assert_has(&refusal(send(&head, &[0; 8], &spec)), "must be a non-negative integer of bytes");
    }
    let huge = x("FP32", "[2]", r#"{"binary_data_size":18446744073709551615}"#);
    assert_has(&refusal(send(&huge, &[0; 8], &spec)), "input byte size mismatch");
    // Two sizes whose sum overflows: strings, whose size does not follow from the shape.
    let mut strings = pair();
    for input in &mut strings.inputs {
        input.datatype = DataType::Bytes;
    }
    let head = AB.replace("FP32", "BYTES").replace(":8", ":18446744073709551615");
    assert_has(&refusal(send(&head, &[0; 8], &strings)), "additional bytes");
    let empty = x("FP32", "[0]", r#"{"binary_data_size":0}"#);
    assert!(send(&empty, b"", &spec).unwrap().inputs[0].is_empty());
    assert!(parse_text(&empty, &spec).unwrap().inputs[0].is_empty());
}

#[test]
fn req_74_data_and_binary_size_together_are_refused() {
    let head =
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],"parameters":{"binary_data_size":4}}]}"#;
    assert_has(&refusal(send(head, &[0; 4], &model(DataType::Fp32, &[1]))), "both 'data' and 'binary_data_size'");
}

fn forms(outputs: &str, parameters: &str) -> Vec<OutputForm> {
    let head = AB.replacen('{', &format!(r#"{{"outputs":{outputs},"parameters":{parameters},"#), 1);
    let request = send(&head, &le(&[0.0; 4]), &pair()).unwrap();
    request.outputs.into_iter().map(|plan| plan.form).collect()
}

#[test]
fn req_75_outputs_are_chosen_one_by_one_or_all_at_once() {
    use OutputForm::{Binary, Json};
    let both = r#"[{"name":"sum","parameters":{"binary_data":true}},{"name":"difference","parameters":{"binary_data":false}}]"#;
    assert_eq!(forms(both, "{}"), [Binary, Json]);
    assert_eq!(forms("[]", r#"{"binary_data_output":true}"#), [Binary, Binary]);
}

#[test]
fn req_76_the_default_covers_every_output_that_does_not_say_otherwise() {
    use OutputForm::{Binary, Json};
    let outputs = r#"[{"name":"sum"},{"name":"difference","parameters":{"binary_data":false}}]"#;
    assert_eq!(forms(outputs, r#"{"binary_data_output":true}"#), [Binary, Json]);
    assert_eq!(forms(outputs, r#"{"binary_data_output":false}"#), [Json, Json]);
}

#[test]
fn req_77_binary_data_is_a_boolean() {
    let bad = AB.replacen('{', r#"{"outputs":[{"name":"sum","parameters":{"binary_data":1}}],"#, 1);
    assert_has(&refusal(send(&bad, &le(&[0.0; 4]), &pair())), "'binary_data' of output 0 must be true or false");
    let bad = AB.replacen('{', r#"{"parameters":{"binary_data_output":"true"},"#, 1);
    assert_has(&refusal(send(&bad, &le(&[0.0; 4]), &pair())), "'binary_data_output' of the request's parameters");
}

fn raw_request(body: &[u8], spec: &ModelSpec) -> Result<InferRequest, ProtocolError> {
    parse(Bytes::copy_from_slice(body), Some(0), "m", spec, &LIMITS)
}

#[test]
fn req_80_a_raw_request_is_the_one_input_and_is_answered_in_binary() {
    let shape = |want: &[i64], bytes: usize| {
        raw_request(&vec![0; bytes], &model(DataType::Fp32, want)).map(|request| request.inputs[0].shape().to_vec())
    };
    assert_eq!(shape(&[2, 2], 16), Ok(vec![2, 2]));
    assert_eq!(shape(&[-1, 2], 24), Ok(vec![3, 2]));
    assert_eq!(shape(&[-1, -1], 12), Ok(vec![1, 3]));
    assert_eq!(shape(&[-1, 3, -1, 2], 48), Ok(vec![1, 3, 2, 2]));
    assert_eq!(shape(&[], 4), Ok(vec![]));
    assert_eq!(shape(&[-1], 0), Ok(vec![0]));
    assert_has(&refusal(shape(&[-1, -1, -1], 12)), "more than one variable-sized dimension");
    assert_has(&refusal(shape(&[2, -1, -1], 12)), "more than one variable-sized dimension");
    assert_has(&refusal(shape(&[2, 2], 12)), "input byte size mismatch");
    assert_has(&refusal(shape(&[-1, 2], 12)), "input byte size mismatch");
    assert_has(&refusal(shape(&[-1, 0], 4)), "input byte size mismatch");
    assert_has(&refusal(shape(&[i64::MAX, i64::MAX], 4)), "exceed maximum size");
    let request = raw_request(&[0; 4], &model(DataType::Fp16, &[2])).unwrap();
    assert_eq!(request.outputs[0].form, OutputForm::Binary);
    assert_has(&refusal(raw_request(&[0; 8], &pair())), "raw request must only have 1 input (found 2)");
    let mut weights = pair();
    weights.inputs.remove(1);
    assert_eq!(raw_request(&[0; 8], &weights).unwrap().inputs[0].name(), "a");
    assert_has(&refusal(raw_request(&[3], &model(DataType::Bool, &[1]))), "BOOL takes 0 or 1");
}

#[test]
fn req_80_a_raw_string_has_no_length_before_it() {
    for shape in [[1].as_slice(), &[-1, 1], &[]] {
        let request = raw_request(b"he\0llo", &model(DataType::Bytes, shape)).unwrap();
        assert_eq!(request.inputs[0].data(), &TensorData::Strings(vec![Bytes::from_static(b"he\0llo")]));
    }
    let text = refusal(raw_request(b"x", &model(DataType::Bytes, &[2])));
    assert_has(&text, "the model must have input shape [1]");
}
