//! Small changes of form that let a rule match: factors of `Gemm` go into its constants, its bias becomes one value a column or
//! a sum after it, and `HardSwish` and `HardSigmoid` become sums, limits and products.

use std::collections::HashMap;

use crate::onnx::graph::{Index, Names};
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto};
use crate::quantize::rules::pool::is_other_in_integers;

/// Changes what it can, and leaves the rest.
pub(super) fn fold(graph: &mut GraphProto) {
    let mut fold = Fold { names: Names::of(graph), index: Index::new(graph), graph, made: Vec::new() };
    let mut changed: HashMap<usize, Vec<NodeProto>> = HashMap::new();
    for (place, node) in graph.node.iter().enumerate().filter(|(_, node)| node.is_standard()) {
        let nodes = match node.operator() {
            "Gemm" => fold.gemm(node),
            // Of two, which is what nets with shortcuts have, it is the sum that has a rule.
            "Sum" if node.input.len() == 2 => Some(vec![NodeProto { op_type: Some("Add".to_owned()), ..node.clone() }]),
            "AveragePool" if is_other_in_integers(node) => fold.apart(node),
            "HardSigmoid" | "HardSwish" => fold.hard(node),
            _ => None,
        };
        changed.extend(nodes.map(|nodes| (place, nodes)));
    }
    let made = fold.made;
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

/// A graph that is looked at, and the constants that come to it.
struct Fold<'a> {
    graph: &'a GraphProto,
    index: Index<'a>,
    names: Names,
    made: Vec<TensorProto>,
}

/// Each gives the nodes in a node's place, where there are others.
impl Fold<'_> {
    fn gemm(&mut self, node: &NodeProto) -> Option<Vec<NodeProto>> {
        let Fold { index, names, made, .. } = self;
        let floats = |place: usize| {
            let tensor = index.constant(node.source(place)?)?;
            Some((tensor.label(), tensor.shape().ok()?, tensor.floats().ok()?))
        };
        let (alpha, beta) = (node.float("alpha").unwrap_or(1.0), node.float("beta").unwrap_or(1.0));
        let (weight, shape, mut weights) = floats(1).filter(|(_, _, values)| !values.is_empty())?;
        let ([rows, width], output) = (<[usize; 2]>::try_from(shape).ok()?, node.result(0)?);
        let turned = node.int("transB").unwrap_or(0) != 0;
        let columns = if turned { rows } else { width };
        let mut changed = node.clone();
        if alpha != 1.0 {
            weights.iter_mut().for_each(|value| *value *= alpha);
            changed.input[1] = names.fresh(&format!("{weight}_scaled"));
            made.push(TensorProto::of_floats(&changed.input[1], &[rows, width], &weights));
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
        let as_it_is = || (changed != *node).then(|| vec![changed.clone()]);
        let (Some(input), Some(bias)) = (changed.source(0), changed.source(2)) else { return as_it_is() };
        let one_each =
            index.constant(bias).is_some_and(|bias| i64::try_from(columns).is_ok_and(|size| bias.dims == [size]));
        if one_each
            || made.iter().any(|made| made.label() == bias)
            || beta != 1.0
            || node.int("transA").unwrap_or(0) != 0
        {
            return as_it_is();
        }
        // What is added is no bias of the columns: the runtime made one node of two, of which the product can be quantised.
        let mut factor = changed.input[1].clone();
        if turned {
            made.retain(|made| made.label() != factor);
            factor = names.fresh(&format!("{weight}_turned"));
            let values: Vec<f32> =
                (0..weights.len()).map(|place| weights[place % rows * width + place / rows]).collect();
            made.push(TensorProto::of_floats(&factor, &[width, rows], &values));
        }
        let product = names.fresh(&format!("{output}_product"));
        let sum = names.fresh(&format!("{}_sum", node.label()));
        Some(vec![
            NodeProto::new("MatMul", node.label(), &[input, &factor], &[&product]),
            NodeProto::new("Add", &sum, &[&product, bias], &[output]),
        ])
    }

    /// An operator that the runtime must not take for its INT8 form, which it does where 8-bit numbers are right before and right
    /// behind: a node behind it that lets everything pass.
    fn apart(&mut self, node: &NodeProto) -> Option<Vec<NodeProto>> {
        let Fold { graph, index, names, made } = self;
        let output = node.result(0)?;
        let readers = index.consumers.get(output)?;
        if readers.iter().all(|place| graph.node[*place].operator() == "Max") {
            return None;
        }
        let [lowest, before, label] = ["lowest", "before", "pass"].map(|what| names.fresh(&format!("{output}_{what}")));
        made.push(TensorProto::of_floats(&lowest, &[], &[f32::MIN]));
        let mut changed = node.clone();
        changed.output[0].clone_from(&before);
        Some(vec![changed, NodeProto::new("Max", &label, &[&before, &lowest], &[output])])
    }

    /// `HardSigmoid(x) = clip(x + beta / alpha, 0, 1 / alpha) * alpha`, and `HardSwish(x)` is that with 1/6 and 1/2, times x. It pays
    /// only beside 8-bit neighbours, so it is done where one of the operators that work on them makes x.
    fn hard(&mut self, node: &NodeProto) -> Option<Vec<NodeProto>> {
        let Fold { graph, index, names, made } = self;
        let (input, output) = node.source(0).zip(node.result(0))?;
        let maker = &graph.node[*index.producers.get(input)?];
        if !matches!(
            maker.operator(),
            "Conv" | "Gemm" | "MatMul" | "Add" | "Mul" | "Relu" | "Clip" | "GlobalAveragePool"
        ) {
            return None;
        }
        let swish = node.operator() == "HardSwish";
        let (alpha, beta) = match swish {
            true => (1.0 / 6.0, 0.5),
            false => (node.float("alpha").unwrap_or(0.2), node.float("beta").unwrap_or(0.5)),
        };
        // One so steep is a step, which has no steps of its own.
        if !(alpha > 0.0 && alpha < 100.0 && beta.is_finite()) {
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
        let mut fresh =
            |what: &str| (names.fresh(&format!("{output}_{what}")), names.fresh(&format!("{label}_{what}")));
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
}
