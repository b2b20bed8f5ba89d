//! C: the JSON request; F: datatypes.

use super::*;

fn fp32() -> ModelSpec {
    model(DataType::Fp32, &[-1])
}

const PAIR: &str = r#"{"name":"a","datatype":"FP32","shape":[2],"data":[1,2]},
                      {"name":"b","datatype":"FP32","shape":[2],"data":[3,4]}"#;

fn with_outputs(outputs: &str) -> String {
    format!(r#"{{"inputs":[{PAIR}],"outputs":{outputs}}}"#)
}

fn with_parameters(parameters: &str) -> String {
    format!(r#"{{"parameters":{parameters},"inputs":[{PAIR}]}}"#)
}

#[test]
fn req_23_the_body_is_an_object_with_an_array_of_inputs() {
    assert_has(&refused("[]", &fp32()), "must be a JSON object");
    assert_has(&refused("{}", &fp32()), "the request has no 'inputs'");
    assert_has(&refused(r#"{"inputs":{}}"#, &fp32()), "'inputs' of the request must be an array");
    assert_has(&refused(r#"{"inputs":[1]}"#, &fp32()), "input 0 must be an object");
}

#[test]
fn req_24_name_shape_datatype_and_data_are_asked_for_by_name() {
    let without = |member: &str| {
        let members = [r#""name":"x""#, r#""shape":[1]"#, r#""datatype":"FP32""#, r#""data":[1]"#];
        let kept: Vec<&str> = members.into_iter().filter(|text| !text.starts_with(&format!("\"{member}\""))).collect();
        refused(&format!(r#"{{"inputs":[{{{}}}]}}"#, kept.join(",")), &fp32())
    };
    assert_has(&without("name"), "input 0 has no 'name'");
    for member in ["shape", "datatype", "data"] {
        assert_has(&without(member), &format!("input 'x' has no '{member}'"));
    }
}

#[test]
fn req_24_members_come_in_any_order() {
    let text = r#"{"outputs":[],"inputs":[{"data":[[1,2]],"shape":[2],"parameters":{},"datatype":"FP32","name":"x"}],"id":"7"}"#;
    let request = parse_text(text, &fp32()).unwrap();
    assert_eq!((floats(&request), request.id.as_deref()), (vec![1.0, 2.0], Some("7")));
}

#[test]
fn req_24_inputs_come_back_in_the_order_of_the_model() {
    let text = r#"{"inputs":[{"name":"b","datatype":"FP32","shape":[2],"data":[3,4]},{"name":"a","datatype":"FP32","shape":[2],"data":[1,2]}]}"#;
    let request = parse_text(text, &pair()).unwrap();
    assert_eq!(request.inputs.iter().map(Tensor::name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(floats(&request), [1.0, 2.0]);
}

#[test]
fn req_22_inputs_with_an_initialiser_may_be_left_out_or_sent() {
    assert_eq!(parse_text(&with_outputs("[]"), &pair()).unwrap().inputs.len(), 2);
    let text = format!(r#"{{"inputs":[{PAIR},{{"name":"weight","datatype":"FP32","shape":[2],"data":[5,6]}}]}}"#);
    assert_eq!(parse_text(&text, &pair()).unwrap().inputs.len(), 3);
}

#[test]
fn req_25_a_shape_is_non_negative_integers_that_can_be_multiplied() {
    for shape in ["[-1]", "[1.0]", "[\"1\"]", "3", "null", "[[1]]", "[true]", "[18446744073709551616]"] {
        assert_has(&refused(&one("FP32", shape, "[1]"), &fp32()), "'shape' of input 'x' must be an array");
    }
    let open = model(DataType::Fp32, &[-1, -1, -1]);
    for shape in ["[4294967296,4294967296,4294967296]", "[4294967296,4294967296,0]", "[18446744073709551615,0,1]"] {
        let text = refused(&one("FP32", shape, "[]"), &open);
        assert_has(&text, "causes total element count to exceed maximum size");
    }
    let long = format!("[{}1]", "1,".repeat(64));
    assert_has(&refused(&one("FP32", &long, "[1]"), &open), "at most 64 dimensions");
}

#[test]
fn req_26_any_nesting_is_flattened() {
    for data in ["[1,2,3]", "[[1],[2,3]]", "[[[1,2],3]]", "[ [ 1 , 2 ] , [ ] , 3 ]"] {
        assert_eq!(floats(&parse_text(&one("FP32", "[3]", data), &fp32()).unwrap()), [1.0, 2.0, 3.0], "{data}");
    }
    assert_eq!(floats(&parse_text(&one("FP32", "[]", "[7]"), &model(DataType::Fp32, &[])).unwrap()), [7.0]);
    assert_has(&refused(&one("FP32", "[]", "7"), &model(DataType::Fp32, &[])), "must be an array");
}

#[test]
fn req_28_wrong_count_names_both_numbers() {
    for (data, got) in [("[1,2]", 2), ("[]", 0), ("[1,2,3,4]", 4)] {
        let text = refused(&one("FP32", "[3]", data), &fp32());
        assert_has(&text, &format!("has {got} elements, but its shape asks for 3"));
    }
    let text = refused(&one("BYTES", "[1]", r#"["a","b"]"#), &model(DataType::Bytes, &[-1]));
    assert_has(&text, "has 2 elements, but its shape asks for 1");
}

#[test]
fn req_29_elements_of_another_kind_are_refused_by_index() {
    let cases = [
        (DataType::Uint8, "1.5", "is 1.5, but UINT8 takes integers from 0 to 255"),
        (DataType::Uint32, "-1", "is -1, but UINT32"),
        (DataType::Int64, "1e3", "is 1e3, but INT64"),
        (DataType::Int64, "1.0", "is 1.0, but INT64"),
        (DataType::Bool, "1", "is 1, but BOOL takes true and false"),
        (DataType::Fp32, "\"1\"", "is a string, but FP32"),
        (DataType::Fp32, "true", "is a boolean, but FP32"),
        (DataType::Fp64, "null", "is null, but FP64"),
        (DataType::Bytes, "1", "is 1, but BYTES takes strings"),
        (DataType::Int32, "{}", "is an object, but INT32"),
    ];
    for (datatype, element, part) in cases {
        let good = match datatype {
            DataType::Bool => "true",
            DataType::Bytes => "\"\"",
            _ => "1",
        };
        let text = one(datatype.name(), "[2]", &format!("[{good},{element}]"));
        let text = refused(&text, &model(datatype, &[2]));
        assert_has(&text, part);
        assert_has(&text, "element 1 of input 'x'");
    }
    assert_eq!(floats(&parse_text(&one("FP32", "[2]", "[16777217,-3]"), &fp32()).unwrap()), [16777216.0, -3.0]);
}

#[test]
fn req_30_small_integers_are_range_checked() {
    let cases = [
        (DataType::Uint8, "255", "256"),
        (DataType::Uint16, "65535", "65536"),
        (DataType::Uint32, "4294967295", "4294967296"),
        (DataType::Uint64, "18446744073709551615", "18446744073709551616"),
        (DataType::Int8, "-128", "128"),
        (DataType::Int16, "-32768", "-32769"),
        (DataType::Int32, "2147483647", "2147483648"),
        (DataType::Int64, "-9223372036854775808", "9223372036854775808"),
        (DataType::Fp32, "3.4028235e38", "1e39"),
        (DataType::Fp64, "1.7976931348623157e308", "1e400"),
    ];
    for (datatype, good, bad) in cases {
        let spec = model(datatype, &[1]);
        assert!(parse_text(&one(datatype.name(), "[1]", &format!("[{good}]")), &spec).is_ok(), "{datatype}");
        let text = refused(&one(datatype.name(), "[1]", &format!("[{bad}]")), &spec);
        assert_has(&text, &format!("is {bad}, but {datatype} takes"));
    }
}

#[test]
fn req_31_big_integers_never_pass_through_a_double() {
    let text = one("UINT64", "[1]", "[9223372036854775819]");
    let request = parse_text(&text, &model(DataType::Uint64, &[1])).unwrap();
    assert_eq!(raw(&request), ((1u64 << 63) + 11).to_le_bytes());
}

#[test]
fn req_32_a_zero_dimension_needs_no_data() {
    let spec = model(DataType::Fp32, &[10, 224, -1, 3]);
    assert_eq!(parse_text(&one("FP32", "[10,224,0,3]", "[]"), &spec).unwrap().inputs[0].len(), 0);
    let without = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[10,224,0,3]}]}"#;
    assert_eq!(parse_text(without, &spec).unwrap().inputs[0].shape(), [10, 224, 0, 3]);
}

#[test]
fn req_33_the_id_is_a_string() {
    let with = |id: &str| format!(r#"{{"id":{id},"inputs":[{PAIR}]}}"#);
    assert_eq!(parse_text(&with(r#""\u00e9\n\ud83d\ude00""#), &pair()).unwrap().id.as_deref(), Some("é\n😀"));
    assert_eq!(parse_text(&with_outputs("[]"), &pair()).unwrap().id, None);
    for id in ["1", "null", "{}"] {
        assert_has(&refused(&with(id), &pair()), "'id' of the request must be a string");
    }
}

#[test]
fn req_34_without_outputs_all_are_sent() {
    for text in [with_outputs("[]"), with_parameters("{}")] {
        let names: Vec<_> = parse_text(&text, &pair()).unwrap().outputs.into_iter().map(|plan| plan.name).collect();
        assert_eq!(names, ["sum", "difference"]);
    }
    let one = parse_text(&with_outputs(r#"[{"name":"difference"}]"#), &pair()).unwrap().outputs;
    assert_eq!(one, [OutputPlan { name: "difference".to_owned(), form: OutputForm::Json }]);
}

#[test]
fn req_35_unknown_outputs_and_repetitions_are_refused() {
    let unknown = refused(&with_outputs(r#"[{"name":"z"}]"#), &pair());
    assert_has(&unknown, "unexpected inference output 'z' for model 'm'");
    let twice = refused(&with_outputs(r#"[{"name":"sum"},{"name":"sum"}]"#), &pair());
    assert_has(&twice, "output 'sum' already exists in request");
    let input = r#"{"name":"a","datatype":"FP32","shape":[2],"data":[1,2]}"#;
    let twice = refused(&format!(r#"{{"inputs":[{input},{input}]}}"#), &pair());
    assert_has(&twice, "input 'a' already exists in request");
    assert_has(&refused(&with_outputs("[{}]"), &pair()), "output 0 has no 'name'");
}

#[test]
fn req_36_unknown_missing_and_too_many_inputs_are_refused() {
    let input = |name: &str| format!(r#"{{"name":"{name}","datatype":"FP32","shape":[2],"data":[1,2]}}"#);
    let request = |names: &[&str]| {
        format!(r#"{{"inputs":[{}]}}"#, names.iter().map(|name| input(name)).collect::<Vec<_>>().join(","))
    };
    let missing = refused(&request(&["a"]), &pair());
    assert_has(&missing, "expected 2 inputs but got 1 inputs for model 'm'");
    assert_has(&missing, "missing: 'b'");
    assert_has(&refused(&request(&[]), &pair()), "expected 2 inputs but got 0");
    assert_has(&refused(&request(&["a", "z"]), &pair()), "unexpected inference input 'z' for model 'm'");
    let many = refused(&request(&["a", "b", "weight", "z"]), &pair());
    assert_has(&many, "expected 3 inputs but got 4");
}

#[test]
fn req_37_another_datatype_than_the_models_is_named() {
    let text = refused(&one("INT32", "[1]", "[1]"), &fp32());
    assert_eq!(text, "inference input 'x' data-type is 'INT32', but model 'm' expects 'FP32'");
}

#[test]
fn req_38_another_shape_than_the_models_is_named() {
    let spec = model(DataType::Fp32, &[-1, 3]);
    let text = refused(&one("FP32", "[2,4]", "[1]"), &spec);
    assert_eq!(text, "unexpected shape for input 'x' for model 'm'. Expected [-1,3], got [2,4]");
    assert_has(&refused(&one("FP32", "[6]", "[1]"), &spec), "got [6]");
}

#[test]
fn req_40_parameters_are_scalars_and_triton_is_reserved() {
    let fine = r#"{"a":1,"b":-1.5e3,"c":"x","d":true,"priority":1,"sequence_id":"s","headers":false}"#;
    assert!(parse_text(&with_parameters(fine), &pair()).is_ok());
    for bad in ["{}", "[]", "null"] {
        let text = refused(&with_parameters(&format!(r#"{{"a":{bad}}}"#)), &pair());
        assert_has(&text, "parameter 'a' of the request must be a string, a number or a boolean");
    }
    let reserved = refused(&with_parameters(r#"{"triton_enable_empty_final_response":true}"#), &pair());
    assert_has(&reserved, "are reserved");
    assert_has(&refused(&with_parameters("[]"), &pair()), "'parameters' of the request must be an object");
    let output = refused(&with_outputs(r#"[{"name":"sum","parameters":{"triton_x":1}}]"#), &pair());
    assert_has(&output, "parameter 'triton_x' of output 0");
    let input = r#"{"inputs":[{"name":"a","parameters":{"k":[]}}]}"#;
    assert_has(&refused(input, &pair()), "parameter 'k' of input 'a'");
}

#[test]
fn req_41_unknown_members_are_passed_over() {
    let text = format!(
        r#"{{"model_name":"other","x":[{{"y":[null,1.5,"\"]"]}}],
             "outputs":[{{"name":"sum","datatype":"FP32","shape":[2]}}],"inputs":[{PAIR}]}}"#
    );
    assert_eq!(parse_text(&text, &pair()).unwrap().outputs.len(), 1);
}

#[test]
fn req_41_members_that_are_read_may_come_once() {
    let twice = [
        format!(r#"{{"id":"1","id":"2","inputs":[{PAIR}]}}"#),
        format!(r#"{{"inputs":[],"inputs":[{PAIR}]}}"#),
        with_parameters(r#"{"timeout":1,"timeout":2}"#),
        r#"{"inputs":[{"name":"a","datatype":"FP32","shape":[2],"data":[1,2],"data":[1,2]}]}"#.to_owned(),
        r#"{"inputs":[{"name":"a","datatype":"FP32","shape":[2],"data":[1,2],"name":"b"}]}"#.to_owned(),
    ];
    for text in twice {
        // An empty `inputs` is refused for what it lacks before the second one is seen.
        let text = refused(&text, &pair());
        assert!(text.contains("occurs twice") || text.contains("expected 2 inputs but got 0"), "{text}");
    }
}

#[test]
fn req_43_empty_and_invalid_json_is_refused() {
    assert_has(&refused("", &fp32()), "the request body is empty");
    assert_has(&refused(" \n", &fp32()), "the request body is empty");
    for text in ["{", "{\"inputs\":[}", "{]", "nul", "\"", "{\"id\":\"\"}x", "{\"a\":01}", "{\"a\":1,}", "{'a':1}"] {
        assert_has(&refused(text, &fp32()), "invalid JSON at byte");
    }
    let bytes = Bytes::from_static(b"{\"inputs\":[\xff]}");
    assert_has(&refusal(parse(bytes, None, "m", &fp32(), &LIMITS)), "not UTF-8 from byte 11 on");
}

#[test]
fn req_44_nesting_over_100_is_refused_and_never_overflows_the_stack() {
    const TEXT: &str = "JSON nesting depth exceeds maximum allowed limit (100)";
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    // The request's object, its inputs and the input are three levels above `data`.
    for depth in [50, 97] {
        assert!(parse_text(&one("FP32", "[1]", &nested(depth)), &fp32()).is_ok(), "{depth}");
    }
    assert_has(&refused(&one("FP32", "[1]", &nested(98)), &fp32()), TEXT);
    for text in ["[".repeat(250_000), "{\"a\":".repeat(250_000), one("FP32", "[1]", &nested(250_000))] {
        assert_has(&refused(&text, &fp32()), TEXT);
    }
    let ignored = |depth: usize| format!(r#"{{"x":{},"inputs":[{PAIR}]}}"#, nested(depth));
    assert!(parse_text(&ignored(99), &pair()).is_ok());
    assert_has(&refused(&ignored(100), &pair()), TEXT);
    let in_string = format!(r#"{{"id":"{}","inputs":[{PAIR}]}}"#, "[".repeat(1000));
    assert!(parse_text(&in_string, &pair()).is_ok());
}

#[test]
fn req_45_nan_and_infinity_are_refused_in_json_with_the_way_out() {
    for word in ["NaN", "Infinity", "-Infinity"] {
        for text in [one("FP32", "[2]", &format!("[1,{word}]")), format!(r#"{{"x":{word}}}"#)] {
            let text = refused(&text, &fp32());
            assert_has(&text, &format!("JSON has no {word}"));
            assert_has(&text, "in binary");
        }
    }
}

#[test]
fn req_46_half_floats_in_json_are_refused_with_the_way_out() {
    for datatype in [DataType::Fp16, DataType::Bf16] {
        let mut spec = model(datatype, &[1]);
        let input = refused(&one(datatype.name(), "[1]", "[1]"), &spec);
        assert_has(&input, &format!("receiving {datatype} data via JSON is not supported. Please use the binary"));
        spec.inputs = vec![self::spec("x", DataType::Fp32, &[1])];
        spec.outputs = vec![self::spec("y", datatype, &[1])];
        let output = refused(&one("FP32", "[1]", "[1]"), &spec);
        assert_has(&output, &format!("sending {datatype} data via JSON is not supported"));
        assert_has(&output, "'binary_data' of output 'y'");
    }
}

#[test]
fn req_21_an_output_that_is_no_tensor_is_refused_with_the_way_out() {
    let text = one("FP32", "[1]", "[1]").replace("]}]}", r#"]}],"outputs":[{"name":"scores"}]}"#);
    let text = refused(&text, &fp32());
    assert_has(&text, "'scores' of model 'm' is no tensor");
    assert_has(&text, "ask for the outputs that the model's metadata lists");
}

#[test]
fn req_55_nul_and_escapes_in_strings_are_kept() {
    let request = parse_text(&one("BYTES", "[3]", r#"["he\u0000llo","plain é",""]"#), &model(DataType::Bytes, &[-1]));
    let request = request.unwrap();
    let strings = ["he\0llo", "plain é", ""].map(|text| Bytes::from(text.as_bytes())).to_vec();
    assert_eq!(request.inputs[0].data(), &TensorData::Strings(strings));
}

#[test]
fn req_63_an_error_quotes_no_more_than_a_little() {
    let long = "x".repeat(100_000);
    for text in [
        one(&long, "[1]", "[1]"),
        one("FP32", "[1]", &format!("[{}]", "9".repeat(100_000))),
        format!(r#"{{"inputs":[{{"name":"{long}","datatype":"FP32","shape":[1],"data":[1]}}]}}"#),
        format!(r#"{{"inputs":[],"outputs":[{{"name":"{long}"}}]}}"#),
        format!(r#"{{"parameters":{{"triton_{long}":1}}}}"#),
    ] {
        assert!(refused(&text, &fp32()).len() < 500);
    }
}

#[test]
fn req_65_an_unknown_datatype_is_refused() {
    for word in ["STRING", "fp32", "FP8", ""] {
        assert_has(&refused(&one(word, "[1]", "[1]"), &fp32()), &format!("unknown datatype '{word}' of input 'x'"));
    }
}

#[test]
fn req_83_a_tensor_over_the_limit_is_refused_before_it_is_made() {
    let spec = model(DataType::Fp32, &[-1]);
    let text = refused(&one("FP32", "[1000000000000]", "[1]"), &spec);
    assert_has(&text, "over the limit of 67108864 bytes");
    let limits = ProtocolLimits { max_tensor_bytes: 16 };
    let exactly = one("FP32", "[4]", "[1,2,3,4]");
    assert!(parse(Bytes::from(exactly), None, "m", &spec, &limits).is_ok());
    let over = one("FP32", "[5]", "[1,2,3,4,5]");
    assert_has(&refusal(parse(Bytes::from(over), None, "m", &spec, &limits)), "over the limit of 16 bytes");
    // Together, not each.
    let limits = ProtocolLimits { max_tensor_bytes: 15 };
    assert_has(&refusal(parse(Bytes::from(with_outputs("[]")), None, "m", &pair(), &limits)), "input 'b' brings");
    // Strings are counted by their handles: a short text can hold many of them.
    let strings = one("BYTES", "[1000000000]", "[]");
    assert_has(&refused(&strings, &model(DataType::Bytes, &[-1])), "over the limit");
}

#[test]
fn req_96_classification_is_a_number_of_classes() {
    let asked = |parameters: &str| {
        let text = with_outputs(&format!(r#"[{{"name":"sum","parameters":{parameters}}}]"#));
        parse_text(&text, &pair()).map(|request| request.outputs[0].form)
    };
    let form = |classes, binary| Ok(OutputForm::Classification { classes, binary });
    assert_eq!(asked(r#"{"classification":3}"#), form(3, false));
    assert_eq!(asked(r#"{"classification":3,"binary_data":true}"#), form(3, true));
    assert_eq!(asked(r#"{"classification":0}"#), Ok(OutputForm::Json));
    for bad in ["-1", "1.5", "\"3\"", "true"] {
        let text = refusal(asked(&format!(r#"{{"classification":{bad}}}"#)));
        assert_has(&text, "'classification' of output 0 must be a non-negative integer");
    }
    let mut strings = pair();
    strings.outputs[0].datatype = DataType::Bytes;
    let text = with_outputs(r#"[{"name":"sum","parameters":{"classification":1}}]"#);
    assert_has(&refused(&text, &strings), "has datatype BYTES, which cannot be classified");
}

#[test]
fn req_100_the_timeout_is_whole_microseconds() {
    let asked = |value: &str| {
        parse_text(&with_parameters(&format!(r#"{{"timeout":{value}}}"#)), &pair()).map(|request| request.timeout_us)
    };
    assert_eq!(asked("1500000"), Ok(Some(1_500_000)));
    assert_eq!(asked("0"), Ok(None));
    for bad in ["-1", "1.5", "1e3", "\"5\"", "true", "99999999999999999999"] {
        assert_has(&refusal(asked(bad)), "'timeout' of the request's parameters must be a non-negative integer");
    }
}
