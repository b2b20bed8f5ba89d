use super::*;
use crate::onnx::proto::{AttributeProto, AttributeType};

fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..Default::default() }
}

fn matrix(name: &str) -> TensorProto {
    TensorProto::of_floats(name, &[2, 2], &[1.0, -2.0, 3.0, 4.0])
}

fn model(opset: i64, nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        node: nodes,
        initializer,
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    };
    let mut model = ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() };
    model.set_opset("", opset);
    model
}

fn product() -> NodeProto {
    NodeProto::new("MatMul", "", &["x", "w"], &["h"])
}

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    let (name, r#type) = (Some(name.to_owned()), Some(AttributeType::Floats as i32));
    AttributeProto { name, r#type, floats: values.to_vec(), ..Default::default() }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let (name, r#type) = (Some(name.to_owned()), Some(AttributeType::Ints as i32));
    AttributeProto { name, r#type, ints: values.to_vec(), ..Default::default() }
}

fn float(name: &str, value: f32) -> AttributeProto {
    let (name, r#type) = (Some(name.to_owned()), Some(AttributeType::Float as i32));
    AttributeProto { name, r#type, f: Some(value), ..Default::default() }
}

/// The operators of a prepared model behind a product, with their inputs.
fn prepared(opset: i64, node: NodeProto) -> (ModelProto, Vec<String>) {
    let model = prepare(model(opset, vec![product(), node], vec![matrix("w")])).unwrap();
    assert_eq!(prepare(model.clone()).unwrap(), model, "a prepared model changed");
    let graph = model.graph.as_ref().unwrap();
    let line = |node: &NodeProto| format!("{}({})", node.operator(), node.input.join(","));
    let lines = graph.node.iter().skip(1).map(line).collect();
    (model, lines)
}

fn constant(model: &ModelProto, name: &str) -> TensorProto {
    let graph = model.graph.as_ref().unwrap();
    graph.initializer.iter().find(|tensor| tensor.label() == name).unwrap().clone()
}

#[test]
fn attributes_that_became_inputs_become_inputs() {
    let with = |operator: &str, attributes: Vec<AttributeProto>| NodeProto {
        attribute: attributes,
        ..NodeProto::new(operator, "n", &["h"], &["y"])
    };
    let (model, lines) = prepared(10, with("Clip", vec![float("max", 6.0), float("min", 0.0)]));
    assert_eq!(lines, ["Clip(h,y_min,y_max)"]);
    assert_eq!(constant(&model, "y_max").floats().unwrap(), [6.0]);
    assert_eq!(model.opset(), 13);
    let (model, lines) = prepared(12, with("Unsqueeze", vec![ints("axes", &[0, 2])]));
    assert_eq!(lines, ["Unsqueeze(h,y_axes)"]);
    assert_eq!(constant(&model, "y_axes").integers().unwrap(), [0, 2]);
    let (_, lines) = prepared(9, with("Slice", vec![ints("starts", &[0]), ints("ends", &[1]), ints("axes", &[1])]));
    assert_eq!(lines, ["Slice(h,y_starts,y_ends,y_axes)"]);
    let (model, lines) = prepared(7, with("Upsample", vec![floats("scales", &[1.0, 2.0])]));
    assert_eq!(lines, ["Resize(h,,y_scales)"]);
    assert_eq!(model.graph.unwrap().node[1].text("nearest_mode"), Some("floor"));
    let (_, lines) = prepared(10, with("Pad", vec![ints("pads", &[0, 1]), float("value", 0.0)]));
    assert_eq!(lines, ["Pad(h,y_pads,y_value)"]);
    let (_, lines) =
        prepared(9, with("TopK", vec![AttributeProto { name: Some("k".into()), i: Some(1), ..Default::default() }]));
    assert_eq!(lines, ["TopK(h,y_k)"]);
}

#[test]
fn softmax_keeps_its_meaning() {
    let softmax = |axis| NodeProto::new("Softmax", "s", &["h"], &["y"]).with_int("axis", axis);
    assert_eq!(prepared(11, softmax(-1)).1, ["Softmax(h)"]);
    assert_eq!(prepared(11, softmax(1)).1, ["Shape(h)", "Flatten(h)", "Softmax(y_flat)", "Reshape(y_soft,y_shape)"]);
    let (model, _) = prepared(13, softmax(1));
    assert_eq!(model.graph.unwrap().node[1].int("axis"), Some(1));
}

#[test]
fn what_cannot_be_brought_up_keeps_its_opset_or_is_refused() {
    let norm = NodeProto::new("BatchNormalization", "b", &["h", "w", "w", "w", "w"], &["y"]).with_int("spatial", 0);
    let error = prepare(model(8, vec![product(), norm], vec![matrix("w")])).unwrap_err();
    assert_eq!(error, Error::Upgrade { version: 8, operator: "BatchNormalization with spatial = 0".into() });
    let mut with_function = model(12, vec![NodeProto { output: vec!["y".into()], ..product() }], vec![matrix("w")]);
    with_function.functions.push(Default::default());
    assert_eq!(prepare(with_function).unwrap().opset(), 12);
    assert_eq!(
        prepare(model(6, vec![product()], vec![])).unwrap_err(),
        Error::Graph(crate::onnx::check::Fault::Undefined { node: "MatMul".into(), tensor: "w".into() })
    );
    let old = model(6, vec![NodeProto { output: vec!["y".into()], ..product() }], vec![matrix("w")]);
    assert_eq!(prepare(old).unwrap_err(), Error::Opset { version: 6 });
}

#[test]
fn each_model_that_cannot_be_quantised_is_told_why() {
    let last = |operator: &str| NodeProto::new(operator, "", &["h"], &["y"]);
    let refused = |nodes, tensors| prepare(model(13, nodes, tensors)).unwrap_err().to_string();
    let line = refused(vec![product(), last("QuantizeLinear")], vec![matrix("w")]);
    assert!(line.contains("quantised already") && line.contains("QuantizeLinear"), "{line}");
    let half = TensorProto::of_bytes("w", ElementType::Float16, &[2, 2], vec![0; 8]);
    let line = refused(vec![product(), last("Relu")], vec![half]);
    assert!(line.contains("half precision") && line.contains("FP16"), "{line}");
    let line = refused(vec![NodeProto::new("Relu", "", &["x"], &["y"])], vec![]);
    assert!(line.contains("no node that can be quantised") && line.contains("Relu"), "{line}");
    let mut doubled = model(13, vec![product(), last("Relu"), last("Abs")], vec![matrix("w")]);
    assert!(prepare(doubled.clone()).unwrap_err().to_string().contains("made twice"));
    doubled.graph.as_mut().unwrap().node.pop();
    doubled.graph.as_mut().unwrap().input.push(value("w"));
    let line = prepare(doubled.clone()).unwrap_err().to_string();
    assert!(line.contains("constant FP32 weights"), "a weight that callers may replace: {line}");
    // Before IR 4 they stand among the inputs and cannot be replaced.
    doubled.ir_version = Some(3);
    let model = prepare(doubled).unwrap();
    assert_eq!((model.graph.unwrap().input.len(), model.ir_version), (1, Some(4)));
}

#[test]
fn constants_and_names_are_in_one_form() {
    let constant = NodeProto {
        attribute: vec![AttributeProto { name: Some("value".into()), t: Some(matrix("")), ..Default::default() }],
        ..NodeProto::new("Constant", "", &[], &["c"])
    };
    let nodes = vec![
        NodeProto::new("MatMul", "same", &["h", "i"], &["y"]),
        NodeProto::new("MatMul", "same", &["x", "c"], &["h"]),
        NodeProto::new("Identity", "", &["c"], &["i"]),
        constant,
    ];
    let model = prepare(model(13, nodes, vec![])).unwrap();
    let graph = model.graph.unwrap();
    let lines: Vec<String> =
        graph.node.iter().map(|node| format!("{} {}", node.label(), node.input.join(","))).collect();
    assert_eq!(lines, ["same x,c", "same_1 h,c"]);
    assert_eq!(graph.initializer.len(), 1);
}

#[test]
fn weights_that_a_file_only_describes_are_written_out() {
    let shape = |sizes: &[i64]| TensorProto::of_integers("sizes", sizes);
    let fill = |value: f32| {
        let tensor = Some(TensorProto::of_floats("", &[1], &[value]));
        let attribute = vec![AttributeProto { name: Some("value".into()), t: tensor, ..Default::default() }];
        NodeProto { attribute, ..NodeProto::new("ConstantOfShape", "fill", &["sizes"], &["w"]) }
    };
    let last = NodeProto::new("Relu", "last", &["h"], &["y"]);
    let described = |sizes: &[i64]| model(13, vec![fill(0.5), product(), last.clone()], vec![shape(sizes)]);
    assert!(is_untidy(&described(&[2, 2])));
    let prepared = prepare(described(&[2, 2])).unwrap();
    assert_eq!(constant(&prepared, "w").floats().unwrap(), [0.5; 4]);
    assert!(!is_untidy(&prepared));
    // A few bytes of file that ask for more memory than any box has stay as they are, and are no weights.
    for sizes in [[1 << 40, 1 << 40], [1 << 20, 1 << 20], [-1, 2]] {
        assert!(prepare(described(&sizes)).unwrap_err().to_string().contains("no node"), "{sizes:?}");
    }
}

#[test]
fn weights_in_graphs_inside_count_where_no_ranges_are_needed() {
    let holding = |node: NodeProto| {
        let output = vec![value("r")];
        let inner = GraphProto { node: vec![node], initializer: vec![matrix("w")], output, ..Default::default() };
        let mut holder = NodeProto::new("If", "", &["x"], &["y"]);
        let attribute =
            AttributeProto { name: Some("then_branch".into()), g: Some(Box::new(inner)), ..Default::default() };
        holder.attribute.push(attribute);
        model(13, vec![holder], vec![])
    };
    let prepared = prepare(holding(NodeProto::new("MatMul", "", &["x", "w"], &["r"]))).unwrap();
    let names: Vec<String> =
        prepared.graph.iter().flat_map(|g| g.nodes_within()).map(|n| n.label().to_owned()).collect();
    assert_eq!(names, ["If_y", "MatMul_r"], "every node has a name, by which it can be excluded");
    let refusal = prepare(holding(NodeProto::new("Conv", "", &["x", "w"], &["r"]))).unwrap_err().to_string();
    assert!(refusal.contains("among its 2 nodes (Conv, If)"), "{refusal}");
}

#[test]
fn factors_of_products_go_into_their_constants() {
    let attribute = vec![float("alpha", 2.0), float("beta", 0.5)];
    let gemm = NodeProto { attribute, ..NodeProto::new("Gemm", "g", &["x", "w", "b"], &["y"]) };
    let bias = TensorProto::of_floats("b", &[1, 2], &[1.0, 2.0]);
    let model = prepare(model(13, vec![gemm], vec![matrix("w"), bias])).unwrap();
    assert_eq!(constant(&model, "w_scaled").floats().unwrap(), [2.0, -4.0, 6.0, 8.0]);
    let bias = constant(&model, "b_scaled");
    assert_eq!((bias.floats().unwrap(), bias.dims), (vec![0.5, 1.0], vec![2]));
    let graph = model.graph.unwrap();
    assert_eq!((graph.initializer.len(), graph.node[0].attribute.len()), (2, 0));
}
