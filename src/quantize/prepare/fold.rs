//! Small changes of form that let a rule match: factors of `Gemm` go into its constants, its bias becomes one value a column, and
//! `HardSwish` and `HardSigmoid` become sums, limits and products.

use std::collections::HashMap;

use crate::onnx::graph::{Index, Names};
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};

/// Changes what it can, and leaves the rest.
pub(super) fn fold(graph: &mut GraphProto) {
    let mut names = Names::of(graph);
    let index = Index::new(graph);
    let mut made: Vec<TensorProto> = Vec::new();
    let mut changed: HashMap<usize, Vec<NodeProto>> = HashMap::new();
    for (place, node) in graph.node.iter().enumerate().filter(|(_, node)| node.is_standard()) {
        let nodes = match node.operator() {
            "Gemm" => gemm(node, &index, &mut names, &mut made).map(|node| vec![node]),
            // Of two, which is what nets with shortcuts have, it is the sum that has a rule.
            "Sum" if node.input.len() == 2 => Some(vec![NodeProto { op_type: Some("Add".to_owned()), ..node.clone() }]),
            "HardSigmoid" | "HardSwish" => hard(node, &index, graph, &mut names, &mut made),
            _ => None,
        };
        changed.extend(nodes.map(|nodes| (place, nodes)));
    }
    if changed.is_empty() {
        return;
    }
    let read: std::collections::HashSet<String> =
        graph.node.iter().flat_map(|node| node.input.iter().cloned()).collect();
    let nodes = std::mem::take(&mut graph.node);
    let put = |(place, node)| changed.remove(&place).unwrap_or_else(|| vec![node]);
    graph.node = nodes.into_iter().enumerate().flat_map(put).collect();
    graph.initializer.extend(made);
    // Constants that were read and no longer are.
    let index = Index::new(graph);
    let unused = |name: &str| read.contains(name) && index.readings(name) == 0 && !index.captured.contains(name);
    let unused: Vec<String> = index
        .initializers
        .keys()
        .filter(|name| unused(name) && !index.outputs.contains(*name))
        .map(|name| (*name).to_owned())
        .collect();
    graph.initializer.retain(|tensor| !unused.iter().any(|name| name == tensor.label()));
}

fn gemm(node: &NodeProto, index: &Index, names: &mut Names, made: &mut Vec<TensorProto>) -> Option<NodeProto> {
    let floats = |place: usize| {
        let tensor = index.constant(node.source(place)?)?;
        Some((tensor.label(), tensor.shape().ok()?, tensor.floats().ok()?))
    };
    let (alpha, beta) = (node.float("alpha").unwrap_or(1.0), node.float("beta").unwrap_or(1.0));
    let (weight, shape, weights) = floats(1).filter(|(_, _, values)| !values.is_empty())?;
    let columns = *shape.get(if node.int("transB").unwrap_or(0) != 0 { 0 } else { 1 })?;
    let mut changed = node.clone();
    if alpha != 1.0 {
        let values: Vec<f32> = weights.iter().map(|value| value * alpha).collect();
        changed.input[1] = names.fresh(&format!("{weight}_scaled"));
        made.push(TensorProto::of_floats(&changed.input[1], &shape, &values));
        changed.take("alpha");
    }
    if let Some((bias, shape, values)) = floats(2) {
        let one_each = shape == [columns];
        let spread: Option<Vec<f32>> = match values.len() {
            1 => Some(vec![values[0]; columns]),
            count if count == columns && (shape == [columns] || shape == [1, columns]) => Some(values),
            _ => None,
        };
        if let Some(spread) = spread.filter(|_| !one_each || beta != 1.0) {
            let values: Vec<f32> = spread.iter().map(|value| value * beta).collect();
            changed.input[2] = names.fresh(&format!("{bias}_scaled"));
            made.push(TensorProto::of_floats(&changed.input[2], &[columns], &values));
            changed.take("beta");
        }
    }
    (changed != *node).then_some(changed)
}

/// `HardSigmoid(x) = clip(x + beta / alpha, 0, 1 / alpha) * alpha`, and `HardSwish(x)` is that with 1/6 and 1/2, times x. It pays
/// only beside 8-bit neighbours, so it is done where one of the operators that work on them makes x.
fn hard(
    node: &NodeProto,
    index: &Index,
    graph: &GraphProto,
    names: &mut Names,
    made: &mut Vec<TensorProto>,
) -> Option<Vec<NodeProto>> {
    let (input, output) = node.source(0).zip(node.result(0))?;
    let maker = &graph.node[*index.producers.get(input)?];
    if !matches!(maker.operator(), "Conv" | "Gemm" | "MatMul" | "Add" | "Mul" | "Relu" | "Clip" | "GlobalAveragePool") {
        return None;
    }
    let swish = node.operator() == "HardSwish";
    let (alpha, beta) = match swish {
        true => (1.0 / 6.0, 0.5),
        false => (node.float("alpha").unwrap_or(0.2), node.float("beta").unwrap_or(0.5)),
    };
    if !(alpha > 0.0 && alpha.is_finite() && beta.is_finite()) {
        return None;
    }
    let mut constant = |what: &str, value: f32| {
        let name = names.fresh(&format!("{output}_{what}"));
        made.push(TensorProto::of_floats(&name, &[], &[value]));
        name
    };
    // A sixth of six is not six sixths in floats: the limit is rounded to what was meant.
    let limit = 1.0 / alpha;
    let limit = if (limit - limit.round()).abs() < 1e-5 { limit.round() } else { limit };
    let shift = beta * limit;
    let (shift, low, high, factor) =
        (constant("shift", shift), constant("low", 0.0), constant("high", limit), constant("factor", alpha));
    let label = node.label();
    let mut fresh = |what: &str| (names.fresh(&format!("{output}_{what}")), names.fresh(&format!("{label}_{what}")));
    let (sum, cut, gate) = (fresh("sum"), fresh("cut"), fresh("gate"));
    let last = if swish { gate.0.as_str() } else { output };
    let mut nodes = vec![
        NodeProto::new("Add", &sum.1, &[input, &shift], &[&sum.0]),
        NodeProto::new("Clip", &cut.1, &[&sum.0, &low, &high], &[&cut.0]),
        NodeProto::new("Mul", if swish { &gate.1 } else { label }, &[&cut.0, &factor], &[last]),
    ];
    if swish {
        nodes.push(NodeProto::new("Mul", label, &[input, &gate.0], &[output]));
    }
    Some(nodes)
}
