//! Carries a plan out: pairs of `QuantizeLinear` and `DequantizeLinear` around what changes, in the layout from which ONNX Runtime
//! makes integer operators.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::plan::{Mark, Plan};
use crate::onnx::graph::{Index, Names, captures};
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use crate::quantize::patch::Edit;
use crate::quantize::rules::{operand_form, weight_form};
use crate::quantize::scales::{self, Affine, Form, Weight, affine};
use crate::quantize::{Range, Ranges, Settings};

struct Emitter<'a> {
    graph: &'a GraphProto,
    index: Index<'a>,
    plan: &'a Plan<'a>,
    settings: &'a Settings,
    ranges: &'a Ranges,
    names: Names,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    weights: BTreeMap<(&'a str, Form), Weight>,
    /// What readers read in place of a constant.
    dequantized: HashMap<(&'a str, Form), String>,
    /// Scale and zero point of a tensor that is quantised by its own range.
    parameters: HashMap<String, (String, String)>,
    /// The numbers of a tensor.
    numbers: HashMap<String, String>,
    /// What readers read in place of a tensor.
    readings: HashMap<&'a str, String>,
    /// Results of nodes that went, and what their makers made before.
    upstream: HashMap<&'a str, &'a str>,
}

/// The graph with a plan carried out.
pub(super) fn emit(graph: &GraphProto, plan: &Plan, ranges: &Ranges, settings: &Settings) -> GraphProto {
    let index = Index::new(graph);
    let mut emitter = Emitter {
        graph,
        index,
        plan,
        settings,
        ranges,
        names: Names::of(graph),
        nodes: Vec::with_capacity(graph.node.len() * 3),
        initializers: Vec::new(),
        weights: BTreeMap::new(),
        dequantized: HashMap::new(),
        parameters: HashMap::new(),
        numbers: HashMap::new(),
        readings: HashMap::new(),
        upstream: plan.absorbed.iter().map(|(upstream, result)| (result.as_str(), upstream.as_str())).collect(),
    };
    emitter.weigh();
    emitter.name_readings();
    let callers = graph.input.iter().map(ValueInfoProto::label);
    callers.for_each(|input| emitter.pair(input, input));
    for (place, node) in graph.node.iter().enumerate() {
        emitter.node(place, node);
    }
    emitter.finish()
}

impl<'a> Emitter<'a> {
    fn form(&self, edit: &Edit) -> Option<(usize, Form)> {
        match edit {
            Edit::Weight { place, axis } => Some((*place, weight_form(self.settings, *axis))),
            Edit::Operand { place } => Some((*place, operand_form(self.settings))),
            _ => None,
        }
    }

    /// Finds the scales of all constants; biases may make those of weights larger.
    fn weigh(&mut self) {
        let patched = || {
            self.graph
                .node
                .iter()
                .zip(&self.plan.patches)
                .filter_map(|(node, patch)| Some((node, patch.as_ref().ok()?)))
        };
        let mut weights = BTreeMap::new();
        for (node, patch) in patched() {
            for (place, form) in patch.edits.iter().filter_map(|edit| self.form(edit)) {
                let constant = node.source(place).and_then(|name| self.index.initializers.get_key_value(name));
                if let Some((name, tensor)) = constant
                    && !weights.contains_key(&(*name, form))
                    && let Some(weight) = Weight::new(tensor, form)
                {
                    weights.insert((*name, form), weight);
                }
            }
        }
        self.weights = weights;
        let patched = self.graph.node.iter().zip(&self.plan.patches);
        let patched = patched.filter_map(|(node, patch)| Some((node, patch.as_ref().ok()?)));
        let biases: Vec<_> = patched.filter_map(|(node, patch)| self.bias(node, &patch.edits)).collect();
        if self.settings.refine {
            // All who read a weight have a say in what its empty channels are worth.
            for (key, weight) in &mut self.weights {
                let own = biases.iter().filter(|(_, _, read)| read == key);
                weight.settle_empty(own.map(|(bias, input, _)| (bias.as_slice(), input.scale)));
            }
        }
        for (bias, input, key) in &biases {
            if let Some(weight) = self.weights.get_mut(key) {
                weight.make_room(bias, input.scale);
            }
        }
    }

    /// A node's bias, the scale of its input and the key of its weight.
    fn bias(&self, node: &'a NodeProto, edits: &[Edit]) -> Option<(Vec<f32>, Affine, (&'a str, Form))> {
        let place = edits.iter().find_map(|edit| if let Edit::Bias { place } = edit { Some(*place) } else { None })?;
        let values = self.index.constant(node.source(place)?)?.floats().ok()?;
        let (at, form) =
            edits.iter().find(|edit| matches!(edit, Edit::Weight { .. })).and_then(|edit| self.form(edit))?;
        Some((values, self.affine(node.source(0)?), (node.source(at)?, form)))
    }

    /// The scale and zero point of a marked tensor.
    fn affine(&self, tensor: &str) -> Affine {
        let root = self.plan.root(tensor);
        if let Some(Mark::Scaled(like, factor)) = self.plan.marks.get(root) {
            let affine = self.affine(like);
            return Affine { scale: affine.scale * factor, ..affine };
        }
        if let Some(weight) = self.weights.get(&(root, operand_form(self.settings))) {
            return weight.affines.first().copied().unwrap_or(Affine { scale: 1.0, zero: 0 });
        }
        let range = self.ranges.get(root).copied().unwrap_or(Range { low: 0.0, high: 0.0 });
        // What was 0 in every sample has no step of its own. Where a node went whose work its maker does, what is below 0
        // must still be cut off.
        if self.settings.refine && range.high <= 0.0 && range.low >= 0.0 && self.upstream.contains_key(root) {
            return Affine { scale: 1.0, zero: self.settings.activations.limits().0 };
        }
        affine(range, self.settings.activations, false, false)
    }

    fn makes_numbers(&self, tensor: &str) -> bool {
        let maker = self.index.producers.get(self.upstream.get(tensor).copied().unwrap_or(tensor));
        maker.is_some_and(|place| self.plan.patches[*place].is_ok())
    }

    /// Names what readers of each marked tensor read. An output that a node on 8-bit numbers makes keeps its name.
    fn name_readings(&mut self) {
        let results = self.graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str));
        let tensors: Vec<&'a str> = self.graph.input.iter().map(ValueInfoProto::label).chain(results).collect();
        for tensor in tensors.into_iter().filter(|tensor| self.plan.marks.contains_key(*tensor)) {
            let own = self.index.outputs.contains(tensor) && self.makes_numbers(tensor);
            let reading = match own {
                true => tensor.to_owned(),
                false => self.names.fresh(&format!("{tensor}_DequantizeLinear_Output")),
            };
            self.readings.insert(tensor, reading);
        }
    }

    /// Adds the pair of nodes after a marked tensor, which its maker makes under the name `made`.
    fn pair(&mut self, tensor: &str, made: &str) {
        if !self.plan.marks.contains_key(tensor) {
            return;
        }
        let Some(reading) = self.readings.get(tensor).cloned() else { return };
        let (scale, zero) = self.parameters(tensor);
        let numbers = self.names.fresh(&format!("{tensor}_QuantizeLinear_Output"));
        let mut node = |operator: &str, input: &str, output: &str| {
            let name = self.names.fresh(&format!("{tensor}_{operator}"));
            self.nodes.push(NodeProto::new(operator, &name, &[input, &scale, &zero], &[output]));
        };
        node("QuantizeLinear", made, &numbers);
        node("DequantizeLinear", &numbers, &reading);
        self.numbers.insert(tensor.to_owned(), numbers);
    }

    /// A result that is another tensor's numbers, each worth a multiple.
    fn multiple(&mut self, tensor: &str, like: &str) {
        let Some((numbers, reading)) = self.numbers.get(like).zip(self.readings.get(tensor)) else { return };
        let (numbers, reading) = (numbers.clone(), reading.clone());
        let (scale, zero) = self.parameters(tensor);
        let name = self.names.fresh(&format!("{tensor}_DequantizeLinear"));
        self.nodes.push(NodeProto::new("DequantizeLinear", &name, &[&numbers, &scale, &zero], &[&reading]));
        self.numbers.insert(tensor.to_owned(), numbers);
    }

    /// The names of a marked tensor's scale and zero point.
    fn parameters(&mut self, tensor: &str) -> (String, String) {
        let root = self.plan.root(tensor).to_owned();
        if let Some(parameters) = self.parameters.get(&root) {
            return parameters.clone();
        }
        let affine = self.affine(&root);
        let scale = self.names.fresh(&format!("{root}_scale"));
        self.initializers.push(TensorProto::of_floats(&scale, &[], &[affine.scale]));
        if let Some(Mark::Scaled(like, _)) = self.plan.marks.get(&root) {
            let zero = self.parameters(&like.clone()).1;
            self.parameters.insert(root, (scale.clone(), zero.clone()));
            return (scale, zero);
        }
        let zero = self.names.fresh(&format!("{root}_zero_point"));
        let element = self.settings.activations.element();
        self.initializers.push(TensorProto::of_bytes(&zero, element, &[], vec![affine.zero as u8]));
        self.parameters.insert(root, (scale.clone(), zero.clone()));
        (scale, zero)
    }

    fn node(&mut self, place: usize, node: &'a NodeProto) {
        let patch = self.plan.patches[place].as_ref().ok();
        for edit in patch.into_iter().flat_map(|patch| &patch.edits) {
            match edit {
                Edit::Absorb { .. } => return,
                Edit::Scale { tensor, like, .. } => return self.multiple(tensor, like),
                _ => {}
            }
        }
        let mut changed = node.clone();
        for (at, input) in node.input.iter().enumerate() {
            // Without refinement all readers read the numbers; with it a float node reads a float tensor where there is one.
            let numbers = patch.is_some() || !self.settings.refine || self.makes_numbers(input);
            if let Some(reading) = self.readings.get(input.as_str()).filter(|_| numbers) {
                changed.input[at].clone_from(reading);
            }
        }
        for edit in patch.into_iter().flat_map(|patch| &patch.edits) {
            if let Some((at, form)) = self.form(edit)
                && let Some(name) = node.source(at)
                && let Some(reading) = self.constant(name, form)
            {
                changed.input[at] = reading;
            }
            if let Edit::Bias { place: at } = edit
                && let Some(reading) = patch.and_then(|patch| self.bias_numbers(node, *at, &patch.edits))
            {
                changed.input[*at] = reading;
            }
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for output in &mut changed.output {
            if let Some(result) = self.plan.absorbed.get(output) {
                output.clone_from(result);
            }
            if self.readings.get(output.as_str()) == Some(output) {
                let tensor = std::mem::take(output);
                *output = self.names.fresh(&format!("{tensor}_QuantizeLinear_Input"));
                pairs.push((tensor, output.clone()));
            } else {
                pairs.push((output.clone(), output.clone()));
            }
        }
        self.nodes.push(changed);
        pairs.iter().for_each(|(tensor, made)| self.pair(tensor, made));
    }

    /// A constant as numbers, and the node that makes floats of them, once for all who read it in this form.
    fn constant(&mut self, name: &'a str, form: Form) -> Option<String> {
        if let Some(reading) = self.dequantized.get(&(name, form)) {
            return Some(reading.clone());
        }
        let weight = self.weights.get(&(name, form))?;
        let mut fresh = |suffix: &str| self.names.fresh(&format!("{name}{suffix}"));
        let (numbers, scale, zero) = (fresh("_quantized"), fresh("_scale"), fresh("_zero_point"));
        let (reading, label) = (fresh("_DequantizeLinear_Output"), fresh("_DequantizeLinear"));
        self.initializers.extend([weight.numbers(&numbers), weight.scales(&scale), weight.zeros(&zero)]);
        let node = NodeProto::new("DequantizeLinear", &label, &[&numbers, &scale, &zero], &[&reading]);
        self.nodes.push(with_axis(node, weight.axis));
        if form == operand_form(self.settings) {
            self.parameters.insert(name.to_owned(), (scale, zero));
        }
        self.dequantized.insert((name, form), reading.clone());
        Some(reading)
    }

    /// A node's bias as 32-bit numbers, and the node that makes floats of them.
    fn bias_numbers(&mut self, node: &'a NodeProto, place: usize, edits: &[Edit]) -> Option<String> {
        let (values, input, key) = self.bias(node, edits)?;
        let weight = self.weights.get(&key)?;
        let (words, steps) = scales::bias(&values, input.scale, weight);
        let axis = weight.axis.map(|_| 0);
        let sizes: Vec<usize> = axis.map(|_| steps.len()).into_iter().collect();
        let name = node.source(place)?;
        let mut fresh = |suffix: &str| self.names.fresh(&format!("{name}{suffix}"));
        let (numbers, scale, zero) = (fresh("_quantized"), fresh("_quantized_scale"), fresh("_quantized_zero_point"));
        let (reading, label) = (fresh("_DequantizeLinear_Output"), fresh("_DequantizeLinear"));
        self.initializers.extend([
            TensorProto::of_words(&numbers, &[words.len()], &words),
            TensorProto::of_floats(&scale, &sizes, &steps),
            TensorProto::of_words(&zero, &sizes, &vec![0; steps.len()]),
        ]);
        self.nodes
            .push(with_axis(NodeProto::new("DequantizeLinear", &label, &[&numbers, &scale, &zero], &[&reading]), axis));
        Some(reading)
    }

    fn finish(mut self) -> GraphProto {
        // Nothing reads a tensor any more whose readers all read multiples of it.
        let mut read: HashSet<String> = self.graph.output.iter().map(|output| output.label().to_owned()).collect();
        for node in &self.nodes {
            read.extend(node.input.iter().cloned().chain(captures(node).into_iter().map(str::to_owned)));
        }
        self.nodes
            .retain(|node| node.operator() != "DequantizeLinear" || node.output.iter().any(|name| read.contains(name)));
        let replaced: HashSet<&str> =
            self.graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str)).collect();
        assemble(self.graph, self.nodes, self.initializers, &replaced)
    }
}

fn with_axis(node: NodeProto, axis: Option<usize>) -> NodeProto {
    match axis {
        Some(axis) => node.with_int("axis", axis as i64),
        None => node,
    }
}

/// A graph of new nodes and more constants; constants that nothing reads any more, and what was said of tensors that are gone,
/// are left out.
pub(super) fn assemble(
    graph: &GraphProto,
    nodes: Vec<NodeProto>,
    more: Vec<TensorProto>,
    read_before: &HashSet<&str>,
) -> GraphProto {
    let mut read: HashSet<&str> =
        nodes.iter().flat_map(|node| node.input.iter().map(String::as_str).chain(captures(node))).collect();
    read.extend(graph.output.iter().map(ValueInfoProto::label));
    let made: HashSet<&str> = nodes.iter().flat_map(|node| node.output.iter().map(String::as_str)).collect();
    let stays = |tensor: &&TensorProto| read.contains(tensor.label()) || !read_before.contains(tensor.label());
    let initializer: Vec<TensorProto> = graph.initializer.iter().filter(stays).cloned().chain(more).collect();
    let constants: HashSet<&str> = initializer.iter().map(TensorProto::label).collect();
    let known = |value: &&ValueInfoProto| made.contains(value.label()) || constants.contains(value.label());
    let value_info = graph.value_info.iter().filter(known).cloned().collect();
    GraphProto {
        initializer,
        value_info,
        name: graph.name.clone(),
        doc_string: graph.doc_string.clone(),
        input: graph.input.clone(),
        output: graph.output.clone(),
        quantization_annotation: graph.quantization_annotation.clone(),
        sparse_initializer: graph.sparse_initializer.clone(),
        metadata_props: graph.metadata_props.clone(),
        node: nodes,
    }
}
