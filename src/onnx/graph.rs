//! Graphs by name: who makes a tensor, who reads it, what subgraphs take from outside, and an order to run in.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::proto::{
    AttributeProto, AttributeType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, ValueInfoProto,
};
use super::tensor::TensorFault;

impl NodeProto {
    /// A node of the standard domain.
    pub fn new(operator: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: Some(operator.to_owned()),
            name: Some(name.to_owned()),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: outputs.iter().map(|name| (*name).to_owned()).collect(),
            ..NodeProto::default()
        }
    }

    /// Its name; empty where it has none.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The type of its operator, such as `Conv`.
    pub fn operator(&self) -> &str {
        self.op_type.as_deref().unwrap_or_default()
    }

    /// Whether its operator is one of the standard's.
    pub fn is_standard(&self) -> bool {
        matches!(self.domain.as_deref(), None | Some("" | "ai.onnx"))
    }

    /// Its input at a place; `None` where that is left out.
    pub fn source(&self, place: usize) -> Option<&str> {
        self.input.get(place).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Its output at a place; `None` where that is left out.
    pub fn result(&self, place: usize) -> Option<&str> {
        self.output.get(place).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// An attribute of it.
    pub fn find(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.find(name).and_then(|attribute| attribute.i)
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        self.find(name).and_then(|attribute| attribute.f)
    }

    /// An attribute of several integers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.find(name).map(|attribute| attribute.ints.as_slice())
    }

    /// A text attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.find(name).and_then(|attribute| attribute.s.as_deref()).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Takes an attribute out and returns it.
    pub fn take(&mut self, name: &str) -> Option<AttributeProto> {
        let place = self.attribute.iter().position(|attribute| attribute.name.as_deref() == Some(name))?;
        Some(self.attribute.remove(place))
    }

    /// The same node with an integer attribute.
    pub fn with_int(mut self, name: &str, value: i64) -> NodeProto {
        self.set_int(name, value);
        self
    }

    /// Sets an integer attribute.
    pub fn set_int(&mut self, name: &str, value: i64) {
        self.take(name);
        self.attribute.push(AttributeProto {
            name: Some(name.to_owned()),
            i: Some(value),
            r#type: Some(AttributeType::Int as i32),
            ..AttributeProto::default()
        });
    }

    /// Sets a text attribute.
    pub fn set_text(&mut self, name: &str, value: &str) {
        self.take(name);
        self.attribute.push(AttributeProto {
            name: Some(name.to_owned()),
            s: Some(value.to_owned().into_bytes().into()),
            r#type: Some(AttributeType::String as i32),
            ..AttributeProto::default()
        });
    }

    /// The graphs inside it, as of `If`, `Loop` and `Scan`.
    pub fn subgraphs(&self) -> impl Iterator<Item = &GraphProto> {
        self.attribute.iter().flat_map(|attribute| attribute.g.as_deref().into_iter().chain(&attribute.graphs))
    }

    /// The graphs inside it, to change.
    pub fn subgraphs_mut(&mut self) -> impl Iterator<Item = &mut GraphProto> {
        self.attribute
            .iter_mut()
            .flat_map(|attribute| attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs))
    }
}

impl GraphProto {
    /// Its nodes and those of the graphs inside them, each holder before what it holds.
    pub fn nodes_within(&self) -> Vec<&NodeProto> {
        let within = |node| std::iter::once(node).chain(inner(node));
        fn inner(node: &NodeProto) -> Vec<&NodeProto> {
            node.subgraphs().flat_map(GraphProto::nodes_within).collect()
        }
        self.node.iter().flat_map(within).collect()
    }
}

impl ValueInfoProto {
    /// Its name; empty where it has none.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

impl ModelProto {
    /// The version of the standard operators that it uses; 1 where it says nothing.
    pub fn opset(&self) -> i64 {
        let standard = |set: &&OperatorSetIdProto| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx"));
        self.opset_import.iter().find(standard).and_then(|set| set.version).unwrap_or(1)
    }

    /// Sets the version of the operators of a domain; the standard one is `""`.
    pub fn set_opset(&mut self, domain: &str, version: i64) {
        let same = |set: &OperatorSetIdProto| match set.domain.as_deref() {
            None | Some("" | "ai.onnx") => domain.is_empty(),
            Some(other) => other == domain,
        };
        match self.opset_import.iter_mut().find(|set| same(set)) {
            Some(set) => set.version = Some(version),
            None => {
                let domain = Some(domain.to_owned());
                self.opset_import.push(OperatorSetIdProto { domain, version: Some(version) });
            }
        }
    }

    /// What the model says of itself under a key.
    pub fn property(&self, key: &str) -> Option<&str> {
        let entry = self.metadata_props.iter().find(|entry| entry.key.as_deref() == Some(key))?;
        entry.value.as_deref()
    }

    /// Says something of the model under a key, in place of what was said before.
    pub fn set_property(&mut self, key: &str, value: &str) {
        self.metadata_props.retain(|entry| entry.key.as_deref() != Some(key));
        self.metadata_props.push(StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) });
    }
}

/// A graph by the names in it.
#[derive(Debug)]
pub struct Index<'a> {
    /// The node that makes a tensor.
    pub producers: HashMap<&'a str, usize>,
    /// The nodes that read a tensor, one entry a reading.
    pub consumers: HashMap<&'a str, Vec<usize>>,
    /// Tensors that subgraphs take from outside.
    pub captured: HashSet<&'a str>,
    /// Constants.
    pub initializers: HashMap<&'a str, &'a TensorProto>,
    /// What callers may give.
    pub inputs: HashSet<&'a str>,
    /// What callers get.
    pub outputs: HashSet<&'a str>,
    /// Which constants were looked through, and whether all in them is finite.
    finite: RefCell<HashMap<String, Result<bool, TensorFault>>>,
}

impl<'a> Index<'a> {
    /// Looks at every name in the graph once.
    pub fn new(graph: &'a GraphProto) -> Index<'a> {
        let mut index = Index {
            producers: HashMap::new(),
            consumers: HashMap::new(),
            captured: HashSet::new(),
            initializers: graph.initializer.iter().map(|tensor| (tensor.label(), tensor)).collect(),
            inputs: graph.input.iter().map(ValueInfoProto::label).collect(),
            outputs: graph.output.iter().map(ValueInfoProto::label).collect(),
            finite: RefCell::default(),
        };
        for (place, node) in graph.node.iter().enumerate() {
            for name in node.input.iter().filter(|name| !name.is_empty()) {
                index.consumers.entry(name).or_default().push(place);
            }
            index
                .producers
                .extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), place)));
            index.captured.extend(captures(node));
        }
        index
    }

    /// A constant that no caller can replace.
    pub fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        self.initializers.get(name).copied().filter(|_| !self.inputs.contains(name))
    }

    /// Whether all contents of a constant of 32-bit floats are finite; looked through once.
    pub fn is_finite(&self, name: &str) -> Result<bool, TensorFault> {
        if let Some(known) = self.finite.borrow().get(name) {
            return known.clone();
        }
        let Some(tensor) = self.initializers.get(name) else { return Ok(false) };
        let found = tensor.floats().map(|values| values.iter().all(|value| value.is_finite()));
        self.finite.borrow_mut().insert(name.to_owned(), found.clone());
        found
    }

    /// How often nodes of this graph read a tensor.
    pub fn readings(&self, name: &str) -> usize {
        self.consumers.get(name).map_or(0, Vec::len)
    }

    /// Whether exactly one node reads a tensor, and nobody else sees it.
    pub fn has_one_reader(&self, name: &str) -> bool {
        self.readings(name) == 1 && !self.outputs.contains(name) && !self.captured.contains(name)
    }
}

/// The names that the subgraphs of a node take from outside.
pub fn captures(node: &NodeProto) -> Vec<&str> {
    let mut taken = Vec::new();
    for graph in node.subgraphs() {
        let mut own: HashSet<&str> = graph.input.iter().map(ValueInfoProto::label).collect();
        own.extend(graph.initializer.iter().map(TensorProto::label));
        own.extend(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
        let inner = graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str).chain(captures(node)));
        let outputs = graph.output.iter().map(ValueInfoProto::label);
        taken.extend(inner.chain(outputs).filter(|name| !name.is_empty() && !own.contains(name)));
    }
    taken
}

/// Puts nodes in an order in which every tensor is made before it is read, and changes no more than that takes. Gives back the
/// place of a node that lies in a circle, where there is one.
pub fn sort(nodes: &mut Vec<NodeProto>) -> Result<(), usize> {
    let order = order(nodes)?;
    if order.iter().enumerate().any(|(place, from)| place != *from) {
        let mut taken: Vec<Option<NodeProto>> = nodes.drain(..).map(Some).collect();
        nodes.extend(order.into_iter().filter_map(|place| taken[place].take()));
    }
    Ok(())
}

/// Places of nodes in an order in which every tensor is made before it is read.
pub fn order(nodes: &[NodeProto]) -> Result<Vec<usize>, usize> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (place, node) in nodes.iter().enumerate() {
        makers.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), place)));
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (place, node) in nodes.iter().enumerate() {
        for name in node.input.iter().map(String::as_str).chain(captures(node)) {
            if let Some(&maker) = makers.get(name) {
                waiting[place] += 1;
                readers[maker].push(place);
            }
        }
    }
    let mut ready: std::collections::BTreeSet<usize> = (0..nodes.len()).filter(|place| waiting[*place] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(place) = ready.pop_first() {
        order.push(place);
        for reader in &readers[place] {
            waiting[*reader] -= 1;
            if waiting[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    match waiting.iter().position(|count| *count > 0) {
        Some(place) => Err(place),
        None => Ok(order),
    }
}

/// Names that are taken, so that new ones are not.
#[derive(Clone, Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
    next: BTreeMap<String, u32>,
}

impl Names {
    /// Every name of a graph and of the graphs inside it.
    pub fn of(graph: &GraphProto) -> Names {
        let mut names = Names::default();
        names.add(graph);
        names
    }

    fn add(&mut self, graph: &GraphProto) {
        let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info).map(ValueInfoProto::label);
        self.taken.extend(values.map(str::to_owned));
        self.taken.extend(graph.initializer.iter().map(|tensor| tensor.label().to_owned()));
        for node in &graph.node {
            self.taken.insert(node.label().to_owned());
            self.taken.extend(node.input.iter().chain(&node.output).cloned());
            node.subgraphs().for_each(|graph| self.add(graph));
        }
    }

    /// This name where it is free, else the first free one of `name_1`, `name_2` and so on.
    pub fn fresh(&mut self, name: &str) -> String {
        if self.taken.insert(name.to_owned()) {
            return name.to_owned();
        }
        let next = self.next.entry(name.to_owned()).or_default();
        loop {
            *next += 1;
            let candidate = format!("{name}_{next}");
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto::new("Relu", name, inputs, outputs)
    }

    #[test]
    fn nodes_are_sorted_no_more_than_needed() {
        let mut nodes = vec![node("c", &["b"], &["c"]), node("x", &["a"], &["x"]), node("b", &["a"], &["b"])];
        sort(&mut nodes).unwrap();
        assert_eq!(nodes.iter().map(NodeProto::label).collect::<Vec<_>>(), ["x", "b", "c"]);
        let mut circle = vec![node("a", &["b"], &["a"]), node("b", &["a"], &["b"])];
        assert_eq!(sort(&mut circle), Err(0));
    }

    #[test]
    fn subgraphs_take_what_they_do_not_make() {
        let inner = GraphProto {
            node: vec![node("n", &["outside"], &["made"]), node("m", &["made"], &["result"])],
            output: vec![
                ValueInfoProto { name: Some("result".into()), ..Default::default() },
                ValueInfoProto { name: Some("also".into()), ..Default::default() },
            ],
            ..GraphProto::default()
        };
        let mut outer = NodeProto::new("If", "if", &["condition"], &["y"]);
        outer.attribute.push(AttributeProto { g: Some(Box::new(inner)), ..Default::default() });
        assert_eq!(captures(&outer), ["outside", "also"]);
        let graph = GraphProto { node: vec![node("p", &["x"], &["outside"]), outer], ..Default::default() };
        assert!(!Index::new(&graph).has_one_reader("outside"));
        assert!(Index::new(&graph).captured.contains("also"));
    }

    #[test]
    fn new_names_are_free() {
        let graph = GraphProto { node: vec![node("n", &["x"], &["x_scale"])], ..Default::default() };
        let mut names = Names::of(&graph);
        assert_eq!(names.fresh("y"), "y");
        assert_eq!(names.fresh("x_scale"), "x_scale_1");
        assert_eq!(names.fresh("x_scale"), "x_scale_2");
    }
}
