use std::io::Cursor;

use bytes::Bytes;
use prost::Message;

use super::super::proto::{TensorProto, TypeProtoMap, TypeProtoSequence, ValueInfoProto};
use super::*;

fn labels(strings: &[&'static str], ints: &[i64]) -> Vec<AttributeProto> {
    let named = |name: &str| AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let strings = strings.iter().map(|name| Bytes::from_static(name.as_bytes())).collect();
    vec![
        AttributeProto { strings, ..named("classlabels_strings") },
        AttributeProto { ints: ints.to_vec(), ..named("classlabels_int64s") },
    ]
}

fn node(operator: &str, domain: &str, input: &str, output: &str) -> NodeProto {
    NodeProto {
        input: vec![input.to_owned()],
        output: vec![output.to_owned()],
        op_type: Some(operator.to_owned()),
        domain: Some(domain.to_owned()),
        ..NodeProto::default()
    }
}

fn value(name: &str, value: Option<TypeProtoValue>) -> ValueInfoProto {
    let kind = TypeProto { value, denotation: None };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(kind), ..ValueInfoProto::default() }
}

fn tensor(rank: usize) -> Option<TypeProtoValue> {
    let shape = TensorShapeProto { dim: vec![TensorShapeProtoDimension::default(); rank] };
    Some(TypeProtoValue::TensorType(TypeProtoTensor { elem_type: Some(1), shape: Some(shape) }))
}

/// x → ZipMap → maps, a graph's output.
fn model() -> ModelProto {
    let map = TypeProto { value: Some(TypeProtoValue::MapType(TypeProtoMap::default())), denotation: None };
    let maps = TypeProtoValue::SequenceType(TypeProtoSequence { elem_type: Some(Box::new(map)) });
    let zip_map = NodeProto { attribute: labels(&["no", "yes"], &[]), ..node("ZipMap", DOMAIN, "x", "maps") };
    let graph = GraphProto {
        node: vec![zip_map],
        input: vec![value("x", tensor(2))],
        output: vec![value("maps", Some(maps))],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: Some(DOMAIN.to_owned()), version: Some(1) };
    ModelProto { graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() }
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

/// The dimensions of the first output, where it is a tensor.
fn dimensions(model: &mut ModelProto) -> Option<Vec<Option<i64>>> {
    let Some(TypeProtoValue::TensorType(tensor)) = graph(model).output[0].r#type.clone().unwrap().value else {
        return None;
    };
    let fixed = |dim: TensorShapeProtoDimension| match dim.value {
        Some(TensorShapeProtoDimensionValue::DimValue(value)) => Some(value),
        _ => None,
    };
    Some(tensor.shape.unwrap().dim.into_iter().map(fixed).collect())
}

#[test]
fn the_probabilities_take_the_name_and_the_classes_are_told() {
    let mut model = model();
    let taken = take_out(&mut model);
    assert_eq!(taken, [TakenOut { output: "maps".into(), classes: vec!["no".into(), "yes".into()] }]);
    assert_eq!(dimensions(&mut model), Some(vec![None, Some(2)]));
    let opsets: Vec<_> = model.opset_import.iter().map(|import| import.domain.clone().unwrap()).collect();
    assert_eq!(opsets, [DOMAIN, ""]);
    let node = graph(&mut model).node[0].clone();
    assert_eq!((node.op_type.as_deref(), node.domain, node.attribute.len()), (Some("Identity"), None, 0));
    assert_eq!((node.input, node.output), (vec!["x".to_owned()], vec!["maps".to_owned()]));
    assert_eq!(take_out(&mut model), []);
}

#[test]
fn classes_may_be_numbers_and_the_batch_may_be_missing() {
    let mut model = model();
    graph(&mut model).node[0].attribute = labels(&[], &[-1, 7, 1 << 40]);
    graph(&mut model).input[0] = value("x", tensor(1));
    model.opset_import.push(OperatorSetIdProto { domain: None, version: Some(9) });
    assert_eq!(take_out(&mut model)[0].classes, ["-1", "7", "1099511627776"]);
    assert_eq!(dimensions(&mut model), Some(vec![Some(3)]));
    assert_eq!(model.opset_import.len(), 2);
}

#[test]
fn what_is_no_last_step_stays() {
    let inner = GraphProto { output: vec![value("maps", None)], ..GraphProto::default() };
    let inside = AttributeProto { g: Some(Box::new(inner)), ..AttributeProto::default() };
    let changes: [fn(&mut GraphProto, &AttributeProto); 6] = [
        |graph, _| graph.node.push(node("SequenceLength", "", "maps", "length")),
        |graph, inside| graph.node.push(NodeProto { attribute: vec![inside.clone()], ..node("If", "", "c", "z") }),
        |graph, _| graph.node[0].domain = None,
        |graph, _| graph.node[0].attribute.clear(),
        |graph, _| graph.node[0].input.clear(),
        |graph, _| graph.output[0].name = Some("other".to_owned()),
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut model = model();
        change(graph(&mut model), &inside);
        let before = model.clone();
        assert_eq!(take_out(&mut model), [], "{index}");
        assert_eq!(model, before, "{index}");
    }
    assert_eq!(take_out(&mut ModelProto::default()), []);
}

fn found(bytes: &[u8]) -> bool {
    found_in(Cursor::new(bytes)).unwrap()
}

#[test]
fn a_file_is_looked_through_without_its_weights() {
    let mut with = model();
    // What only looks like it: the name in a weight, in a doc string, as the name of a node.
    let weight = TensorProto { raw_data: Some(Bytes::from_static(b"\x22\x06ZipMap")), ..TensorProto::default() };
    graph(&mut with).initializer.push(weight);
    graph(&mut with).doc_string = Some("\u{22}\u{6}ZipMap".to_owned());
    with.ir_version = Some(1 << 62);
    let bytes = with.encode_to_vec();
    assert!(found(&bytes));
    let mut without = with.clone();
    graph(&mut without).node[0].op_type = Some("ZipMop".to_owned());
    graph(&mut without).node[0].name = Some("ZipMap".to_owned());
    assert!(!found(&without.encode_to_vec()));
    let mut late = without.clone();
    graph(&mut late).node.push(node("ZipMap", DOMAIN, "x", "y"));
    assert!(found(&late.encode_to_vec()));
}

#[test]
fn what_is_no_model_has_none() {
    assert!(!found(b""));
    assert!(!found(b"ZipMap"));
    assert!(!found(&[0xff; 100]));
    assert!(!found(&[7 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]));
    let bytes = model().encode_to_vec();
    for cut in 0..bytes.len() {
        // Whatever it says, it comes to an end.
        let _ = found(&bytes[..cut]);
    }
}
