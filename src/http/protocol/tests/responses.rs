//! D: the answer; J: classification.

use serde_json::{Value, json};

use super::*;

fn tensor(name: &str, datatype: DataType, shape: &[usize], raw: &[u8]) -> Tensor {
    Tensor::new(name, datatype, shape.to_vec(), TensorData::Raw(Bytes::copy_from_slice(raw))).unwrap()
}

fn floats_of(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, DataType::Fp32, shape, &raw)
}

fn strings_of(name: &str, strings: &[&'static [u8]]) -> Tensor {
    let data = TensorData::Strings(strings.iter().map(|string| Bytes::from_static(string)).collect());
    Tensor::new(name, DataType::Bytes, vec![strings.len()], data).unwrap()
}

fn plan(name: &str, form: OutputForm) -> OutputPlan {
    OutputPlan { name: name.to_owned(), form }
}

fn rendered(outputs: &[Tensor], plans: &[OutputPlan]) -> Result<Rendered, ProtocolError> {
    render("m", "1", None, outputs, plans, |_| None)
}

fn json_of(tensor: Tensor) -> Value {
    let plans = [plan(tensor.name(), OutputForm::Json)];
    let answer = rendered(&[tensor], &plans).unwrap();
    assert_eq!((answer.header_length, answer.binary.len()), (None, 0));
    serde_json::from_slice(&answer.head).unwrap()
}

fn data_text(tensor: Tensor) -> String {
    let plans = [plan(tensor.name(), OutputForm::Json)];
    let answer = rendered(&[tensor], &plans).unwrap();
    let text = String::from_utf8(answer.head.to_vec()).unwrap();
    let data = text.split_once("\"data\":").unwrap().1;
    data[..=data.find(']').unwrap()].to_owned()
}

#[test]
fn req_48_to_51_an_answer_is_flat_json_with_its_real_shape() {
    let answer = json_of(floats_of("y", &[2, 2], &[1.0, 2.5, -0.0, 0.125]));
    let want = json!({"model_name": "m", "model_version": "1", "outputs": [
        {"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.5, -0.0, 0.125]}]});
    assert_eq!(answer, want);
}

#[test]
fn req_33_the_id_is_returned_only_if_it_was_given() {
    assert!(json_of(floats_of("y", &[0], &[])).get("id").is_none());
    let outputs = [floats_of("y", &[1], &[1.0])];
    let answer = render("m", "1", Some("a\"\n"), &outputs, &[plan("y", OutputForm::Json)], |_| None).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer.head).unwrap()["id"], "a\"\n");
}

#[test]
fn req_52_outputs_keep_the_order_of_the_request() {
    let outputs = [floats_of("a", &[1], &[1.0]), floats_of("b", &[1], &[2.0])];
    let answer = rendered(&outputs, &[plan("b", OutputForm::Json), plan("a", OutputForm::Json)]).unwrap();
    let answer: Value = serde_json::from_slice(&answer.head).unwrap();
    assert_eq!((&answer["outputs"][0]["name"], &answer["outputs"][1]["name"]), (&json!("b"), &json!("a")));
}

#[test]
fn req_47_floats_are_the_shortest_text_that_reads_back() {
    assert_eq!(data_text(floats_of("y", &[4], &[0.1, 16777216.0, f32::MAX, f32::MIN_POSITIVE])), {
        "[0.1,16777216.0,3.4028235e+38,1.1754944e-38]"
    });
    let doubles: Vec<u8> = [0.1f64, 5e-324].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(data_text(tensor("y", DataType::Fp64, &[2], &doubles)), "[0.1,5e-324]");
}

#[test]
fn req_31_wide_integers_are_written_exactly() {
    assert_eq!(data_text(tensor("y", DataType::Uint64, &[1], &u64::MAX.to_le_bytes())), "[18446744073709551615]");
    assert_eq!(data_text(tensor("y", DataType::Int64, &[1], &i64::MIN.to_le_bytes())), "[-9223372036854775808]");
}

#[test]
fn req_45_what_json_has_no_number_for_is_null_and_marked() {
    let answer = json_of(floats_of("y", &[4], &[f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY]));
    assert_eq!(answer["outputs"][0]["data"], json!([null, 1.0, null, null]));
    assert_eq!(answer["outputs"][0]["parameters"], json!({"non_finite": true}));
    assert!(json_of(floats_of("y", &[1], &[1.0]))["outputs"][0].get("parameters").is_none());
    let nan = floats_of("y", &[1], &[f32::NAN]);
    let answer = rendered(&[nan], &[plan("y", OutputForm::Binary)]).unwrap();
    assert_eq!(answer.binary[0].as_ref(), f32::NAN.to_le_bytes());
}

#[test]
fn req_46_half_floats_are_not_written_in_json() {
    for datatype in [DataType::Fp16, DataType::Bf16] {
        let half = tensor("y", datatype, &[1], &[0, 60]);
        let text = refusal(rendered(std::slice::from_ref(&half), &[plan("y", OutputForm::Json)]));
        assert_has(&text, &format!("sending {datatype} data via JSON is not supported"));
        assert!(rendered(&[half], &[plan("y", OutputForm::Binary)]).is_ok());
    }
}

#[test]
fn req_53_booleans_and_strings_are_written_as_such() {
    assert_eq!(data_text(tensor("y", DataType::Bool, &[2], &[1, 0])), "[true,false]");
    let answer = json_of(strings_of("y", &[b"he\0llo \"", "é".as_bytes(), b""]));
    assert_eq!(answer["outputs"][0]["data"], json!(["he\0llo \"", "é", ""]));
    assert_eq!(answer["outputs"][0]["datatype"], "BYTES");
}

#[test]
fn req_54_strings_that_are_not_utf8_point_at_binary() {
    let strings = strings_of("y", &[b"ok", b"\xff\xfe"]);
    let text = refusal(rendered(std::slice::from_ref(&strings), &[plan("y", OutputForm::Json)]));
    assert_has(&text, "element 1 of output 'y' is not UTF-8");
    assert_has(&text, "'binary_data'");
    let answer = rendered(&[strings], &[plan("y", OutputForm::Binary)]).unwrap();
    assert_eq!(answer.binary[0].as_ref(), b"\x02\0\0\0ok\x02\0\0\0\xff\xfe");
}

#[test]
fn req_78_binary_and_json_outputs_may_be_mixed() {
    let outputs = [floats_of("a", &[2], &[1.0, 2.0]), floats_of("b", &[1], &[3.0]), strings_of("c", &[b"x"])];
    let plans = [plan("c", OutputForm::Binary), plan("b", OutputForm::Json), plan("a", OutputForm::Binary)];
    let answer = rendered(&outputs, &plans).unwrap();
    assert_eq!(answer.header_length, Some(answer.head.len()));
    let head: Value = serde_json::from_slice(&answer.head).unwrap();
    assert_eq!(
        head["outputs"],
        json!([
        {"name": "c", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}},
        {"name": "b", "datatype": "FP32", "shape": [1], "data": [3.0]},
        {"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}])
    );
    assert_eq!(answer.binary.iter().map(Bytes::len).collect::<Vec<_>>(), [5, 8]);
    assert_eq!(answer.len(), answer.head.len() + 13);
    let TensorData::Raw(contents) = outputs[0].data() else { panic!("raw") };
    assert!(std::ptr::eq(contents.as_ptr(), answer.binary[1].as_ptr()));
}

#[test]
fn req_79_empty_binary_outputs_keep_the_header() {
    let answer = rendered(&[floats_of("y", &[0], &[])], &[plan("y", OutputForm::Binary)]).unwrap();
    assert_eq!(answer.header_length, Some(answer.head.len()));
    assert_eq!(answer.len(), answer.head.len());
    let head: Value = serde_json::from_slice(&answer.head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 0);
}

fn classes(tensor: Tensor, count: usize, labels: Option<&[String]>) -> (Value, Value) {
    let form = OutputForm::Classification { classes: count, binary: false };
    let plans = [plan(tensor.name(), form)];
    let answer = render("m", "1", None, &[tensor], &plans, |_| labels).unwrap();
    let mut head: Value = serde_json::from_slice(&answer.head).unwrap();
    assert_eq!(head["outputs"][0]["datatype"], "BYTES");
    (head["outputs"][0]["shape"].take(), head["outputs"][0]["data"].take())
}

#[test]
fn req_96_the_highest_come_first_with_index_and_label() {
    let labels = ["cat".to_owned(), "dog".to_owned()];
    let batch = floats_of("y", &[2, 3], &[0.1, 1.0, 0.5, 7.0, -2.0, 7.0]);
    let (shape, data) = classes(batch.clone(), 2, Some(&labels));
    assert_eq!((shape, data), (json!([2, 2]), json!(["1.000000:1:dog", "0.500000:2", "7.000000:0:cat", "7.000000:2"])));
    let (shape, data) = classes(batch, usize::MAX, None);
    assert_eq!((shape, data[0].clone(), data[5].clone()), (json!([2, 3]), json!("1.000000:1"), json!("-2.000000:1")));
    let (shape, data) = classes(floats_of("y", &[3], &[f32::NAN, -1.0, f32::NEG_INFINITY]), 9, None);
    assert_eq!((shape, data), (json!([3]), json!(["-1.000000:1", "-inf:2", "nan:0"])));
    let whole = tensor("y", DataType::Int64, &[2], &[i64::MAX - 1, i64::MAX].map(i64::to_le_bytes).concat());
    assert_eq!(classes(whole, 1, None).1, json!(["9223372036854775807:1"]));
    let half = tensor("y", DataType::Fp16, &[1], &half::f16::from_f32(1.5).to_le_bytes());
    assert_eq!(classes(half, 1, None).1, json!(["1.500000:0"]));
    assert_eq!(classes(floats_of("y", &[2, 0], &[]), 1, None).0, json!([2, 0]));
    let binary = OutputForm::Classification { classes: 1, binary: true };
    let answer = rendered(&[floats_of("y", &[1], &[1.0])], &[plan("y", binary)]).unwrap();
    assert_eq!(answer.binary[0].as_ref(), [b"\x0a\0\0\0".as_slice(), b"1.000000:0"].concat());
    let text = refusal(rendered(&[strings_of("y", &[b"x"])], &[plan("y", binary)]));
    assert_has(&text, "has datatype BYTES, which cannot be classified");
}

#[test]
fn req_57_an_output_that_the_engine_did_not_give_is_our_fault() {
    let error = rendered(&[], &[plan("y", OutputForm::Json)]).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), {
        (ErrorKind::Internal, "the model gave no output 'y'; see the service's log")
    });
}
