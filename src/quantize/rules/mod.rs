//! Which operators run on 8-bit numbers after static quantisation, a file a family. A rule sees one node and what was decided
//! before it, changes nothing, and gives a patch or the reason why the node stays as it is.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::patch::{Edit, Patch};
use super::scales::Form;
use super::{Integer, Settings};
use crate::onnx::graph::Index;
use crate::onnx::proto::{ElementType, NodeProto, TensorProto};

mod activation;
mod concat;
mod conv;
mod elementwise;
mod gather;
mod gemm;
mod matmul;
mod pass;
pub mod pool;

/// A patch, or why there is none.
pub type Verdict = Result<Patch, Cow<'static, str>>;

/// What a rule may look at.
#[derive(Debug)]
pub struct View<'a> {
    /// The graph by names.
    pub index: &'a Index<'a>,
    /// How to quantise.
    pub settings: &'a Settings,
    /// The version of the standard operators.
    pub opset: i64,
    /// Tensors that patches before this one take through 8-bit numbers; `true` by their own range.
    pub marked: HashMap<String, bool>,
    /// Results of nodes that patches before this one take out: the makers of what they read make them.
    pub cut: HashSet<String>,
    /// Tensors of which no range is known.
    pub unknown: &'a HashSet<String>,
}

impl View<'_> {
    /// Whether a tensor goes through 8-bit numbers already.
    pub fn is_marked(&self, tensor: &str) -> bool {
        self.marked.contains_key(tensor)
    }

    /// A constant of 32-bit floats that no caller can replace.
    pub fn weight(&self, name: &str) -> Result<&TensorProto, Cow<'static, str>> {
        if self.index.initializers.contains_key(name) && self.index.inputs.contains(name) {
            return Err("callers may replace its weights".into());
        }
        let tensor = self.index.constant(name).ok_or("its weights are computed at run time")?;
        match tensor.element() {
            Some(ElementType::Float) if tensor.elements() == Ok(0) => Err("its weights are empty".into()),
            Some(ElementType::Float) => Ok(tensor),
            _ => Err("its weights are not 32-bit floats".into()),
        }
    }

    /// A weight that is quantised on an axis, where scales are per channel.
    pub fn weight_edit(&self, name: &str, place: usize, axis: Option<usize>) -> Result<Edit, Cow<'static, str>> {
        let tensor = self.weight(name)?;
        let axis = axis.filter(|axis| self.settings.per_channel && self.opset >= 13 && *axis < tensor.dims.len());
        self.finite(name)?;
        Ok(Edit::Weight { place, axis })
    }

    /// An input of a light operator: constants become numbers, other tensors go through them.
    pub fn operand(&self, node: &NodeProto, place: usize) -> Result<Option<Edit>, Cow<'static, str>> {
        let Some(name) = node.source(place) else { return Ok(None) };
        if self.index.initializers.contains_key(name) {
            self.weight(name)?;
            self.finite(name)?;
            return Ok(Some(Edit::Operand { place }));
        }
        Ok(Some(Edit::Own(name.to_owned())))
    }

    /// A bias that can be had in 32 bits, one value a channel.
    pub fn bias(&self, node: &NodeProto, place: usize, channels: i64) -> Result<Option<Edit>, Cow<'static, str>> {
        let Some(name) = node.source(place) else { return Ok(None) };
        let tensor = self.weight(name).map_err(|_| "its bias is computed at run time")?;
        if tensor.dims != [channels] {
            return Err("its bias is not one value a channel".into());
        }
        self.finite(name)?;
        Ok(Some(Edit::Bias { place }))
    }

    /// Whether the contents of a constant are numbers.
    pub fn finite(&self, name: &str) -> Result<(), Cow<'static, str>> {
        match self.index.is_finite(name) {
            Ok(true) => Ok(()),
            Ok(false) => Err("its weights are not all finite".into()),
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// The first result of a node, and its first input where that is no constant.
    pub fn ends<'n>(&self, node: &'n NodeProto) -> Result<(&'n str, &'n str), Cow<'static, str>> {
        let (input, result) = node.source(0).zip(node.result(0)).ok_or("it has no input or no result")?;
        match self.index.initializers.contains_key(input) {
            true => Err("its input is a constant".into()),
            false => Ok((input, result)),
        }
    }
}

/// The form of a weight's numbers.
pub fn weight_form(settings: &Settings, axis: Option<usize>) -> Form {
    let integer = settings.weights;
    let symmetric = axis.is_some() || integer == Integer::S8;
    Form { axis, integer, reduced: settings.reduce_range, symmetric }
}

/// The form of a constant operand's numbers.
pub fn operand_form(settings: &Settings) -> Form {
    Form { axis: None, integer: settings.activations, reduced: settings.reduce_range, symmetric: false }
}

/// The form of a weight's numbers where activations become numbers at every run.
pub fn dynamic_form(settings: &Settings, axis: Option<usize>) -> Form {
    let integer = settings.weights;
    Form { axis, integer, reduced: settings.reduce_range, symmetric: integer == Integer::S8 }
}

/// The rule of a node's family, asked.
pub fn judge(node: &NodeProto, view: &View) -> Verdict {
    if !node.is_standard() {
        let domain = node.domain.as_deref().unwrap_or_default();
        return Err(format!("an operator of the domain {domain}").into());
    }
    if node.subgraphs().next().is_some() {
        return Err("it holds graphs, which stay as they are".into());
    }
    let patch = match node.operator() {
        "Conv" => conv::rule(node, view),
        "Gemm" => gemm::rule(node, view),
        "MatMul" => matmul::rule(node, view),
        "Add" | "Mul" | "Div" => elementwise::binary(node, view),
        "Sigmoid" | "LeakyRelu" => elementwise::unary(node, view),
        "Relu" | "Clip" => activation::rule(node, view),
        "Concat" => concat::rule(node, view),
        "AveragePool" | "GlobalAveragePool" => pool::average(node, view),
        "MaxPool" => pool::max(node, view),
        "Gather" => gather::rule(node, view),
        "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice" | "Split" | "Resize" | "Pad"
        | "Expand" | "Identity" | "DepthToSpace" | "SpaceToDepth" => pass::rule(node, view),
        "Softmax" | "LogSoftmax" => Err("its results need more than 8 bits".into()),
        "ConvTranspose" => Err("the runtime has no INT8 form of it".into()),
        "LSTM" | "GRU" | "RNN" => Err("only dynamic quantisation has an INT8 form of it".into()),
        _ => Err("no INT8 form of it pays".into()),
    }?;
    if let Some(tensor) = patch.tensors().find(|tensor| view.unknown.contains(*tensor)) {
        return Err(format!("no range is known of {tensor:?}").into());
    }
    Ok(patch)
}
