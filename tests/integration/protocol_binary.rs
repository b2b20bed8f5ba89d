//! G: binary tensors, by requirement number of docs/http.md.

use serde_json::{Value, json};

use crate::harness::Setup;
use crate::wire::{LENGTH, binary, binary_with, binary_x, bytes, fails, floats, identity, inferred, parts};

const MODEL: &str = "identity_fp32";

fn add_sub() -> Value {
    let input = |name: &str| json!({"name": name, "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": 64}});
    json!({"inputs": [input("b"), input("a")], "outputs": [{"name": "difference"}, {"name": "sum"}]})
}

fn sixteen(first: i32) -> Vec<u8> {
    (first..first + 16).flat_map(i32::to_le_bytes).collect()
}

#[test]
fn req_66_bytes_follow_in_the_order_of_the_inputs_mixed_with_json() {
    let daemon = Setup::fixture("add_sub_int32").ready();
    let tail = [sixteen(0), sixteen(100)].concat();
    let answer = binary(&daemon, "add_sub_int32", &add_sub(), &tail);
    assert_eq!(answer.json()["outputs"][0]["data"], json!(vec![100; 16]));
    let mut mixed = add_sub();
    let data: Vec<i32> = (0..16).collect();
    mixed["inputs"][0] = json!({"name": "b", "datatype": "INT32", "shape": [1, 16], "data": data});
    let answer = binary(&daemon, "add_sub_int32", &mixed, &sixteen(100));
    assert_eq!(answer.json()["outputs"][0]["data"], json!(vec![100; 16]));
}

#[test]
fn req_67_and_68_the_header_is_required_and_the_size_only_where_it_does_not_follow() {
    let daemon = identity("fp32");
    let json = binary_x("FP32", json!([2]), 8).to_string();
    let answer = daemon.post("/v2/models/identity_fp32/infer", json.as_bytes());
    fails(&answer, 400, "the request has no Inference-Header-Content-Length");
    let without = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2]}]});
    let answer = binary(&daemon, MODEL, &without, &bytes(&[1.0, 2.0]));
    assert_eq!(answer.json()["outputs"][0]["data"], json!([1.0, 2.0]));
    let strings = json!({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1]}]});
    fails(&binary(&identity("bytes"), "identity_bytes", &strings, b"\0\0\0\0"), 400, "has no 'binary_data_size'");
}

#[test]
fn req_69_every_datatype_goes_through_in_binary_wherever_its_bytes_lie() {
    for (datatype, size) in [
        ("BOOL", 1),
        ("UINT8", 1),
        ("INT8", 1),
        ("UINT16", 2),
        ("INT16", 2),
        ("FP16", 2),
        ("BF16", 2),
        ("UINT32", 4),
        ("INT32", 4),
        ("FP32", 4),
        ("UINT64", 8),
        ("INT64", 8),
        ("FP64", 8),
    ] {
        let model = format!("identity_{}", datatype.to_lowercase());
        let daemon = identity(&datatype.to_lowercase());
        let tail: Vec<u8> =
            (0..3 * size).map(|at: u8| if datatype == "BOOL" { at % 2 } else { at.wrapping_mul(37) }).collect();
        // White space moves the tensor to every alignment; chunked, nobody knows beforehand where it will lie.
        for spaces in 0..8 {
            let json = format!("{}{}", " ".repeat(spaces), binary_x(datatype, json!([3]), tail.len()));
            let body = [json.as_bytes(), &tail].concat();
            let answer = binary_with(&daemon, &model, &json.len().to_string(), &body);
            let (head, back) = parts(&answer);
            assert_eq!((back, &head["outputs"][0]["datatype"]), (&tail[..], &json!(datatype)));
            let head =
                format!("Host: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{LENGTH}: {}\r\n", json.len());
            let raw = [
                format!("POST /v2/models/{model}/infer HTTP/1.1\r\n{head}\r\n").into_bytes(),
                crate::wire::chunked(body.chunks(7)),
            ];
            let mut line = crate::wire::Line::new(&daemon);
            line.send(&raw.concat());
            assert_eq!(parts(&line.answer()).1, tail, "{datatype} behind {spaces} spaces");
        }
        let none = binary(&daemon, &model, &binary_x(datatype, json!([0]), 0), b"");
        assert_eq!(parts(&none).1, b"");
    }
}

#[test]
fn req_69_two_tensors_of_which_the_second_is_not_aligned() {
    let daemon = Setup::fixture("slow").ready();
    // `steps` takes 8 bytes and `x` 16 KB; before them stands JSON of any length.
    let x = bytes(&(0..4096).map(|at| if at % 65 == 0 { 1.0 } else { 0.0 }).collect::<Vec<f32>>());
    for spaces in 0..9 {
        let json = json!({"inputs": [
            {"name": "x", "datatype": "FP32", "shape": [64, 64], "parameters": {"binary_data_size": 16384}},
            {"name": "steps", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}],
            "outputs": [{"name": "y", "parameters": {"binary_data": true}}]});
        let json = format!("{}{json}", " ".repeat(spaces));
        let body = [json.as_bytes(), &x, &0i64.to_le_bytes()].concat();
        assert_eq!(parts(&binary_with(&daemon, "slow", &json.len().to_string(), &body)).1, x);
    }
}

#[test]
fn req_70_and_71_sizes_that_do_not_fit_are_400_and_say_by_how_much() {
    let daemon = identity("fp32");
    let send = |shape: Value, size: usize, tail: &[u8], words: &str| {
        fails(&binary(&daemon, MODEL, &binary_x("FP32", shape, size), tail), 400, words);
    };
    send(json!([2]), 7, &[0; 7], "input byte size mismatch for input 'x' for model 'identity_fp32'. Expected 8, got 7");
    send(json!([2]), 12, &[0; 12], "Expected 8, got 12");
    send(json!([2]), 8, &[0; 5], "expecting 3 additional bytes");
    send(json!([2]), 8, &[0; 9], "unexpected additional input data for model 'identity_fp32': 1 bytes");
    let bools = identity("bool");
    let answer = binary(&bools, "identity_bool", &binary_x("BOOL", json!([2]), 2), &[1, 2]);
    fails(&answer, 400, "element 1 of input 'x' is the byte 2");
    let strings = identity("bytes");
    for (tail, words) in [
        (&b"\x01\0"[..], "incomplete string length indicator"),
        (&b"\x05\0\0\0ab"[..], "incomplete string data"),
        (&b"\xff\xff\xff\xffab"[..], "incomplete string data"),
        (&b"\0\0\0\0"[..], "expecting 2, got 1"),
        (&b"\0\0\0\0\0\0\0\0\0\0\0\0"[..], "expecting 2, got 3"),
    ] {
        let answer = binary(&strings, "identity_bytes", &binary_x("BYTES", json!([2]), tail.len()), tail);
        fails(&answer, 400, words);
    }
    assert_eq!(inferred(&daemon, MODEL, &floats(&[1.0]))["outputs"][0]["data"], json!([1.0]));
}

#[test]
fn req_72_and_73_header_lengths_that_are_none_or_wrong_are_400() {
    let daemon = identity("fp32");
    let json = binary_x("FP32", json!([1]), 4).to_string();
    let body = [json.as_bytes(), &[0; 4]].concat();
    for length in ["-1", "+5", "1.5", "abc", "", "0x10", "2147483648", "99999999999", "99999999999999999999999"] {
        let words = "unable to parse Inference-Header-Content-Length";
        fails(&binary_with(&daemon, MODEL, length, &body), 400, words);
        assert_eq!(daemon.get("/v2/health/live").status, 200);
    }
    for length in [body.len() + 1, 2_147_483_647] {
        let words = format!("is {length}, but the body has {} bytes", body.len());
        fails(&binary_with(&daemon, MODEL, &length.to_string(), &body), 400, &words);
    }
    for length in [1, json.len() - 1, json.len() + 1, body.len()] {
        let answer = binary_with(&daemon, MODEL, &length.to_string(), &body);
        assert_eq!(answer.status, 400, "{length}: {}", answer.text());
        answer.error();
    }
    assert_eq!(binary_with(&daemon, MODEL, &json.len().to_string(), &body).status, 200);
}

#[test]
fn req_74_sizes_that_are_none_are_400() {
    let daemon = identity("fp32");
    for size in ["-4", "1.5", "\"4\"", "true", "18446744073709551616", "18446744073709551615", "9223372036854775807"] {
        let json = format!(
            r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1],"parameters":{{"binary_data_size":{size}}}}}]}}"#
        );
        let answer = binary_with(&daemon, MODEL, &json.len().to_string(), &[json.as_bytes(), &[0; 4]].concat());
        assert_eq!(answer.status, 400, "{size}: {}", answer.text());
    }
    let both =
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],"parameters":{"binary_data_size":4}}]}"#;
    let answer = binary_with(&daemon, MODEL, &both.len().to_string(), &[both.as_bytes(), &[0; 4]].concat());
    fails(&answer, 400, "has both 'data' and 'binary_data_size'");
}

#[test]
fn req_75_to_79_outputs_are_binary_where_they_or_the_request_say_so() {
    let daemon = Setup::fixture("two_d_out").ready();
    let send = |outputs: Value, parameters: Value| {
        let mut request = floats(&[1.0, 2.0]);
        request["outputs"] = outputs;
        request["parameters"] = parameters;
        daemon.infer("two_d_out", &request)
    };
    let table = bytes(&[1.0, 2.0, 2.0, 4.0]);
    let on = json!({"binary_data_output": true});
    let answer = send(json!([{"name": "table", "parameters": {"binary_data": true}}, {"name": "total"}]), json!({}));
    let (head, tail) = parts(&answer);
    assert_eq!(tail, table);
    assert_eq!(head["outputs"][0]["parameters"], json!({"binary_data_size": 16}));
    assert_eq!((head["outputs"][0].get("data"), &head["outputs"][1]["data"]), (None, &json!([3.0])));
    let both = [table.clone(), bytes(&[3.0])].concat();
    assert_eq!(parts(&send(json!([]), on.clone())).1, both);
    // 76: listed without a word of its own, an output follows the request's default.
    assert_eq!(parts(&send(json!([{"name": "table"}, {"name": "total"}]), on.clone())).1, both);
    let answer = send(json!([{"name": "total", "parameters": {"binary_data": false}}, {"name": "table"}]), on);
    let (head, tail) = parts(&answer);
    assert_eq!((&head["outputs"][0]["data"], tail), (&json!([3.0]), &table[..]));
    for wrong in [json!(1), json!("true"), json!(null)] {
        let answer = send(json!([{"name": "table", "parameters": {"binary_data": wrong}}]), json!({}));
        fails(&answer, 400, "'binary_data' of output 0 must be true or false");
        fails(&send(json!([]), json!({"binary_data_output": wrong})), 400, "must be true or false");
    }
    // 79: the header stays where all binary outputs are empty.
    let empty = identity("fp32");
    let mut request = floats(&[]);
    request["parameters"] = json!({"binary_data_output": true});
    let answer = empty.infer(MODEL, &request);
    let (head, tail) = parts(&answer);
    assert_eq!((&head["outputs"][0]["parameters"], tail), (&json!({"binary_data_size": 0}), &b""[..]));
}

#[test]
fn req_80_a_raw_request_is_one_tensor_and_is_answered_in_binary() {
    let raw = |fixture: &str, body: &[u8]| binary_with(&Setup::fixture(fixture).ready(), fixture, "0", body);
    let answer = raw(MODEL, &bytes(&[1.0, 2.0, 3.0]));
    let (head, tail) = parts(&answer);
    assert_eq!((&head["outputs"][0]["shape"], tail), (&json!([3]), &bytes(&[1.0, 2.0, 3.0])[..]));
    let answer = raw("mlp", &[0; 256]);
    assert_eq!(parts(&answer).0["outputs"][0]["shape"], json!([1, 10]));
    assert_eq!(parts(&raw("scalar", &bytes(&[1.5]))).1, bytes(&[3.0]));
    assert_eq!(parts(&raw("optional_input", &bytes(&[1.0]))).1, bytes(&[11.0]));
    assert_eq!(parts(&raw("identity_bytes", b"as it is")).1, b"\x08\0\0\0as it is");
    fails(&raw("add_sub_int32", &[0; 128]), 400, "raw request must only have 1 input (found 2)");
    fails(&raw(MODEL, &[0; 7]), 400, "input byte size mismatch");
    fails(&raw("fixed_batch", &[0; 64]), 400, "input byte size mismatch");
    fails(&raw("no_inputs", b""), 400, "raw request must only have 1 input (found 0)");
}
