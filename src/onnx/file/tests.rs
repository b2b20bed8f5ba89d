use super::super::proto::*;
use super::*;

fn tensor(name: &str, bytes: usize) -> TensorProto {
    let values: Vec<f32> = (0..bytes / 4).map(|value| value as f32).collect();
    TensorProto::of_floats(name, &[values.len()], &values)
}

fn small() -> ModelProto {
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
    let graph = GraphProto {
        node: vec![
            NodeProto::new("Add", "add", &["x", "w"], &["a"]),
            NodeProto::new("Add", "two", &["a", "v"], &["y"]),
        ],
        initializer: vec![tensor("w", 8192), tensor("v", 16)],
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    };
    ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() }
}

/// Every message and every field, with something in it: what is lost by reading and writing shows.
fn everything() -> ModelProto {
    let text = |value: &str| Some(value.to_owned());
    let pair = |key: &str| StringStringEntryProto { key: text(key), value: text("value") };
    let size = |value| TensorShapeProtoDimension { value: Some(value), denotation: text("DATA_BATCH") };
    let shape = TensorShapeProto {
        dim: vec![
            size(TensorShapeProtoDimensionValue::DimValue(0)),
            size(TensorShapeProtoDimensionValue::DimParam("n".into())),
        ],
    };
    let plain = TypeProto {
        value: Some(TypeProtoValue::TensorType(TypeProtoTensor { elem_type: Some(1), shape: Some(shape.clone()) })),
        denotation: text("IMAGE"),
    };
    let inner = Some(Box::new(plain.clone()));
    let of = |value| TypeProto { value: Some(value), denotation: None };
    let types = vec![
        of(TypeProtoValue::SequenceType(TypeProtoSequence { elem_type: inner.clone() })),
        of(TypeProtoValue::MapType(TypeProtoMap { key_type: Some(7), value_type: inner.clone() })),
        of(TypeProtoValue::OptionalType(TypeProtoOptional { elem_type: inner.clone() })),
        of(TypeProtoValue::SparseTensorType(TypeProtoSparseTensor { elem_type: Some(1), shape: Some(shape) })),
        of(TypeProtoValue::OpaqueType(TypeProtoOpaque { domain: text("d"), name: text("n") })),
    ];
    let value = |name: &str, r#type: TypeProto| ValueInfoProto {
        name: text(name),
        r#type: Some(r#type),
        doc_string: text("doc"),
        metadata_props: vec![pair("k")],
    };
    let filled = TensorProto {
        dims: vec![2, 0],
        segment: Some(TensorProtoSegment { begin: Some(0), end: Some(2) }),
        float_data: vec![1.5, -0.0],
        int32_data: vec![-1, 2],
        string_data: vec![Bytes::from_static(b"s"), Bytes::new()],
        int64_data: vec![i64::MIN],
        raw_data: Some(Bytes::new()),
        double_data: vec![f64::MIN_POSITIVE],
        uint64_data: vec![u64::MAX],
        doc_string: text(""),
        external_data: vec![pair("location")],
        data_location: Some(0),
        metadata_props: vec![pair("k")],
        ..tensor("t", 4)
    };
    let sparse = SparseTensorProto { values: Some(filled.clone()), indices: Some(tensor("i", 8)), dims: vec![9] };
    let attribute = AttributeProto {
        name: text("a"),
        f: Some(0.0),
        i: Some(0),
        s: Some(Bytes::from_static(b"\xff\x00")),
        t: Some(filled.clone()),
        g: Some(Box::new(GraphProto { name: text("inner"), ..Default::default() })),
        floats: vec![0.0, 1.0],
        ints: vec![0, -1],
        strings: vec![Bytes::new()],
        tensors: vec![filled.clone()],
        graphs: vec![GraphProto::default()],
        doc_string: text("doc"),
        tp: Some(plain.clone()),
        type_protos: types.clone(),
        r#type: Some(0),
        ref_attr_name: text("outer"),
        sparse_tensor: Some(sparse.clone()),
        sparse_tensors: vec![sparse.clone()],
    };
    let device = NodeDeviceConfigurationProto {
        configuration_id: text("two"),
        sharding_spec: vec![ShardingSpecProto {
            tensor_name: text("t"),
            device: vec![0, 1],
            index_to_device_group_map: vec![IntIntListEntryProto { key: Some(0), value: vec![1, 2] }],
            sharded_dim: vec![ShardedDimProto {
                axis: Some(0),
                simple_sharding: vec![
                    SimpleShardedDimProto { dim: Some(SimpleShardedDimProtoDim::DimValue(0)), num_shards: Some(2) },
                    SimpleShardedDimProto {
                        dim: Some(SimpleShardedDimProtoDim::DimParam("n".into())),
                        num_shards: None,
                    },
                ],
            }],
        }],
        pipeline_stage: Some(0),
    };
    let node = NodeProto {
        attribute: vec![attribute.clone()],
        doc_string: text("doc"),
        domain: text(""),
        overload: text("o"),
        metadata_props: vec![pair("k")],
        device_configurations: vec![device],
        ..NodeProto::new("Op", "n", &["x", ""], &["y"])
    };
    let set = |domain: &str| OperatorSetIdProto { domain: text(domain), version: Some(0) };
    let graph = GraphProto {
        node: vec![node.clone(), NodeProto::default()],
        name: text("g"),
        initializer: vec![filled],
        doc_string: text("doc"),
        input: types.into_iter().map(|r#type| value("x", r#type)).collect(),
        output: vec![value("y", plain)],
        value_info: vec![ValueInfoProto::default()],
        quantization_annotation: vec![TensorAnnotation {
            tensor_name: text("t"),
            quant_parameter_tensor_names: vec![pair("SCALE_TENSOR")],
        }],
        sparse_initializer: vec![sparse],
        metadata_props: vec![pair("k")],
    };
    let function = FunctionProto {
        name: text("f"),
        input: vec!["x".into()],
        output: vec!["y".into()],
        attribute: vec!["a".into()],
        node: vec![node],
        doc_string: text("doc"),
        opset_import: vec![set("")],
        domain: text("local"),
        attribute_proto: vec![attribute],
        value_info: vec![ValueInfoProto::default()],
        overload: text("o"),
        metadata_props: vec![pair("k")],
    };
    ModelProto {
        ir_version: Some(0),
        producer_name: text("p"),
        producer_version: text(""),
        domain: text("d"),
        model_version: Some(-1),
        doc_string: text("doc"),
        graph: Some(graph.clone()),
        opset_import: vec![set(""), set("local")],
        metadata_props: vec![pair("k")],
        training_info: vec![TrainingInfoProto {
            initialization: Some(graph.clone()),
            algorithm: Some(graph),
            initialization_binding: vec![pair("k")],
            update_binding: vec![pair("k")],
        }],
        functions: vec![function],
        configuration: vec![DeviceConfigurationProto {
            name: text("two"),
            num_devices: Some(2),
            device: vec!["cpu".into()],
        }],
    }
}

#[test]
fn every_field_of_every_message_survives() {
    let model = everything();
    let bytes = encode(&model);
    let again = decode(bytes.clone().into()).unwrap();
    assert_eq!(again, model);
    assert_eq!(encode(&again), bytes);
}

#[test]
fn models_that_other_tools_wrote_come_back_byte_for_byte() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for folder in ["models/digits", "target/fixtures/models", "target/fixtures/refused", "target/fixtures/quantize"] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        for path in
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        {
            let bytes = Bytes::from(fs::read(&path).unwrap());
            // Among the refused ones some are no models at all.
            let Ok(model) = decode(bytes.clone()) else { continue };
            assert!(encode(&model) == bytes, "{} came back otherwise", path.display());
            found += 1;
        }
    }
    assert!(found > 0, "no model was found");
}

#[test]
fn what_is_no_model_is_refused_in_one_line() {
    assert_eq!(decode(Bytes::new()), Err("it is empty".into()));
    for bytes in [&b"%PDF-1.7 and so on"[..], b"\x08\x07", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"] {
        let why = decode(Bytes::copy_from_slice(bytes)).unwrap_err();
        assert!(!why.contains('\n') && !why.is_empty(), "{why}");
    }
    let whole = encode(&small());
    for length in [1, whole.len() / 2, whole.len() - 1] {
        assert!(decode(whole[..length].to_vec().into()).is_err(), "cut at {length}");
    }
}

#[test]
fn graphs_inside_graphs_without_end_are_refused() {
    // A graph whose node has an attribute whose graph has a node and so on: the innermost first.
    let wrap = |tag: u8, bytes: &[u8]| {
        let mut out = vec![tag];
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        out.extend_from_slice(bytes);
        out
    };
    let mut bytes = Vec::new();
    for _ in 0..20_000 {
        bytes = wrap(0x0a, &wrap(0x2a, &wrap(0x32, &bytes)));
    }
    let why = decode(wrap(0x3a, &bytes).into()).unwrap_err();
    assert!(why.contains("recursion"), "{why}");
}

#[test]
fn contents_beside_a_model_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.onnx");
    write_beside(&path, small()).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 1024);
    assert_eq!(read(&path).unwrap(), small());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn contents_beside_a_model_stay_within_its_folder_and_its_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), vec![7; 8192]).unwrap();
    fs::create_dir(folder.path().join("m")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("m/link")).unwrap();
    fs::write(folder.path().join("m/short"), [1; 16]).unwrap();
    let path = folder.path().join("m/model.onnx");
    let cases = [
        (vec![("location", "../secret")], "out of the model's folder"),
        (vec![("location", "/etc/passwd")], "out of the model's folder"),
        (vec![("location", "link")], "out of the model's folder"),
        (vec![("location", "gone")], "No such file"),
        (vec![("location", ".")], "not a regular file"),
        (vec![("location", "short")], "16 bytes where its shape wants 8192"),
        (vec![("location", "short"), ("offset", "8"), ("length", "8192")], "ends before"),
        (vec![("location", "short"), ("offset", "-1")], "no number"),
        (vec![("location", "short"), ("offset", "18446744073709551615"), ("length", "2")], "ends before"),
        (vec![], "not said"),
    ];
    for (entries, expected) in cases {
        let mut model = small();
        let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
        tensor.raw_data = None;
        tensor.data_location = Some(1);
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        tensor.external_data = entries.iter().map(entry).collect();
        write(&path, &model).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("\"w\""), "{error}");
    }
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write(&path, &small()).unwrap();
    assert_eq!(read(&path).unwrap(), small());
    // A folder in the way: the rename fails, and nothing else is left.
    let blocked = folder.path().join("blocked");
    fs::create_dir(&blocked).unwrap();
    fs::write(blocked.join("x"), "x").unwrap();
    let error = write(&blocked, &small()).unwrap_err().to_string();
    assert!(error.contains("nothing was left there"), "{error}");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("not a regular file"));
}
