//! Opsets 7 to 12 brought to 13, operator by operator: only those whose form changed between them.
//!
//! Source: the change log of the ONNX operators.

use std::collections::{HashMap, HashSet};

use crate::onnx::graph::Names;
use crate::onnx::proto::{ElementType, GraphProto, ModelProto, NodeProto, TensorProto, TypeProtoValue, ValueInfoProto};

/// Brings a model to a version of the standard operators. The model is as it was where that fails; the text names the operator.
pub(super) fn upgrade(model: &mut ModelProto, from: i64, to: i64) -> Result<(), String> {
    let Some(graph) = &model.graph else { return Ok(()) };
    if !model.functions.is_empty() {
        return Err("local functions".to_owned());
    }
    let mut names = Names::of(graph);
    let mut changed = graph.clone();
    upgrade_graph(&mut changed, from, &mut names)?;
    model.graph = Some(changed);
    model.set_opset("", to);
    Ok(())
}

struct Upgrade<'a> {
    from: i64,
    constants: HashMap<String, TensorProto>,
    names: &'a mut Names,
    types: HashMap<String, (Option<i32>, Option<usize>)>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

fn upgrade_graph(graph: &mut GraphProto, from: i64, names: &mut Names) -> Result<(), String> {
    let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let types = values.map(|value| (value.label().to_owned(), about(value))).collect();
    let nodes = std::mem::take(&mut graph.node);
    let resized = |node: &NodeProto| node.operator() == "Resize";
    let read: HashSet<&str> =
        nodes.iter().filter(|node| resized(node)).flat_map(|node| node.input.iter().map(String::as_str)).collect();
    let constants = graph.initializer.iter().filter(|tensor| read.contains(tensor.label()));
    let constants = constants.map(|tensor| (tensor.label().to_owned(), tensor.clone())).collect();
    let mut upgrade =
        Upgrade { from, constants, names, types, nodes: Vec::with_capacity(nodes.len()), initializers: Vec::new() };
    for mut node in nodes {
        node.subgraphs_mut().try_for_each(|inner| upgrade_graph(inner, from, upgrade.names))?;
        match node.is_standard() {
            true => upgrade.node(node)?,
            false => upgrade.nodes.push(node),
        }
    }
    graph.node = upgrade.nodes;
    graph.initializer.extend(upgrade.initializers);
    Ok(())
}

/// Element type and rank of a value, where they are said.
fn about(value: &ValueInfoProto) -> (Option<i32>, Option<usize>) {
    match value.r#type.as_ref().and_then(|r#type| r#type.value.as_ref()) {
        Some(TypeProtoValue::TensorType(tensor)) => {
            (tensor.elem_type, tensor.shape.as_ref().map(|shape| shape.dim.len()))
        }
        _ => (None, None),
    }
}

impl Upgrade<'_> {
    /// Adds a constant, and gives its name.
    fn constant(&mut self, node: &NodeProto, what: &str, mut tensor: TensorProto) -> String {
        let name = self.names.fresh(&format!("{}_{what}", node.result(0).unwrap_or_default()));
        tensor.name = Some(name.clone());
        self.initializers.push(tensor);
        name
    }

    /// Makes an input of an attribute of integers.
    fn move_ints(&mut self, node: &mut NodeProto, attribute: &str, place: usize) {
        if let Some(values) = node.take(attribute).map(|attribute| attribute.ints) {
            let name = self.constant(node, attribute, TensorProto::of_integers("", &values));
            set_input(node, place, name);
        }
    }

    /// Makes an input of a float attribute.
    fn move_float(&mut self, node: &mut NodeProto, attribute: &str, place: usize) {
        if let Some(value) = node.take(attribute).and_then(|attribute| attribute.f) {
            let name = self.constant(node, attribute, TensorProto::of_floats("", &[], &[value]));
            set_input(node, place, name);
        }
    }

    fn node(&mut self, mut node: NodeProto) -> Result<(), String> {
        let from = self.from;
        let other_than_float = {
            let element = node.source(0).and_then(|name| self.types.get(name)).and_then(|(element, _)| *element);
            element.is_some_and(|element| element != ElementType::Float as i32 && element != 0)
        };
        match node.operator() {
            "BatchNormalization" if from < 9 && node.int("spatial") == Some(0) => {
                return Err("BatchNormalization with spatial = 0".to_owned());
            }
            "BatchNormalization" if from < 9 => drop(node.take("spatial")),
            "Scan" if from < 9 => return Err("Scan of opset 8".to_owned()),
            "Upsample" if from < 10 => {
                if let Some(scales) = node.take("scales").map(|attribute| attribute.floats) {
                    let name = self.constant(&node, "scales", TensorProto::of_floats("", &[scales.len()], &scales));
                    set_input(&mut node, 1, name);
                }
                as_resize(&mut node);
            }
            "Resize" if from < 11 => {
                self.check_nearest(&node)?;
                as_resize(&mut node);
                if self.shrinks(&node) {
                    node.set_text("nearest_mode", "ceil");
                }
            }
            "Slice" if from < 10 => {
                for (place, attribute) in [(1, "starts"), (2, "ends"), (3, "axes")] {
                    self.move_ints(&mut node, attribute, place);
                }
            }
            "TopK" if from < 10 => {
                if let Some(k) = node.take("k").and_then(|attribute| attribute.i) {
                    let name = self.constant(&node, "k", TensorProto::of_integers("", &[k]));
                    set_input(&mut node, 1, name);
                }
            }
            "Dropout" if from < 12 => drop(node.take("ratio")),
            "Scatter" if from < 11 => node.op_type = Some("ScatterElements".to_owned()),
            "Clip" | "Pad" if from < 11 && other_than_float => {
                return Err(format!("{} of other than FP32", node.operator()));
            }
            "Clip" if from < 11 => {
                self.move_float(&mut node, "min", 1);
                self.move_float(&mut node, "max", 2);
            }
            "Pad" if from < 11 => {
                self.move_ints(&mut node, "pads", 1);
                self.move_float(&mut node, "value", 2);
            }
            "Squeeze" | "Unsqueeze" | "ReduceSum" => self.move_ints(&mut node, "axes", 1),
            "Split" => self.move_ints(&mut node, "split", 1),
            "Softmax" | "LogSoftmax" | "Hardmax" => return self.softmax(node),
            _ => {}
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The factors of a resizing, where they are constant. They stand in the place before the last of opset 11's.
    fn factors(&self, node: &NodeProto) -> Option<Vec<f32>> {
        let name = node.input.iter().skip(1).rfind(|name| !name.is_empty())?;
        self.constants.get(name)?.floats().ok()
    }

    fn shrinks(&self, node: &NodeProto) -> bool {
        self.factors(node).is_some_and(|factors| factors.iter().any(|factor| *factor < 1.0))
    }

    /// The runtime's nearest neighbour of opset 10 is the one above where an axis shrinks and the one below where it grows; later
    /// ones have one rule for all axes. Factors that are computed are those of exporters, which let axes grow.
    fn check_nearest(&self, node: &NodeProto) -> Result<(), String> {
        let grows = |factors: Vec<f32>| factors.iter().any(|factor| *factor > 1.0);
        let two_rules = self.shrinks(node) && self.factors(node).is_some_and(grows);
        match node.text("mode").unwrap_or("nearest") {
            "nearest" if two_rules => Err("Resize to the nearest, up and down at once".to_owned()),
            _ => Ok(()),
        }
    }

    /// Before 13 the axes from the one named on are one: the same as now only where that is the last.
    fn softmax(&mut self, mut node: NodeProto) -> Result<(), String> {
        let axis = node.int("axis").unwrap_or(1);
        node.set_int("axis", -1);
        let (Some(input), Some(output)) = (node.source(0), node.result(0)) else {
            return Err(node.operator().to_owned());
        };
        let (input, output) = (input.to_owned(), output.to_owned());
        let rank = self.types.get(&input).or_else(|| self.types.get(&output)).and_then(|(_, rank)| *rank);
        let last = rank.is_some_and(|rank| i64::try_from(rank).is_ok_and(|rank| axis == rank - 1));
        if axis == -1 || last {
            self.nodes.push(node);
            return Ok(());
        }
        let mut fresh = |what: &str| self.names.fresh(&format!("{output}_{what}"));
        let (shape, flat, soft) = (fresh("shape"), fresh("flat"), fresh("soft"));
        let labels = [fresh("Shape"), fresh("Flatten"), fresh("Reshape")];
        node.input[0].clone_from(&flat);
        node.output[0].clone_from(&soft);
        self.nodes.push(NodeProto::new("Shape", &labels[0], &[&input], &[&shape]));
        self.nodes.push(NodeProto::new("Flatten", &labels[1], &[&input], &[&flat]).with_int("axis", axis));
        self.nodes.push(node);
        self.nodes.push(NodeProto::new("Reshape", &labels[2], &[&soft, &shape], &[&output]));
        Ok(())
    }
}

fn set_input(node: &mut NodeProto, place: usize, name: String) {
    while node.input.len() <= place {
        node.input.push(String::new());
    }
    node.input[place] = name;
}

/// The resizing of opsets 7 to 10, in the words of 11.
fn as_resize(node: &mut NodeProto) {
    node.op_type = Some("Resize".to_owned());
    node.input.insert(node.input.len().min(1), String::new());
    node.set_text("coordinate_transformation_mode", "asymmetric");
    node.set_text("nearest_mode", "floor");
    if node.text("mode") == Some("bilinear") {
        node.set_text("mode", "linear");
    }
}
