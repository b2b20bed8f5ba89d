//! The rewritten graph of each rule, as text in `tests/golden`. `UPDATE_GOLDEN=1` writes the files again: read the difference.

use std::fmt::Write;
use std::path::Path;

use super::net::{Net, ranges, value};
use crate::onnx::proto::{ElementType, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::quantize::{Method, Rewritten, Settings, prepare, rewrite};

/// A graph's nodes and constants; those of graphs inside it follow their node, further in.
fn write_graph(out: &mut String, graph: &GraphProto, margin: &str) {
    for node in &graph.node {
        let _ = write!(out, "{margin}{} = {}({})", node.output.join(", "), node.operator(), node.input.join(", "));
        for attribute in &node.attribute {
            let name = attribute.name.as_deref().unwrap_or_default();
            match (&attribute.g, attribute.i) {
                (Some(_), _) => drop(write!(out, " {name}=graph")),
                (None, Some(value)) => drop(write!(out, " {name}={value}")),
                (None, None) => drop(write!(out, " {name}={:?}", attribute.ints)),
            }
        }
        out.push('\n');
        node.subgraphs().for_each(|inner| write_graph(out, inner, &format!("{margin}  ")));
    }
    for tensor in &graph.initializer {
        let element = tensor.element().unwrap();
        let contents = contents(tensor, element);
        let _ = writeln!(out, "{margin}const {} {element:?}{:?} {contents}", tensor.label(), tensor.dims);
    }
}

fn text(rewritten: &Rewritten) -> String {
    let mut out = String::new();
    write_graph(&mut out, rewritten.model.graph.as_ref().unwrap(), "");
    let _ = writeln!(out, "quantized: {}", rewritten.quantized.join(", "));
    for left in &rewritten.left {
        let _ = writeln!(out, "left: {} {}: {}", left.operator, left.node, left.reason);
    }
    out
}

fn contents(tensor: &TensorProto, element: ElementType) -> String {
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    let mut words: Vec<String> = match element {
        ElementType::Float => tensor.floats().unwrap().iter().map(|value| format!("{value:.6}")).collect(),
        ElementType::Int8 => raw.iter().map(|byte| (*byte as i8).to_string()).collect(),
        ElementType::Uint8 => raw.iter().map(u8::to_string).collect(),
        _ => tensor.integers().unwrap().iter().map(i64::to_string).collect(),
    };
    if words.len() > 8 {
        words.truncate(8);
        words.push("...".to_owned());
    }
    words.join(" ")
}

fn golden(name: &str, model: ModelProto, settings: Settings) {
    let prepared = prepare(model).unwrap();
    assert_eq!(prepare(prepared.clone()).unwrap(), prepared, "{name}: preparing twice changes the model");
    let rewritten = rewrite(&prepared, &ranges(&prepared), &settings).unwrap();
    assert!(prepare(rewritten.model.clone()).unwrap_err().to_string().contains("quantised already"), "{name}");
    let found = text(&rewritten);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} is rewritten otherwise than {}:\n{found}", path.display());
}

fn refined(name: &str, model: ModelProto) {
    golden(name, model, Settings::default());
}

fn dynamic(name: &str, model: ModelProto) {
    golden(name, model, Settings { method: Method::Dynamic, ..Settings::default() });
}

/// A net that begins with a convolution `x` to `c`.
fn behind() -> Net {
    let mut net = Net::new("x");
    net.weight("w", &[2, 2, 1, 1]).node("Conv", &["x", "w"], "c");
    net
}

/// The net behind, with a convolution from `from` to `y` at its end.
fn between(net: &mut Net, from: &str) -> ModelProto {
    net.weight("v", &[2, 2, 1, 1]).node("Conv", &[from, "v"], "y").model(&["y"])
}

#[test]
fn convolutions() {
    let mut net = Net::new("x");
    net.weight("w", &[4, 1, 3]).weight("b", &[4]).node("Conv", &["x", "w", "b"], "c").ints("dilations", &[1]);
    net.weight("v", &[2, 4, 3]).node("Conv", &["c", "v"], "y");
    refined("conv_1d", net.model(&["y"]));
    let mut net = Net::new("x");
    net.weight("w", &[2, 1, 1, 1, 1]).weight("b", &[2]).node("Conv", &["x", "w", "b"], "y");
    golden("conv_3d_per_tensor", net.model(&["y"]), Settings { per_channel: false, ..Settings::default() });
    let mut net = behind();
    net.weight("b", &[2]).node("Conv", &["c", "w", "b"], "d").node("Conv", &["d", "w", "b"], "y");
    refined("conv_shared_weights", net.model(&["y"]));
}

#[test]
fn products() {
    let mut net = Net::new("x");
    net.weight("w", &[2, 3]).node("MatMul", &["x", "w"], "h").node("Relu", &["h"], "r");
    net.weight("v", &[3, 2]).node("MatMul", &["r", "v"], "y");
    refined("matmul", net.model(&["y"]));
    let mut net = Net::new("x");
    net.weight("w", &[3, 2]).weight("b", &[3]).node("Gemm", &["x", "w", "b"], "h");
    net.graph.node[0].set_int("transB", 1);
    net.weight("v", &[3, 2]).weight("d", &[1, 2]).node("Gemm", &["h", "v", "d"], "y");
    refined("gemm", net.model(&["y"]));
}

#[test]
fn sums_products_and_functions() {
    let mut net = behind();
    refined("add", between(net.node("Add", &["c", "x"], "s"), "s"));
    let mut net = behind();
    net.weight("k", &[2, 1, 1]);
    refined("mul_constant", between(net.node("Mul", &["c", "k"], "s"), "s"));
    let mut net = behind();
    refined("sigmoid", between(net.node("Sigmoid", &["c"], "g").node("Mul", &["c", "g"], "s"), "s"));
    let mut net = behind();
    refined("hard_swish", between(net.node("HardSwish", &["c"], "s"), "s"));
    let mut net = behind();
    net.scalar("three", 3.0).scalar("zero", 0.0).scalar("six", 6.0).node("Add", &["c", "three"], "a");
    net.node("Clip", &["a", "zero", "six"], "k").node("Mul", &["c", "k"], "m").node("Div", &["m", "six"], "s");
    refined("hard_swish_pattern", between(&mut net, "s"));
}

#[test]
fn limits() {
    let mut net = behind();
    refined("relu", between(net.node("Relu", &["c"], "r"), "r"));
    let mut net = behind();
    let read_twice = net.node("Relu", &["c"], "r").node("Add", &["c", "r"], "s");
    refined("relu_beside_another_reader", between(read_twice, "s"));
    let mut net = behind();
    net.scalar("zero", 0.0).scalar("six", 6.0);
    refined("clip", between(net.node("Clip", &["c", "zero", "six"], "r"), "r"));
    let mut net = behind();
    net.scalar("one", 1.0).scalar("six", 6.0);
    refined("clip_above_zero", between(net.node("Clip", &["c", "one", "six"], "r"), "r"));
}

#[test]
fn joining() {
    let mut net = behind();
    net.node("Relu", &["c"], "r").weight("u", &[2, 2, 1, 1]).node("Conv", &["r", "u"], "d");
    let net = net.node("Concat", &["d", "r"], "j");
    net.graph.node.last_mut().unwrap().set_int("axis", 1);
    net.weight("v", &[2, 4, 1, 1]).node("Conv", &["j", "v"], "y");
    refined("concat", net.model(&["y"]));
}

#[test]
fn pooling() {
    for (name, operator) in [("max_pool", "MaxPool"), ("average_pool", "AveragePool")] {
        let mut net = behind();
        refined(name, between(net.node(operator, &["c"], "p").ints("kernel_shape", &[2, 2]), "p"));
    }
    let mut net = behind();
    refined("global_average_pool", between(net.node("GlobalAveragePool", &["c"], "p"), "p"));
}

#[test]
fn what_moves_numbers() {
    let mut net = behind();
    net.integers("sizes", &[0, -1]).integers("axes", &[0]).node("Reshape", &["c", "sizes"], "a");
    net.node("Transpose", &["a"], "b").ints("perm", &[1, 0]).node("Unsqueeze", &["b", "axes"], "d");
    net.node("Squeeze", &["d", "axes"], "e").node("Flatten", &["e"], "f");
    net.weight("v", &[2, 2]).node("MatMul", &["f", "v"], "y");
    refined("moves", net.model(&["y"]));
    let mut net = behind();
    net.constant(TensorProto::of_floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]));
    refined("resize", between(net.node("Resize", &["c", "", "scales"], "u"), "u"));
    let mut net = Net::new("x");
    net.weight("table", &[4, 2]).weight("w", &[2, 2]).node("Gather", &["table", "x"], "e").node(
        "MatMul",
        &["e", "w"],
        "y",
    );
    refined("gather", net.model(&["y"]));
}

#[test]
fn what_stays_in_float() {
    let mut net = behind();
    net.node("Softmax", &["c"], "s").node("Transpose", &["s"], "y").node("Sigmoid", &["c"], "z");
    refined("tails_in_float", net.model(&["y", "z"]));
    let inner = |input: &str| {
        let node = vec![NodeProto::new("Neg", "inner", &[input], &["r"])];
        GraphProto { node, output: vec![value("r")], ..Default::default() }
    };
    let mut net = behind();
    net.node("Relu", &["c"], "r")
        .node("If", &["x"], "i")
        .inner("then_branch", inner("c"))
        .inner("else_branch", inner("w"));
    net.node("Add", &["r", "i"], "s");
    refined("subgraphs", between(&mut net, "s"));
}

#[test]
fn at_every_run() {
    let mut net = Net::new("x");
    net.weight("w", &[2, 3]).weight("v", &[2, 3]).node("MatMul", &["x", "w"], "a").node("MatMul", &["x", "v"], "b");
    dynamic("dynamic_matmul", net.node("Add", &["a", "b"], "y").model(&["y"]));
    let mut net = Net::new("x");
    net.weight("w", &[3, 2]).weight("b", &[3]).node("Gemm", &["x", "w", "b"], "y");
    net.graph.node[0].set_int("transB", 1);
    dynamic("dynamic_gemm", net.model(&["y"]));
    let mut net = Net::new("x");
    net.weight("table", &[4, 2]).node("Gather", &["table", "x"], "e").node("Relu", &["e"], "y");
    dynamic("dynamic_gather", net.model(&["y"]));
    let mut net = Net::new("x");
    net.weight("w", &[1, 8, 3]).weight("r", &[1, 8, 2]).node("LSTM", &["x", "w", "r"], "y");
    net.graph.node[0].set_int("hidden_size", 2);
    dynamic("dynamic_lstm", net.model(&["y"]));
}

#[test]
fn graphs_inside_at_every_run() {
    let branch = |result: &str| {
        let mut net = Net::default();
        net.weight("w_of_both", &[2, 3]).node("MatMul", &["x", "w_of_both"], "p");
        net.node("MatMul", &["x", "w_outside"], "q").node("Add", &["p", "q"], result);
        GraphProto { output: vec![value(result)], ..net.graph }
    };
    let mut net = Net::new("x");
    net.weight("w_outside", &[2, 3]).node("If", &["c"], "i");
    net.graph.input.push(value("c"));
    net.inner("then_branch", branch("s")).inner("else_branch", branch("t"));
    net.weight("v", &[3, 2]).node("MatMul", &["i", "v"], "y");
    dynamic("dynamic_subgraphs", net.model(&["y"]));
}
