//! What static quantisation will change: patches of all nodes, before any is carried out.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Verdicts, kept};
use crate::onnx::graph::Index;
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::quantize::patch::{Edit, Patch, Weightiness};
use crate::quantize::rules::{View, judge};
use crate::quantize::{Ranges, Settings};

/// How a tensor goes through 8-bit numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    /// By its own range.
    Own,
    /// By the scale and zero point of another.
    Like(String),
    /// By the numbers of another, each worth a multiple.
    Scaled(String, f32),
}

/// The patches, one a node, and what follows of them.
pub(super) struct Plan<'a> {
    graph: &'a GraphProto,
    /// By the node's place: what changes, or why nothing does.
    pub patches: Vec<Result<Patch, String>>,
    /// Tensors that go through 8-bit numbers.
    pub marks: BTreeMap<String, Mark>,
    /// Tensors that are no more, and what their makers make in their place.
    pub absorbed: HashMap<String, String>,
}

impl<'a> Plan<'a> {
    /// Asks the rules. With ranges, nodes around tensors of which none is known stay in float.
    pub fn new(
        graph: &'a GraphProto,
        index: &Index,
        opset: i64,
        settings: &Settings,
        ranges: Option<&Ranges>,
    ) -> Plan<'a> {
        let mut unknown: HashSet<String> = HashSet::new();
        loop {
            let plan = Plan::with(graph, index, opset, settings, &unknown, ranges);
            let Some(ranges) = ranges else { return plan };
            let known = |tensor: &String| ranges.get(tensor).is_some_and(|r| r.low.is_finite() && r.high.is_finite());
            let before = unknown.len();
            unknown.extend(plan.roots(graph).into_iter().filter(|tensor| !known(tensor)));
            if unknown.len() == before {
                return plan;
            }
        }
    }

    fn with(
        graph: &'a GraphProto,
        index: &Index,
        opset: i64,
        settings: &Settings,
        unknown: &HashSet<String>,
        ranges: Option<&Ranges>,
    ) -> Plan<'a> {
        let mut view = View { index, settings, opset, marked: HashMap::new(), cut: HashSet::new(), unknown };
        let mut patches: Vec<Result<Patch, String>> = Vec::with_capacity(graph.node.len());
        for node in &graph.node {
            let verdict = match kept(node, settings) {
                Some(reason) => Err(reason.to_owned()),
                None => judge(node, &view).map_err(|reason| reason.into_owned()),
            };
            for edit in verdict.iter().flat_map(|patch| &patch.edits) {
                match edit {
                    Edit::Own(tensor) => drop(view.marked.entry(tensor.clone()).or_insert(true)),
                    Edit::Same { tensor, .. } | Edit::Scale { tensor, .. } => {
                        view.marked.insert(tensor.clone(), false);
                    }
                    Edit::Absorb { upstream, result } => {
                        view.marked.remove(upstream);
                        view.marked.insert(result.clone(), true);
                        view.cut.insert(result.clone());
                    }
                    _ => {}
                }
            }
            patches.push(verdict);
        }
        let mut plan = Plan { graph, patches, marks: BTreeMap::new(), absorbed: HashMap::new() };
        if settings.refine {
            plan.trim(index);
        }
        plan.settle();
        plan.part(ranges);
        plan.shorten();
        plan
    }

    /// Takes back what gains nothing: light nodes of which nothing on 8-bit numbers reads a result, and 8-bit results of
    /// products that only float nodes read.
    fn trim(&mut self, index: &Index) {
        let heavy_convolution = |plan: &Plan, tensor: &str| {
            let maker = index.producers.get(tensor).map(|place| &plan.graph.node[*place]);
            maker.is_some_and(|node| node.operator() == "Conv")
        };
        for place in (0..self.graph.node.len()).rev() {
            let Ok(patch) = &self.patches[place] else { continue };
            let node = &self.graph.node[place];
            let readers = node.output.iter().filter_map(|name| index.consumers.get(name.as_str())).flatten();
            let read = readers.into_iter().any(|reader| self.patches[*reader].is_ok());
            if read {
                continue;
            }
            match patch.weightiness {
                Weightiness::Heavy if matches!(node.operator(), "MatMul" | "Gemm") => {
                    let results: HashSet<&str> = node.output.iter().map(String::as_str).collect();
                    let keeps = |edit: &&Edit| !matches!(edit, Edit::Own(tensor) if results.contains(tensor.as_str()));
                    let edits = patch.edits.iter().filter(keeps).cloned().collect();
                    self.patches[place] = Ok(Patch::heavy(edits));
                }
                Weightiness::Heavy => {}
                Weightiness::Light => {
                    // Behind a convolution, whose result is on 8-bit numbers in any case, an absorbed node costs nothing.
                    let free = patch
                        .edits
                        .iter()
                        .any(|edit| matches!(edit, Edit::Absorb { upstream, .. } if heavy_convolution(self, upstream)));
                    if !free {
                        self.patches[place] = Err("nothing on 8-bit numbers reads its result".to_owned());
                    }
                }
            }
        }
    }

    /// Draws the sum of all patches.
    fn settle(&mut self) {
        for edit in self.patches.iter().flatten().flat_map(|patch| &patch.edits) {
            match edit {
                Edit::Own(tensor) => drop(self.marks.entry(tensor.clone()).or_insert(Mark::Own)),
                Edit::Same { tensor, like } => drop(self.marks.insert(tensor.clone(), Mark::Like(like.clone()))),
                Edit::Scale { tensor, like, factor } => {
                    let mark = Mark::Scaled(like.clone(), f32::from_bits(*factor));
                    self.marks.insert(tensor.clone(), mark);
                }
                Edit::Absorb { upstream, result } => {
                    self.absorbed.insert(upstream.clone(), result.clone());
                    self.marks.entry(result.clone()).or_insert(Mark::Own);
                }
                _ => {}
            }
        }
        let absorbed = &self.absorbed;
        self.marks.retain(|tensor, _| !absorbed.contains_key(tensor));
    }

    /// What makes the result of a node that went has to cut it off where that node did: it goes by the scale of another
    /// tensor only where that ends no later. Without ranges this is open, and [`Plan::roots`] asks for both.
    fn part(&mut self, ranges: Option<&Ranges>) {
        let Some(ranges) = ranges else { return };
        let relus: HashSet<&str> =
            self.graph.node.iter().filter(|node| node.operator() == "Relu").filter_map(|node| node.result(0)).collect();
        let cuts = |result: &&String| {
            let (own, root) = (ranges.get(*result), ranges.get(self.base(result)));
            let alike = own.zip(root).is_some_and(|(own, root)| {
                root.low.min(0.0) >= own.low.min(0.0) && (relus.contains(result.as_str()) || root.high <= own.high)
            });
            matches!(self.marks.get(*result), Some(Mark::Like(_))) && !alike
        };
        let parted: Vec<String> = self.absorbed.values().filter(cuts).cloned().collect();
        self.marks.extend(parted.into_iter().map(|result| (result, Mark::Own)));
    }

    /// Points each tensor that goes by another's scale at the end of the chain.
    fn shorten(&mut self) {
        let mut ends: HashMap<String, String> = HashMap::new();
        for tensor in self.marks.keys() {
            let (mut end, mut path) = (tensor.as_str(), Vec::new());
            while let Some(Mark::Like(like)) = self.marks.get(end).filter(|_| path.len() <= self.marks.len()) {
                path.push(end.to_owned());
                end = ends.get(like).map_or(like, String::as_str);
            }
            let end = end.to_owned();
            ends.extend(path.into_iter().map(|tensor| (tensor, end.clone())));
        }
        for mark in self.marks.values_mut() {
            if let Mark::Like(like) = mark
                && let Some(end) = ends.get(like)
            {
                like.clone_from(end);
            }
        }
    }

    /// The tensor that a marked tensor has its scale from.
    pub fn root<'t>(&'t self, tensor: &'t str) -> &'t str {
        self.follow(tensor, false)
    }

    /// The tensor whose range or contents that scale comes from.
    fn base<'t>(&'t self, tensor: &'t str) -> &'t str {
        self.follow(tensor, true)
    }

    fn follow<'t>(&'t self, tensor: &'t str, through_scales: bool) -> &'t str {
        let mut root = tensor;
        // No chain is longer than there are marks.
        for _ in 0..=self.marks.len() {
            match self.marks.get(root) {
                Some(Mark::Like(like)) => root = like,
                Some(Mark::Scaled(like, _)) if through_scales => root = like,
                _ => break,
            }
        }
        root
    }

    /// Every tensor whose range is needed.
    pub fn roots(&self, graph: &GraphProto) -> Vec<String> {
        let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.label()).collect();
        let shared = self.absorbed.values().filter(|result| self.marks.contains_key(*result));
        let mut roots: Vec<String> =
            self.marks.keys().map(|tensor| self.base(tensor).to_owned()).chain(shared.cloned()).collect();
        roots.sort_unstable();
        roots.dedup();
        roots.retain(|root| !constants.contains(root.as_str()));
        roots
    }

    /// Every node, with why it stays in float where it does.
    pub fn verdicts(&self) -> Verdicts<'a> {
        let reason = |patch: &Result<Patch, String>| patch.as_ref().err().cloned();
        self.graph.node.iter().zip(self.patches.iter().map(reason)).collect::<Vec<(&NodeProto, _)>>()
    }
}
