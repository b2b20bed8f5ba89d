//! Dynamic quantisation: weights become numbers in the file, activations at every run. Products become `MatMulInteger`, which ONNX
//! Runtime fuses with what stands around it; the layout is the one that it knows.

use std::collections::{HashMap, HashSet};

use super::emit::assemble;
use super::recurrent;
use super::{Verdicts, kept};
use crate::onnx::graph::{Index, Names};
use crate::onnx::proto::{ElementType, GraphProto, NodeProto, TensorProto};
use crate::quantize::rules::{View, dynamic_form};
use crate::quantize::scales::{Form, Weight};
use crate::quantize::{Integer, Settings};

/// The domain of the runtime's own operators.
pub(super) const VENDOR: &str = "com.microsoft";

struct Dynamic<'a, 'v> {
    view: View<'v>,
    names: &'v mut Names,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Numbers, scale and zero point of an activation.
    activations: HashMap<&'a str, [String; 3]>,
    /// Numbers, scale and zero point of a constant, by its name and whether it was turned.
    weights: HashMap<(&'a str, Form, bool), [String; 3]>,
}

/// The graph with its products and tables on 8-bit numbers, and what became of each node, of graphs inside it too.
pub(super) fn rewrite<'a>(graph: &'a GraphProto, settings: &Settings) -> (GraphProto, Verdicts<'a>) {
    rewrite_within(graph, settings, &mut Names::of(graph))
}

/// `names` are those of the outermost graph. Constants of graphs outside are not weights in here: the other graphs inside may
/// read them too.
fn rewrite_within<'a>(graph: &'a GraphProto, settings: &Settings, names: &mut Names) -> (GraphProto, Verdicts<'a>) {
    let index = Index::new(graph);
    let unknown = HashSet::new();
    // Scales a channel need no version here: MatMulInteger takes a vector of zero points at any.
    let view =
        View { index: &index, settings, opset: 13, marked: HashMap::new(), cut: HashSet::new(), unknown: &unknown };
    let mut dynamic = Dynamic {
        view,
        names,
        nodes: Vec::with_capacity(graph.node.len() * 3),
        initializers: Vec::new(),
        activations: HashMap::new(),
        weights: HashMap::new(),
    };
    let mut verdicts: Verdicts = Vec::with_capacity(graph.node.len());
    for node in &graph.node {
        let verdict = match kept(node, settings) {
            Some(reason) => Err(reason.to_owned()),
            None if node.subgraphs().next().is_some() => {
                let holder = dynamic.holder(node, settings, &mut verdicts);
                dynamic.nodes.push(holder);
                continue;
            }
            None => dynamic.node(node),
        };
        if verdict.is_err() {
            dynamic.nodes.push(node.clone());
        }
        verdicts.push((node, verdict.err()));
    }
    let read: HashSet<&str> = graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str)).collect();
    (assemble(graph, dynamic.nodes, dynamic.initializers, &read), verdicts)
}

impl<'a> Dynamic<'a, '_> {
    /// A node that holds graphs, with those rewritten.
    fn holder(&mut self, node: &'a NodeProto, settings: &Settings, verdicts: &mut Verdicts<'a>) -> NodeProto {
        let mut holder = node.clone();
        verdicts.push((node, Some("it holds graphs: what is in them counts by itself".to_owned())));
        for (changed, graph) in holder.subgraphs_mut().zip(node.subgraphs()) {
            let (rewritten, found) = rewrite_within(graph, settings, self.names);
            *changed = rewritten;
            verdicts.extend(found);
        }
        holder
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<(), String> {
        if !node.is_standard() {
            return Err(format!("an operator of the domain {}", node.domain.as_deref().unwrap_or_default()));
        }
        match node.operator() {
            "MatMul" => self.product(node, false),
            "Gemm" => {
                let plain = |name| node.float(name).is_none_or(|factor| factor == 1.0);
                if !plain("alpha") || !plain("beta") || node.int("transA").unwrap_or(0) != 0 {
                    return Err("it is more than a product and a sum".to_owned());
                }
                self.product(node, node.int("transB").unwrap_or(0) != 0)
            }
            "Gather" => self.table(node),
            "LSTM" => {
                let made = recurrent::lstm(node, &self.view, self.names)?;
                self.initializers.extend(made.initializers);
                self.nodes.push(made.node);
                Ok(())
            }
            "Conv" => Err("a convolution that is quantised at every run is slower than in float".to_owned()),
            _ => Err("dynamic quantisation is for matrix products".to_owned()),
        }
    }

    /// `MatMul` and `Gemm`.
    fn product(&mut self, node: &'a NodeProto, turned: bool) -> Result<(), String> {
        let (input, output) = self.view.ends(node)?;
        let name = node.source(1).ok_or("it has no second input")?;
        if !self.view.index.initializers.contains_key(name) {
            return Err("it has no constant weights in its graph".to_owned());
        }
        let rank = self.view.weight(name)?.dims.len();
        let axis = (self.view.settings.per_channel && rank == 2).then_some(1);
        let weight = self.weight(name, dynamic_form(self.view.settings, axis), turned)?;
        let activation = self.activation(input);
        let label = node.label();
        let product = self.add(
            "MatMulInteger",
            &format!("{label}_quant"),
            &[&activation[0], &weight[0], &activation[2], &weight[2]],
            None,
        );
        let cast = self.add("Cast", &format!("{label}_cast"), &[&product], None);
        if let Some(node) = self.nodes.last_mut() {
            node.set_int("to", ElementType::Float as i64);
        }
        let scales = self.add("Mul", &format!("{label}_scales"), &[&activation[1], &weight[1]], None);
        let bias = node.source(2).filter(|_| node.operator() == "Gemm");
        let scaled = self.add("Mul", &format!("{label}_scaled"), &[&cast, &scales], bias.is_none().then_some(output));
        if let Some(bias) = bias {
            self.add("Add", &format!("{label}_bias"), &[&scaled, bias], Some(output));
        }
        Ok(())
    }

    /// `Gather` from a constant table.
    fn table(&mut self, node: &'a NodeProto) -> Result<(), String> {
        let (name, output) = node.source(0).zip(node.result(0)).ok_or("it has no input or no result")?;
        if self.view.weight(name)?.dims.len() < 2 {
            return Err("its table is a list of single values".to_owned());
        }
        let form = Form { axis: None, integer: Integer::U8, reduced: false, symmetric: false };
        let [numbers, scale, zero] = self.weight(name, form, false)?;
        let gathered = self.names.fresh(&format!("{output}_quantized"));
        let mut gather = node.clone();
        gather.input[0] = numbers;
        gather.output[0].clone_from(&gathered);
        self.nodes.push(gather);
        self.add("DequantizeLinear", &format!("{output}_DequantizeLinear"), &[&gathered, &scale, &zero], Some(output));
        Ok(())
    }

    /// Adds a node of one result, and gives that result's name.
    fn add(&mut self, operator: &str, label: &str, inputs: &[&str], output: Option<&str>) -> String {
        let name = self.names.fresh(label);
        let output = output.map_or_else(|| self.names.fresh(&format!("{label}_output")), str::to_owned);
        self.nodes.push(NodeProto::new(operator, &name, inputs, &[&output]));
        output
    }

    /// An activation as numbers, once for all who read it.
    fn activation(&mut self, input: &'a str) -> [String; 3] {
        if let Some(known) = self.activations.get(input) {
            return known.clone();
        }
        let parts = ["_quantized", "_scale", "_zero_point"].map(|suffix| self.names.fresh(&format!("{input}{suffix}")));
        let name = self.names.fresh(&format!("{input}_QuantizeLinear"));
        let outputs = [parts[0].as_str(), parts[1].as_str(), parts[2].as_str()];
        self.nodes.push(NodeProto::new("DynamicQuantizeLinear", &name, &[input], &outputs));
        self.activations.insert(input, parts.clone());
        parts
    }

    /// A constant as numbers, once for all who read it in this form; `turned` exchanges rows and columns.
    fn weight(&mut self, name: &'a str, form: Form, turned: bool) -> Result<[String; 3], String> {
        if let Some(known) = self.weights.get(&(name, form, turned)) {
            return Ok(known.clone());
        }
        let tensor = self.view.weight(name)?;
        let turn = if turned { Some(transposed(tensor).ok_or("its weights have no rows and columns")?) } else { None };
        let weight = Weight::new(turn.as_ref().unwrap_or(tensor), form).ok_or("its weights are not all finite")?;
        let parts = ["_quantized", "_scale", "_zero_point"].map(|suffix| self.names.fresh(&format!("{name}{suffix}")));
        self.initializers.extend([weight.numbers(&parts[0]), weight.scales(&parts[1]), weight.zeros(&parts[2])]);
        self.weights.insert((name, form, turned), parts.clone());
        Ok(parts)
    }
}

/// A matrix with rows and columns exchanged.
fn transposed(tensor: &TensorProto) -> Option<TensorProto> {
    let (shape, values) = (tensor.shape().ok()?, tensor.floats().ok()?);
    let [rows, columns] = shape[..] else { return None };
    let at = |place: usize| values[(place % rows) * columns + place / rows];
    let turned: Vec<f32> = (0..values.len()).map(at).collect();
    Some(TensorProto::of_floats(tensor.label(), &[columns, rows], &turned))
}
