//! Nets with a corner in them, each of which 8-bit numbers could break: what comes out answers as the float net does, and the
//! node with the corner stays in float where the runtime has no right form of it.

use edge_service::core::tensor::Tensor;
use edge_service::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};
use edge_service::quantize::{Integer, Method, Rewritten, Settings, observed, prepare, rewrite};

use crate::quantizing::{answers, one_at_a_time};
use crate::quantizing_nets::{Net, error_and_size, random_inputs, ranges, value};

/// What 8-bit numbers may cost such a net, as a share of its answers.
const BOUND: f64 = 0.05;

fn net() -> Net {
    Net::new(7, true)
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(1), f: Some(value), ..Default::default() }
}

fn model(mut net: Net, sizes: &[usize], outputs: &[&str], opset: i64) -> ModelProto {
    net.graph.input.insert(0, value("x", Some(sizes)));
    net.graph.output = outputs.iter().map(|name| value(name, None)).collect();
    let mut model = ModelProto { ir_version: Some(8), graph: Some(net.graph), ..Default::default() };
    model.set_opset("", opset);
    model
}

/// Quantises, and holds the answers against the float net's.
fn quantised(model: &ModelProto, inputs: &[Tensor], settings: &Settings) -> Rewritten {
    let _one = one_at_a_time();
    let prepared = prepare(model.clone()).unwrap();
    assert_eq!(prepare(prepared.clone()).unwrap(), prepared, "preparing twice changes the model");
    let ranges = ranges(&prepared, &observed(&prepared, settings), inputs);
    let made = rewrite(&prepared, &ranges, settings).unwrap();
    let (error, size) = error_and_size(&answers(model, inputs), &answers(&made.model, inputs));
    assert!(error <= BOUND * size, "an error of {error} where answers have {size}: {:?}", made.left);
    made
}

const PICTURE: [usize; 4] = [1, 3, 8, 8];

fn picture(model: &ModelProto) -> Rewritten {
    picture_with(model, &Settings::default())
}

fn picture_with(model: &ModelProto, settings: &Settings) -> Rewritten {
    quantised(model, &random_inputs(11, &PICTURE, 1.0), settings)
}

/// A node between two convolutions.
fn between(opset: i64, node: impl FnOnce(&mut Net, &str) -> String) -> ModelProto {
    let mut net = net();
    let c = net.layer("x", 3, 8, 3, 1);
    let d = node(&mut net, &c);
    let y = net.layer(&d, 8, 8, 3, 1);
    model(net, &PICTURE, &[&y], opset)
}

fn left(made: &Rewritten, operator: &str) -> bool {
    made.left.iter().any(|left| left.operator == operator)
}

#[test]
fn a_graph_inside_reads_a_relu_as_it_was() {
    let mut net = net();
    let c = net.layer("x", 3, 8, 3, 1);
    let r = net.op("Relu", &[&c], &[]);
    let y = net.layer(&r, 8, 8, 3, 1);
    let zero = net.constant(&[], &[-100.0]);
    let mean = net.op("ReduceMean", &["x"], &[]);
    net.graph.node.last_mut().unwrap().set_int("keepdims", 0);
    let condition = net.op("Greater", &[&mean, &zero], &[]);
    let z = net.op("If", &[&condition], &[]);
    for name in ["then_branch", "else_branch"] {
        let result = format!("{name}_sum");
        let node = NodeProto::new("ReduceSum", name, &[&r], &[&result]).with_int("keepdims", 0);
        let inner = GraphProto {
            name: Some(name.into()),
            node: vec![node],
            output: vec![value(&result, None)],
            ..Default::default()
        };
        let attribute =
            AttributeProto { name: Some(name.into()), r#type: Some(5), g: Some(Box::new(inner)), ..Default::default() };
        net.graph.node.last_mut().unwrap().attribute.push(attribute);
    }
    let made = picture(&model(net, &PICTURE, &[&y, &z], 17));
    assert_eq!(made.quantized.len(), 3, "the Relu stays beside: {:?}", made.left);
}

#[test]
fn two_cuts_in_a_row_are_both_made() {
    for [first, second] in [["Relu", "Relu"], ["Clip", "Relu"], ["Relu", "Clip"]] {
        picture(&between(17, |net, c| {
            let limits = [net.constant(&[], &[-0.5]), net.constant(&[], &[0.5])];
            let mut cut = |operator: &str, x: &str| match operator {
                "Clip" => net.op("Clip", &[x, &limits[0], &limits[1]], &[]),
                _ => net.op(operator, &[x], &[]),
            };
            let first = cut(first, c);
            cut(second, &first)
        }));
    }
}

#[test]
fn windows_that_reach_over_the_end_or_skip_places_are_averaged_in_float() {
    let pooled = |opset, ints: &'static [(&'static str, &'static [i64])], flags: &'static [&'static str]| {
        picture(&between(opset, |net, c| {
            let pooled = net.op("AveragePool", &[c], ints);
            flags.iter().for_each(|flag| net.graph.node.last_mut().unwrap().set_int(flag, 1));
            pooled
        }))
    };
    let over = [("kernel_shape", [3i64, 3].as_slice()), ("strides", &[2, 2]), ("pads", &[1; 4])];
    let over: &'static [(&str, &[i64])] = over.to_vec().leak();
    assert!(left(&pooled(17, over, &["ceil_mode", "count_include_pad"]), "AveragePool"));
    assert!(!left(&pooled(17, over, &["ceil_mode"]), "AveragePool"));
    let skipping = [("kernel_shape", [2i64, 2].as_slice()), ("dilations", &[2, 2])];
    assert!(left(&pooled(19, skipping.to_vec().leak(), &[]), "AveragePool"));
}

#[test]
fn resizing_of_opset_10_keeps_its_neighbours() {
    for factor in [0.5, 0.6, 1.0, 1.7, 2.0] {
        picture(&between(10, |net, c| {
            let scales = net.constant(&[4], &[1.0, 1.0, factor, factor]);
            net.op("Resize", &[c, &scales], &[])
        }));
    }
    picture(&between(10, |net, c| {
        let halves = net.constant(&[4], &[0.5, 0.5, 1.0, 1.0]);
        let scales = net.op("Add", &[&halves, &halves], &[]);
        net.op("Resize", &[c, &scales], &[])
    }));
    let mixed = between(10, |net, c| {
        let scales = net.constant(&[4], &[1.0, 1.0, 0.5, 2.0]);
        net.op("Resize", &[c, &scales], &[])
    });
    let refusal = prepare(mixed).unwrap_err().to_string();
    assert!(refusal.contains("Resize to the nearest"), "{refusal}");
}

#[test]
fn resizing_and_padding_of_named_axes_is_that_of_the_same_axes() {
    picture(&between(18, |net, c| {
        let scales = net.constant(&[2], &[2.0, 1.5]);
        net.op("Resize", &[c, "", &scales], &[("axes", &[2, 3])])
    }));
    picture(&between(18, |net, c| {
        let sizes = edge_service::onnx::proto::TensorProto::of_integers("sizes", &[5, 12]);
        net.graph.initializer.push(sizes);
        net.op("Resize", &[c, "", "", "sizes"], &[("axes", &[-2, -1])])
    }));
    picture(&between(18, |net, c| {
        for (name, values) in [("pads", [1, 2, 0, 1]), ("axes", [3, 2, 0, 0])] {
            let count = if name == "axes" { 2 } else { 4 };
            let tensor = edge_service::onnx::proto::TensorProto::of_integers(name, &values[..count]);
            net.graph.initializer.push(tensor);
        }
        let factor = net.constant(&[8], &[1.5; 8]);
        let wide = net.op("Mul", &[&factor, c], &[]);
        net.op("Pad", &[&wide, "pads", "", "axes"], &[])
    }));
}

#[test]
fn a_relu_that_let_nothing_through_still_cuts() {
    let signed = Settings { activations: Integer::S8, ..Settings::default() };
    for settings in [signed, Settings::default()] {
        let mut net = net();
        let weight = net.weight(&[8, 3, 3, 3], 0.01);
        let below = net.constant(&[8], &[-3.3; 8]);
        let c = net.op("Conv", &["x", &weight, &below], &[("pads", &[1; 4])]);
        let r = net.op("Relu", &[&c], &[]);
        let y = net.layer(&r, 8, 8, 3, 1);
        picture_with(&model(net, &PICTURE, &[&y], 17), &settings);
    }
}

#[test]
fn biases_fit_beside_weights_that_are_tiny_or_all_zero() {
    let unsigned = Settings { weights: Integer::U8, ..Settings::default() };
    for (settings, tiny) in [(unsigned, 1e-9), (Settings::default(), 1e-9), (Settings::default(), 0.0)] {
        let mut net = net();
        let mut weights: Vec<f32> = (0..8 * 27).map(|place| ((place * 37 % 101) as f32 - 50.0) / 250.0).collect();
        weights[..27].iter_mut().for_each(|value| *value *= tiny);
        let weight = net.constant(&[8, 3, 3, 3], &weights);
        let bias = net.constant(&[8], &[45.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]);
        let c = net.op("Conv", &["x", &weight, &bias], &[("pads", &[1; 4])]);
        let made = model(net, &PICTURE, &[&c], 17);
        quantised(&made, &random_inputs(11, &PICTURE, 255.0), &settings);
    }
}

#[test]
fn weights_of_zeros_that_two_convolutions_share_tell_both_biases() {
    let mut net = net();
    let mut weights: Vec<f32> = (0..8 * 27).map(|place| ((place * 37 % 101) as f32 - 50.0) / 250.0).collect();
    weights[..27].fill(0.0);
    let weight = net.constant(&[8, 3, 3, 3], &weights);
    let results: Vec<String> = [100.0, 0.001]
        .map(|first| {
            let bias = net.constant(&[8], &[first, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]);
            net.op("Conv", &["x", &weight, &bias], &[("pads", &[1; 4])])
        })
        .to_vec();
    let outputs: Vec<&str> = results.iter().map(String::as_str).collect();
    quantised(&model(net, &PICTURE, &outputs, 17), &random_inputs(11, &PICTURE, 1.0), &Settings::default());
}

#[test]
fn a_steep_hard_sigmoid_is_a_step() {
    picture(&between(17, |net, c| {
        let gate = net.op("HardSigmoid", &[c], &[]);
        net.graph.node.last_mut().unwrap().attribute.push(float("alpha", 2e5));
        net.op("Mul", &[c, &gate], &[])
    }));
}

#[test]
fn a_product_that_the_runtime_joined_with_a_sum_is_quantised() {
    for turned in [false, true] {
        let mut net = Net::new(7, false);
        let h = net.layer("x", 16, 16, 1, 1);
        let weight = net.weight(if turned { &[12, 16] } else { &[16, 12] }, 1.0);
        let sum = net.weight(&[4, 12], 1.0);
        let y = net.op("Gemm", &[&h, &weight, &sum], &[]);
        let node = net.graph.node.last_mut().unwrap();
        node.set_int("transB", i64::from(turned));
        node.attribute.push(float("beta", 1.0));
        node.attribute.push(float("alpha", 0.5));
        let model = model(net, &[4, 16], &[&y], 17);
        let inputs = random_inputs(11, &[4, 16], 1.0);
        for method in [Method::Static, Method::Dynamic] {
            let made = quantised(&model, &inputs, &Settings { method, ..Settings::default() });
            assert!(!left(&made, "MatMul") && !left(&made, "Gemm"), "{:?}", made.left);
        }
    }
}

#[test]
fn what_needs_no_ranges_is_quantised_inside_a_choice_too() {
    for chosen in [-100.0, 100.0] {
        let mut net = Net::new(7, false);
        let limit = net.constant(&[], &[chosen]);
        let mean = net.op("ReduceMean", &["x"], &[]);
        net.graph.node.last_mut().unwrap().set_int("keepdims", 0);
        let condition = net.op("Greater", &[&mean, &limit], &[]);
        let y = net.op("If", &[&condition], &[]);
        for (name, seed) in [("then_branch", 1), ("else_branch", 2)] {
            let mut inner = Net::new(seed, false);
            // Both have constants and tensors of the same names, as exporters leave them; those outside have others.
            inner.count = 100;
            let h = inner.layer("x", 16, 24, 1, 1);
            let r = inner.op("Relu", &[&h], &[]);
            let last = inner.layer(&r, 24, 5, 1, 1);
            inner.graph.output.push(value(&last, None));
            let g = Some(Box::new(inner.graph));
            let attribute = AttributeProto { name: Some(name.into()), r#type: Some(5), g, ..Default::default() };
            net.graph.node.last_mut().unwrap().attribute.push(attribute);
        }
        net.graph.node.iter_mut().for_each(|node| node.name = node.output.first().cloned());
        let model = model(net, &[4, 16], &[&y], 17);
        let settings = Settings { method: Method::Dynamic, ..Settings::default() };
        let made = quantised(&model, &random_inputs(11, &[4, 16], 1.0), &settings);
        assert_eq!(made.quantized.len(), 4, "{:?}", made.left);
    }
}
