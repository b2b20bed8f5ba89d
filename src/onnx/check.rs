//! Whether a model holds together: every name made once, before it is read, by somebody.

use std::collections::HashSet;

use super::graph::{captures, order};
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use super::tensor::TensorFault;

/// What is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is none.
    #[error("it has no graph")]
    NoGraph,
    /// Two makers of one tensor.
    #[error("{0:?} is made twice")]
    Duplicate(String),
    /// A tensor that needs itself.
    #[error("the node {0:?} needs its own result: the graph has a circle")]
    Circle(String),
    /// A tensor that nobody makes: often an initialiser that is missing.
    #[error("{node:?} reads {tensor:?}, which nothing makes: an initialiser or a node is missing")]
    Undefined {
        /// The reader.
        node: String,
        /// What it reads.
        tensor: String,
    },
    /// A result that nobody makes.
    #[error("the output {0:?} is made by nothing")]
    Output(String),
    /// A node without an operator.
    #[error("the node {0:?} names no operator")]
    Operator(String),
    /// A constant that cannot be read.
    #[error(transparent)]
    Tensor(#[from] TensorFault),
}

/// Checks a model's graph, the graphs inside it and its local functions.
pub fn check(model: &ModelProto) -> Result<(), Fault> {
    let graph = model.graph.as_ref().ok_or(Fault::NoGraph)?;
    check_graph(graph, &HashSet::new())?;
    for function in &model.functions {
        let defined = function.input.iter().map(String::as_str).collect();
        check_nodes(&function.node, defined, &HashSet::new())?;
    }
    Ok(())
}

fn check_graph(graph: &GraphProto, outside: &HashSet<&str>) -> Result<(), Fault> {
    let mut defined: HashSet<&str> = HashSet::new();
    for input in graph.input.iter().map(ValueInfoProto::label) {
        if !defined.insert(input) {
            return Err(Fault::Duplicate(input.to_owned()));
        }
    }
    let sparse = graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref());
    let mut constants: HashSet<&str> = HashSet::new();
    for tensor in graph.initializer.iter().chain(sparse) {
        // A constant may stand among the inputs too: it is then their default.
        if !constants.insert(tensor.label()) {
            return Err(Fault::Duplicate(tensor.label().to_owned()));
        }
    }
    graph.initializer.iter().try_for_each(|tensor| tensor.elements().map(drop))?;
    defined.extend(constants);
    let defined = check_nodes(&graph.node, defined, outside)?;
    for output in graph.output.iter().map(ValueInfoProto::label) {
        if !defined.contains(output) && !outside.contains(output) {
            return Err(Fault::Output(output.to_owned()));
        }
    }
    Ok(())
}

/// Checks nodes in whatever order they stand, and gives back every name that is known at their end.
fn check_nodes<'a>(
    nodes: &'a [NodeProto],
    mut defined: HashSet<&'a str>,
    outside: &HashSet<&str>,
) -> Result<HashSet<&'a str>, Fault> {
    for node in nodes {
        if node.operator().is_empty() {
            return Err(Fault::Operator(node.label().to_owned()));
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !defined.insert(output) {
                return Err(Fault::Duplicate(output.clone()));
            }
        }
    }
    for node in nodes {
        let read = node.input.iter().map(String::as_str).filter(|name| !name.is_empty());
        for name in read.chain(captures(node)) {
            if !defined.contains(name) && !outside.contains(name) {
                let node = if node.label().is_empty() { node.operator() } else { node.label() };
                return Err(Fault::Undefined { node: node.to_owned(), tensor: name.to_owned() });
            }
        }
    }
    order(nodes).map_err(|place| Fault::Circle(nodes[place].label().to_owned()))?;
    if nodes.iter().any(|node| node.subgraphs().next().is_some()) {
        let scope: HashSet<&str> = outside.iter().chain(&defined).copied().collect();
        for graph in nodes.iter().flat_map(NodeProto::subgraphs) {
            check_graph(graph, &scope)?;
        }
    }
    Ok(defined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::AttributeProto;

    fn value(name: &str) -> ValueInfoProto {
        ValueInfoProto { name: Some(name.into()), ..Default::default() }
    }

    fn model(nodes: Vec<NodeProto>) -> ModelProto {
        let graph = GraphProto { node: nodes, input: vec![value("x")], output: vec![value("y")], ..Default::default() };
        ModelProto { graph: Some(graph), ..Default::default() }
    }

    fn relu(name: &str, input: &str, output: &str) -> NodeProto {
        NodeProto::new("Relu", name, &[input], &[output])
    }

    #[test]
    fn a_graph_that_holds_together_passes_in_any_order() {
        assert_eq!(check(&model(vec![relu("b", "a", "y"), relu("a", "x", "a")])), Ok(()));
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(check(&ModelProto::default()), Err(Fault::NoGraph));
        let twice = model(vec![relu("a", "x", "y"), relu("b", "x", "y")]);
        assert_eq!(check(&twice), Err(Fault::Duplicate("y".into())));
        let circle = model(vec![relu("a", "y", "b"), relu("b", "b", "y")]);
        assert_eq!(check(&circle), Err(Fault::Circle("a".into())));
        let missing = model(vec![NodeProto::new("Conv", "c", &["x", "w"], &["y"])]);
        assert_eq!(check(&missing), Err(Fault::Undefined { node: "c".into(), tensor: "w".into() }));
        assert_eq!(check(&model(vec![relu("a", "x", "z")])), Err(Fault::Output("y".into())));
        let nameless = model(vec![NodeProto { op_type: None, ..relu("a", "x", "y") }]);
        assert_eq!(check(&nameless), Err(Fault::Operator("a".into())));
    }

    #[test]
    fn subgraphs_see_what_is_outside_and_are_checked_too() {
        let inner = |input: &str| GraphProto {
            node: vec![relu("i", input, "r")],
            output: vec![value("r")],
            ..Default::default()
        };
        let outer = |input: &str| {
            let mut node = NodeProto::new("If", "if", &["x"], &["y"]);
            node.attribute.push(AttributeProto { g: Some(Box::new(inner(input))), ..Default::default() });
            model(vec![relu("a", "x", "a"), node])
        };
        assert_eq!(check(&outer("a")), Ok(()));
        assert_eq!(check(&outer("gone")), Err(Fault::Undefined { node: "if".into(), tensor: "gone".into() }));
    }
}
