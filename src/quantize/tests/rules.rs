use super::net::{Net, ranges, value};
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto};
use crate::quantize::{Error, Left, Method, Ranges, Rewritten, Settings, observed, prepare, rewrite};

fn chain() -> ModelProto {
    let mut net = Net::new("x");
    net.weight("w", &[2, 2, 1, 1]).weight("v", &[2, 2, 1, 1]).node("Conv", &["x", "w"], "c").node("Relu", &["c"], "r");
    net.node("Conv", &["r", "v"], "y").model(&["y"])
}

fn made(model: &ModelProto, settings: &Settings) -> Rewritten {
    rewrite(model, &ranges(model), settings).unwrap()
}

fn reason(rewritten: &Rewritten, node: &str) -> String {
    let find = |left: &&Left| left.node == node;
    rewritten.left.iter().find(find).map(|left| left.reason.clone()).unwrap_or_default()
}

#[test]
fn only_the_ranges_that_are_used_are_asked_for() {
    let settings = Settings::default();
    assert_eq!(observed(&chain(), &settings), ["r", "x", "y"]);
    assert!(observed(&chain(), &Settings { method: Method::Dynamic, ..settings }).is_empty());
}

#[test]
fn nodes_stay_in_float_as_asked() {
    let by_name = Settings { exclude: vec!["n_c".into()], ..Settings::default() };
    let rewritten = made(&chain(), &by_name);
    assert_eq!(rewritten.quantized, ["n_y"]);
    assert_eq!(reason(&rewritten, "n_c"), "excluded as asked");
    assert_eq!(reason(&rewritten, "n_r"), "its input is not on 8-bit numbers");
    let for_accuracy = Settings { keep_float: ["n_y".to_owned()].into(), ..Settings::default() };
    let rewritten = made(&chain(), &for_accuracy);
    assert_eq!(rewritten.quantized, ["n_c", "n_r"]);
    assert_eq!(reason(&rewritten, "n_y"), "kept in float for accuracy");
    let all = Settings { exclude: vec!["Conv".into()], ..Settings::default() };
    let error = rewrite(&chain(), &ranges(&chain()), &all).unwrap_err();
    assert_eq!(error, Error::NothingToQuantize { why: "Conv n_c: excluded as asked".into() });
}

#[test]
fn a_tensor_without_a_range_leaves_its_nodes_in_float() {
    let mut known = ranges(&chain());
    known.remove("y");
    let rewritten = rewrite(&chain(), &known, &Settings::default()).unwrap();
    assert_eq!(rewritten.quantized, ["n_c", "n_r"]);
    assert_eq!(reason(&rewritten, "n_y"), "no range is known of \"y\"");
    known.get_mut("r").unwrap().high = f32::INFINITY;
    known.remove("c");
    let rewritten = rewrite(&chain(), &known, &Settings::default());
    assert!(matches!(rewritten, Err(Error::NothingToQuantize { .. })), "{rewritten:?}");
    assert!(matches!(rewrite(&chain(), &Ranges::new(), &Settings::default()), Err(Error::NothingToQuantize { .. })));
}

#[test]
fn inputs_and_outputs_keep_their_names_and_what_is_said_of_them() {
    let mut model = chain();
    model.graph.as_mut().unwrap().value_info = ["c", "r", "w", "y"].map(value).to_vec();
    model.set_property("author", "somebody");
    let made = made(&model, &Settings::default()).model;
    let graph = made.graph.as_ref().unwrap();
    assert_eq!((&graph.input, &graph.output), (&vec![value("x")], &vec![value("y")]));
    // What became of c, a Relu's input, and of w is gone.
    assert_eq!(graph.value_info, [value("r"), value("y")]);
    assert_eq!(made.property("author"), Some("somebody"));
    assert_eq!(made.producer_name.as_deref(), Some("edge-service"));
    assert!(graph.initializer.iter().all(|tensor| tensor.label() != "w"));
}

#[test]
fn weights_that_callers_may_replace_or_that_are_computed_stay() {
    let mut model = chain();
    model.graph.as_mut().unwrap().input.push(value("w"));
    let rewritten = made(&model, &Settings::default());
    assert_eq!(reason(&rewritten, "n_c"), "callers may replace its weights");
    let mut net = Net::new("x");
    net.weight("w", &[2, 2, 1, 1]).weight("v", &[2, 2, 1, 1]).node("Neg", &["w"], "n").node("Conv", &["x", "n"], "c");
    net.node("Conv", &["c", "v"], "y");
    let rewritten = made(&net.model(&["y"]), &Settings::default());
    assert_eq!(reason(&rewritten, "n_c"), "its weights are computed at run time");
}

#[test]
fn a_cut_is_kept_where_numbers_are_shared() {
    // The result of the Relu goes by the range of the Concat only where that has no numbers below 0.
    let mut net = Net::new("x");
    net.weight("w", &[2, 2, 1, 1]).weight("v", &[2, 4, 1, 1]).node("Conv", &["x", "w"], "c").node("Relu", &["c"], "r");
    net.node("Conv", &["x", "w"], "d").node("Concat", &["r", "d"], "j").node("Conv", &["j", "v"], "y");
    let model = net.model(&["y"]);
    let scales = |known: &Ranges| {
        let rewritten = rewrite(&model, known, &Settings::default()).unwrap();
        let graph = rewritten.model.graph.unwrap();
        let node = graph.node.iter().find(|node| node.label() == "r_QuantizeLinear").unwrap();
        (node.input[1].clone(), node.input[2].clone())
    };
    assert!(observed(&model, &Settings::default()).contains(&"r".to_owned()));
    let mut known = ranges(&model);
    assert_eq!(scales(&known), ("r_scale".into(), "r_zero_point".into()));
    known.get_mut("j").unwrap().low = 0.0;
    assert_eq!(scales(&known), ("j_scale".into(), "j_zero_point".into()));
}

#[test]
fn older_opsets_get_one_scale_a_tensor() {
    let mut model = chain();
    model.set_opset("", 12);
    model.functions.push(Default::default());
    let prepared = prepare(model).unwrap();
    let made = made(&prepared, &Settings::default()).model;
    assert_eq!(made.opset(), 12);
    let graph = made.graph.unwrap();
    assert!(graph.node.iter().all(|node| node.int("axis").is_none()));
    assert!(
        graph.initializer.iter().filter(|tensor| tensor.label().ends_with("scale")).all(|scale| scale.dims.is_empty())
    );
}

#[test]
fn a_long_chain_is_rewritten_without_recursion() {
    let mut net = Net::new("x");
    net.weight("w", &[1, 1, 1, 1]).node("Conv", &["x", "w"], "t0");
    for place in 0..3000 {
        net.node("Transpose", &[&format!("t{place}")], &format!("t{}", place + 1));
    }
    net.node("Conv", &["t3000", "w"], "y");
    let rewritten = made(&net.model(&["y"]), &Settings::default());
    assert_eq!(rewritten.quantized.len(), 3002);
}

#[test]
fn a_tensor_that_a_graph_inside_reads_keeps_its_name() {
    for operator in ["Relu", "Mul"] {
        let inner = || {
            let node = vec![NodeProto::new("Neg", "inner", &["s"], &["r"])];
            GraphProto { node, output: vec![value("r")], ..Default::default() }
        };
        let mut net = Net::new("x");
        net.weight("w", &[2, 2, 1, 1]).weight("v", &[2, 2, 1, 1]).scalar("k", 0.5).node("Conv", &["x", "w"], "c");
        let inputs: &[&str] = if operator == "Mul" { &["c", "k"] } else { &["c"] };
        net.node(operator, inputs, "s").node("Conv", &["s", "v"], "y").node("If", &["x"], "z");
        net.inner("then_branch", inner()).inner("else_branch", inner());
        // The check after rewriting finds a name that is gone.
        let rewritten = made(&net.model(&["y", "z"]), &Settings::default());
        assert!(rewritten.quantized.contains(&"n_s".to_owned()), "{operator}: {:?}", rewritten.left);
    }
}
