//! C: the JSON request, by requirement number of docs/http.md.

use serde_json::json;

use crate::harness::{Daemon, Setup};
use crate::wire::{data, fails, floats, identity, inferred, refused, row, x};

fn fp32() -> Daemon {
    identity("fp32")
}

const ONE: &str = r#"{"name":"x","datatype":"FP32","shape":[1],"data":[1]}"#;

#[test]
fn req_23_and_24_what_is_missing_is_named() {
    let daemon = fp32();
    refused(&daemon, "identity_fp32", "[]", "must be a JSON object");
    refused(&daemon, "identity_fp32", "{}", "the request has no 'inputs'");
    refused(&daemon, "identity_fp32", r#"{"inputs":{}}"#, "'inputs' of the request must be an array");
    for member in ["name", "shape", "datatype", "data"] {
        let mut request = floats(&[1.0]);
        request["inputs"][0].as_object_mut().unwrap().remove(member);
        refused(&daemon, "identity_fp32", &request.to_string(), &format!("has no '{member}'"));
    }
    let shuffled = r#"{"outputs":[],"inputs":[{"data":[[1,2]],"shape":[2],"parameters":{},"datatype":"FP32","name":"x"}],"id":"7"}"#;
    assert_eq!(daemon.post("/v2/models/identity_fp32/infer", shuffled.as_bytes()).json()["id"], "7");
}

#[test]
fn req_25_shapes_that_are_none_are_400_and_never_500() {
    let daemon = Setup::fixture("mlp").ready();
    for shape in [json!([-1, 64]), json!([1.5, 64]), json!("64"), json!([[1, 64]]), json!([null])] {
        refused(&daemon, "mlp", &x("FP32", shape, json!([1])).to_string(), "'shape' of input 'x' must be an array");
    }
    let overflow = "causes total element count to exceed maximum size";
    refused(&daemon, "mlp", &x("FP32", json!([4611686018427387904u64, 64]), json!([1])).to_string(), overflow);
    refused(&daemon, "mlp", &x("FP32", json!([u64::MAX, 0]), json!([])).to_string(), overflow);
}

#[test]
fn req_26_any_nesting_is_flattened() {
    let daemon = Setup::fixture("transpose").ready();
    let flat = x("FP32", json!([1, 3, 4]), json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
    let nested = x("FP32", json!([1, 3, 4]), json!([[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]));
    let odd = x("FP32", json!([1, 3, 4]), json!([[0, 1, [2]], 3, 4, 5, [[6, 7, 8, 9]], 10, 11]));
    for request in [flat, nested, odd] {
        let expected = json!([0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0]);
        assert_eq!(data(&daemon, "transpose", &request), expected);
    }
    let scalar = Setup::fixture("scalar").ready();
    let answer = inferred(&scalar, "scalar", &x("FP32", json!([]), json!([2.5])));
    assert_eq!((&answer["outputs"][0]["shape"], &answer["outputs"][0]["data"]), (&json!([]), &json!([5.0])));
}

#[test]
fn req_27_to_30_elements_are_counted_ranged_and_not_coerced() {
    let daemon = fp32();
    let send =
        |element: &str| format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[2],"data":[1,{element}]}}]}}"#);
    for (element, got) in
        [("\"1\"", "a string"), ("true", "a boolean"), ("null", "null"), ("{}", "an object"), ("1e39", "1e39")]
    {
        refused(&daemon, "identity_fp32", &send(element), &format!("element 1 of input 'x' is {got}, but FP32"));
    }
    let wrong = "elements, but its shape asks for 2";
    for data in [json!([1]), json!([]), json!([1, 2, 3])] {
        refused(&daemon, "identity_fp32", &x("FP32", json!([2]), data).to_string(), wrong);
    }
    assert_eq!(
        data(&daemon, "identity_fp32", &x("FP32", json!([2]), json!([1, -16777216]))),
        json!([1.0, -16777216.0])
    );
    for (datatype, good, bad) in [
        ("UINT8", "255", "256"),
        ("UINT8", "0", "-1"),
        ("INT8", "-128", "128"),
        ("UINT16", "65535", "65536"),
        ("INT16", "-32768", "-32769"),
        ("UINT32", "4294967295", "4294967296"),
        ("INT32", "2147483647", "2147483648"),
        ("INT64", "-9223372036854775808", "9223372036854775808"),
        ("UINT64", "18446744073709551615", "18446744073709551616"),
        ("INT64", "1", "1.0"),
        ("BOOL", "true", "1"),
        ("BYTES", "\"\"", "1"),
    ] {
        let model = format!("identity_{}", datatype.to_lowercase());
        let daemon = identity(&datatype.to_lowercase());
        let one = |element: &str| {
            format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[1],"data":[{element}]}}]}}"#)
        };
        let answer = daemon.post(&format!("/v2/models/{model}/infer"), one(good).as_bytes());
        assert_eq!(answer.json()["outputs"][0]["data"].to_string(), format!("[{good}]"));
        refused(&daemon, &model, &one(bad), &format!("is {bad}, but {datatype} takes"));
    }
}

#[test]
fn req_31_64_bit_integers_are_exact_both_ways() {
    for (datatype, number) in [("UINT64", "9223372036854775819"), ("INT64", "-9007199254740993")] {
        let model = format!("identity_{}", datatype.to_lowercase());
        let daemon = identity(&datatype.to_lowercase());
        let body = format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[1],"data":[{number}]}}]}}"#);
        let answer = daemon.post(&format!("/v2/models/{model}/infer"), body.as_bytes());
        assert!(answer.text().contains(&format!("\"data\":[{number}]")), "{}", answer.text());
    }
}

#[test]
fn req_32_a_zero_dimension_is_fine_with_and_without_data() {
    let daemon = fp32();
    let mut request = floats(&[]);
    for _ in 0..2 {
        let answer = inferred(&daemon, "identity_fp32", &request);
        assert_eq!((&answer["outputs"][0]["shape"], &answer["outputs"][0]["data"]), (&json!([0]), &json!([])));
        request["inputs"][0].as_object_mut().unwrap().remove("data");
    }
}

#[test]
fn req_33_the_id_comes_back_unchanged_or_not_at_all() {
    let daemon = fp32();
    let mut request = floats(&[1.0]);
    assert!(inferred(&daemon, "identity_fp32", &request).get("id").is_none());
    for id in ["", "42", "é\n\"😀\u{0}"] {
        request["id"] = json!(id);
        assert_eq!(inferred(&daemon, "identity_fp32", &request)["id"], id);
    }
    request["id"] = json!(1);
    refused(&daemon, "identity_fp32", &request.to_string(), "'id' of the request must be a string");
}

#[test]
fn req_34_and_35_and_52_outputs_are_those_asked_for_in_that_order() {
    let daemon = Setup::fixture("nan").ready();
    let names = |outputs: serde_json::Value| {
        let mut request = floats(&[1.0]);
        request["outputs"] = outputs;
        let answer = inferred(&daemon, "nan", &request);
        answer["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| output["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(json!([])), ["root", "logarithm", "same"]);
    assert_eq!(names(json!([{"name": "same"}, {"name": "root"}])), ["same", "root"]);
    let with = |outputs: &str| format!(r#"{{"inputs":[{ONE}],"outputs":{outputs}}}"#);
    refused(&daemon, "nan", &with(r#"[{"name":"y"}]"#), "unexpected inference output 'y'");
    refused(&daemon, "nan", &with(r#"[{"name":"same"},{"name":"same"}]"#), "output 'same' already exists in request");
    refused(&daemon, "nan", &format!(r#"{{"inputs":[{ONE},{ONE}]}}"#), "input 'x' already exists in request");
}

#[test]
fn req_36_to_38_inputs_that_do_not_fit_the_model_are_named() {
    let daemon = Setup::fixture("add_sub_int32").ready();
    let one = |name: &str| json!({"name": name, "datatype": "INT32", "shape": [1, 16], "data": vec![1; 16]});
    let send = |inputs: Vec<serde_json::Value>, words: &str| {
        refused(&daemon, "add_sub_int32", &json!({"inputs": inputs}).to_string(), words);
    };
    send(vec![one("a")], "expected 2 inputs but got 1 inputs for model 'add_sub_int32'");
    send(vec![one("a"), one("b"), one("c")], "expected 2 inputs but got 3");
    send(vec![one("a"), one("c")], "unexpected inference input 'c' for model 'add_sub_int32'");
    let mut wrong = one("b");
    wrong["datatype"] = json!("FP32");
    send(vec![one("a"), wrong], "inference input 'b' data-type is 'FP32', but model 'add_sub_int32' expects 'INT32'");
    for shape in [json!([1, 8]), json!([16]), json!([1, 16, 1]), json!([])] {
        let mut wrong = one("b");
        wrong["shape"] = shape.clone();
        let words = format!("unexpected shape for input 'b' for model 'add_sub_int32'. Expected [-1,16], got {shape}");
        send(vec![one("a"), wrong], &words);
    }
    let swapped = json!({"inputs": [one("b"), one("a")]});
    assert_eq!(data(&daemon, "add_sub_int32", &swapped), json!(vec![2; 16]));
}

#[test]
fn req_39_and_62_a_failure_inside_the_graph_is_500_and_the_next_request_right() {
    let daemon = Setup::fixture("fails_inside").ready();
    for _ in 0..3 {
        let answer = daemon.infer("fails_inside", &row(99));
        fails(&answer, 500, "the model failed");
        assert_eq!(data(&daemon, "fails_inside", &row(3)), json!([3.0]));
        refused(&daemon, "fails_inside", "{", "invalid JSON");
        assert_eq!(data(&daemon, "fails_inside", &row(-1)), json!([9.0]));
    }
    let reshape = Setup::fixture("reshape_inside").ready();
    let request = |rows: i64| {
        let shape = json!({"name": "shape", "datatype": "INT64", "shape": [2], "data": [rows, 4]});
        json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [12], "data": vec![1; 12]}, shape]})
    };
    fails(&reshape.infer("reshape_inside", &request(5)), 500, "");
    assert_eq!(inferred(&reshape, "reshape_inside", &request(3))["outputs"][0]["shape"], json!([3, 4]));
}

#[test]
fn req_40_and_41_unknown_members_are_ignored_and_triton_is_reserved() {
    let daemon = fp32();
    let mut request = floats(&[1.0]);
    request["model_name"] = json!("other");
    request["more"] = json!([{"deep": [1, 2]}]);
    request["parameters"] = json!({"a": "b", "c": 1.5, "d": false, "priority": 2, "sequence_id": "s"});
    request["inputs"][0]["parameters"] = json!({"e": 1});
    request["outputs"] = json!([{"name": "y", "parameters": {"f": "g"}}]);
    assert_eq!(data(&daemon, "identity_fp32", &request), json!([1.0]));
    for (parameters, words) in [
        (r#"{"a":{}}"#, "parameter 'a' of the request must be a string, a number or a boolean"),
        (r#"{"a":[]}"#, "parameter 'a' of the request must be"),
        (r#"{"a":null}"#, "parameter 'a' of the request must be"),
        (r#"{"triton_enable":1}"#, "keys that start with 'triton_' are reserved"),
    ] {
        refused(&daemon, "identity_fp32", &format!(r#"{{"parameters":{parameters},"inputs":[{ONE}]}}"#), words);
    }
    refused(&daemon, "identity_fp32", &format!(r#"{{"id":"a","id":"b","inputs":[{ONE}]}}"#), "'id' occurs twice");
}

#[test]
fn req_42_the_content_type_is_not_looked_at() {
    let daemon = fp32();
    let body = floats(&[1.0]).to_string();
    for content in ["text/plain", "application/x-www-form-urlencoded", "image/png", "nonsense"] {
        let headers = [("Content-Type", content)];
        let answer = daemon.send("POST", "/v2/models/identity_fp32/infer", &headers, body.as_bytes());
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    }
}

#[test]
fn req_43_and_44_no_json_is_400_and_depth_never_kills() {
    let daemon = fp32();
    refused(&daemon, "identity_fp32", "", "the request body is empty");
    refused(&daemon, "identity_fp32", "   ", "the request body is empty");
    for body in ["{", "nonsense", "{\"inputs\":", "{}{}", "\u{feff}{}"] {
        refused(&daemon, "identity_fp32", body, "invalid JSON");
    }
    let answer = daemon.post("/v2/models/identity_fp32/infer", b"\xff\xfe{}");
    fails(&answer, 400, "not UTF-8");
    let too_deep = "JSON nesting depth exceeds maximum allowed limit (100)";
    for depth in [101, 100_000, 250_000] {
        let data = format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1],"data":{}"#, "[".repeat(depth));
        refused(&daemon, "identity_fp32", &data, too_deep);
        refused(&daemon, "identity_fp32", &format!(r#"{{"more":{}"#, "[".repeat(depth)), too_deep);
        refused(&daemon, "identity_fp32", &"{\"a\":".repeat(depth), too_deep);
    }
    let fifty = format!(r#"{{"more":{}{},"inputs":[{ONE}]}}"#, "[".repeat(50), "]".repeat(50));
    assert_eq!(daemon.post("/v2/models/identity_fp32/infer", fifty.as_bytes()).status, 200);
}

#[test]
fn req_45_nan_and_infinity_are_null_in_json_and_kept_in_binary() {
    let daemon = Setup::fixture("nan").ready();
    let answer = inferred(&daemon, "nan", &floats(&[-1.0, 0.0, 4.0]));
    let outputs = &answer["outputs"];
    assert_eq!(
        (&outputs[0]["data"], &outputs[0]["parameters"]),
        (&json!([null, 0.0, 2.0]), &json!({"non_finite": true}))
    );
    assert_eq!((&outputs[1]["data"][1], &outputs[1]["parameters"]["non_finite"]), (&json!(null), &json!(true)));
    assert_eq!((&outputs[2]["data"], outputs[2].get("parameters")), (&json!([-1.0, 0.0, 4.0]), None));
    for word in ["NaN", "Infinity", "-Infinity"] {
        let body = format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1],"data":[{word}]}}]}}"#);
        refused(&daemon, "nan", &body, &format!("JSON has no {word}; send the tensor in binary"));
    }
    let odd = [f32::from_bits(0x7fc0_1234), f32::INFINITY, f32::NEG_INFINITY, -0.0];
    let tail = crate::wire::bytes(&odd);
    let mut request = crate::wire::binary_x("FP32", json!([4]), 16);
    request["outputs"] = json!([{"name": "same"}]);
    let answer = crate::wire::binary(&daemon, "nan", &request, &tail);
    assert_eq!(crate::wire::parts(&answer).1, tail);
}

#[test]
fn req_46_half_floats_in_json_are_refused_before_anything_is_run() {
    for datatype in ["FP16", "BF16"] {
        let model = format!("identity_{}", datatype.to_lowercase());
        let daemon = identity(&datatype.to_lowercase());
        let words = format!("receiving {datatype} data via JSON is not supported. Please use the binary data format");
        refused(&daemon, &model, &x(datatype, json!([1]), json!([1])).to_string(), &words);
        let mut request = crate::wire::binary_x(datatype, json!([1]), 2);
        request["parameters"] = json!({});
        fails(
            &crate::wire::binary(&daemon, &model, &request, &[0, 0]),
            400,
            &format!("sending {datatype} data via JSON"),
        );
        assert_eq!(daemon.metric("inference_run_duration_seconds_count"), 0.0);
    }
}

#[test]
fn req_47_floats_read_back_to_the_same_bits() {
    let daemon = fp32();
    let sent = [0.1f32, 1e-45, 3.402_823_5e38, -0.0, 16_777_216.0, 1.0 / 3.0, f32::MIN_POSITIVE];
    let answer = inferred(&daemon, "identity_fp32", &floats(&sent));
    let back: Vec<u32> = answer["outputs"][0]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v.as_f64().unwrap() as f32).to_bits())
        .collect();
    assert_eq!(back, sent.map(f32::to_bits));
    let doubles = identity("fp64");
    let sent = [0.1f64, 5e-324, f64::MAX, -0.0, 1.0 / 3.0];
    let answer = inferred(&doubles, "identity_fp64", &x("FP64", json!([5]), json!(sent)));
    let back: Vec<u64> =
        answer["outputs"][0]["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap().to_bits()).collect();
    assert_eq!(back, sent.map(f64::to_bits));
}
