//! Bias correction: rounding a convolution's weights shifts the mean of each of its channels by what the weights lost
//! times the mean of what comes in. Taking that off the bias costs nothing at run time.
//!
//! Source: M. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section 4.2.

use std::collections::{BTreeMap, HashMap};

use crate::onnx::graph::Index;
use crate::onnx::proto::{ElementType, GraphProto, ModelProto, NodeProto, TensorProto};

/// The tensors whose means by channel are needed, with their ranks: the inputs of convolutions that have a bias.
pub fn wanted(model: &ModelProto) -> Vec<(String, usize)> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let constants = constants(graph);
    let mut wanted: Vec<(String, usize)> = convolutions(graph)
        .filter_map(|node| {
            let weights = constants.get(node.source(1)?)?;
            constants.get(node.source(2)?)?;
            Some((node.source(0)?.to_owned(), weights.dims.len()))
        })
        .collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

/// The float model with corrected biases, so that quantising it again gives the corrected form. `quantized` is its INT8
/// form, of which the rounded weights are read. `None` where there is nothing to correct.
pub fn corrected(model: &ModelProto, quantized: &ModelProto, means: &BTreeMap<String, Vec<f64>>) -> Option<ModelProto> {
    let (float, integer) = (model.graph.as_ref()?, quantized.graph.as_ref()?);
    let (constants, rounded, index) = (constants(float), constants(integer), Index::new(float));
    let scales: HashMap<&str, &NodeProto> = integer
        .node
        .iter()
        .filter(|node| node.operator() == "DequantizeLinear")
        .filter_map(|node| Some((node.result(0)?, node)))
        .collect();
    let forms: HashMap<&str, &NodeProto> = convolutions(integer).map(|node| (node.label(), node)).collect();
    let mut biases: HashMap<String, Vec<f32>> = HashMap::new();
    for node in convolutions(float) {
        let shift = || {
            let weights = constants.get(node.source(1)?)?;
            let dequantize = scales.get(forms.get(node.label())?.source(1)?)?;
            let loss = loss(weights, dequantize, &rounded)?;
            shifts(&weights.shape().ok()?, &loss, means.get(node.source(0)?)?, node.int("group").unwrap_or(1))
        };
        let Some((shift, name)) = shift().zip(node.source(2)) else { continue };
        // A bias that anybody else reads can be right for one only.
        let bias = constants.get(name).filter(|_| index.has_one_reader(name)).and_then(|bias| bias.floats().ok());
        if let Some(bias) = bias.filter(|bias| bias.len() == shift.len()) {
            let value = |(bias, shift): (&f32, &f64)| (f64::from(*bias) + shift) as f32;
            biases.insert(name.to_owned(), bias.iter().zip(&shift).map(value).collect());
        }
    }
    if biases.is_empty() {
        return None;
    }
    let mut model = model.clone();
    for tensor in &mut model.graph.get_or_insert_default().initializer {
        if let Some(values) = biases.get(tensor.label()) {
            *tensor = TensorProto::of_floats(tensor.label(), &[values.len()], values);
        }
    }
    Some(model)
}

fn constants(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
    graph.initializer.iter().map(|tensor| (tensor.label(), tensor)).collect()
}

fn convolutions(graph: &GraphProto) -> impl Iterator<Item = &NodeProto> {
    graph.node.iter().filter(|node| node.is_standard() && node.operator() == "Conv")
}

/// What each weight lost by rounding: the float one less the rounded one.
fn loss(weights: &TensorProto, dequantize: &NodeProto, rounded: &HashMap<&str, &TensorProto>) -> Option<Vec<f64>> {
    let float = weights.floats().ok()?;
    let levels = levels(rounded.get(dequantize.source(0)?)?)?;
    let scales = rounded.get(dequantize.source(1)?)?.floats().ok()?;
    let zeros = dequantize.source(2).and_then(|name| rounded.get(name)).and_then(|zeros| self::levels(zeros));
    let channels = usize::try_from(*weights.dims.first()?).ok()?;
    if float.len() != levels.len() || channels == 0 || !float.len().is_multiple_of(channels) {
        return None;
    }
    let size = float.len() / channels;
    let of = |index: usize, count: usize| if count == 1 { 0 } else { index / size };
    let value = |(index, (float, level)): (usize, (&f32, &i32))| {
        let scale = f64::from(*scales.get(of(index, scales.len()))?);
        let zero = zeros.as_ref().map_or(Some(0), |zeros| zeros.get(of(index, zeros.len())).copied())?;
        Some(f64::from(*float) - f64::from(level - zero) * scale)
    };
    float.iter().zip(&levels).enumerate().map(value).collect()
}

/// The contents of a tensor of 8-bit numbers.
fn levels(tensor: &TensorProto) -> Option<Vec<i32>> {
    let raw = tensor.raw_data.as_ref()?;
    Some(match tensor.element()? {
        ElementType::Int8 => raw.iter().map(|byte| i32::from(byte.cast_signed())).collect(),
        ElementType::Uint8 => raw.iter().map(|byte| i32::from(*byte)).collect(),
        _ => return None,
    })
}

/// For each output channel the sum, over what it reads, of lost weight times the mean of the channel that it weighs.
fn shifts(shape: &[usize], loss: &[f64], means: &[f64], groups: i64) -> Option<Vec<f64>> {
    let [outputs, inputs, ..] = *shape else { return None };
    let groups = usize::try_from(groups).ok().filter(|groups| *groups > 0)?;
    if means.len() != inputs * groups || outputs % groups != 0 || outputs * inputs == 0 {
        return None;
    }
    let kernel = loss.len() / (outputs * inputs);
    let shift = |output: usize| -> f64 {
        let first = output / (outputs / groups) * inputs;
        let of = |input: usize| {
            let start = (output * inputs + input) * kernel;
            let lost: f64 = loss.get(start..start + kernel).unwrap_or_default().iter().sum();
            lost * means.get(first + input).unwrap_or(&0.0)
        };
        (0..inputs).map(of).sum()
    };
    Some((0..outputs).map(shift).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_shifts_by_what_its_weights_lost_times_the_means_that_they_weigh() {
        // Two groups of one input and one output channel, kernels of two.
        let loss = [0.1, 0.2, -0.1, 0.0];
        let grouped = shifts(&[2, 1, 2], &loss, &[10.0, 100.0], 2).unwrap();
        assert!((grouped[0] - 3.0).abs() < 1e-9 && (grouped[1] + 10.0).abs() < 1e-9, "{grouped:?}");
        // One group: every output reads both inputs.
        let all = shifts(&[1, 2, 2], &loss, &[10.0, 100.0], 1).unwrap();
        assert!((all[0] - (3.0 - 10.0)).abs() < 1e-9, "{all:?}");
        assert_eq!(shifts(&[2, 1, 2], &loss, &[10.0], 2), None);
    }

    #[test]
    fn a_bias_is_corrected_by_the_rounding_of_its_weights() {
        let conv = |weights: &str| {
            let mut node = NodeProto::new("Conv", "c", &["x", weights, "b"], &["y"]);
            node.set_int("group", 1);
            node
        };
        let initializers =
            vec![TensorProto::of_floats("w", &[1, 1, 1], &[0.26]), TensorProto::of_floats("b", &[1], &[1.0])];
        let graph = GraphProto { node: vec![conv("w")], initializer: initializers, ..Default::default() };
        let float = ModelProto { graph: Some(graph), ..Default::default() };
        let dequantize = NodeProto::new("DequantizeLinear", "d", &["q", "s", "z"], &["dq"]);
        let initializer = vec![
            TensorProto::of_bytes("q", ElementType::Int8, &[1, 1, 1], vec![255u8]),
            TensorProto::of_floats("s", &[1], &[0.25]),
            TensorProto::of_bytes("z", ElementType::Int8, &[1], vec![0u8]),
        ];
        let graph = GraphProto { node: vec![dequantize, conv("dq")], initializer, ..Default::default() };
        let integer = ModelProto { graph: Some(graph), ..Default::default() };
        assert_eq!(wanted(&float), [("x".to_owned(), 3)]);
        let means = BTreeMap::from([("x".to_owned(), vec![2.0])]);
        let model = corrected(&float, &integer, &means).unwrap();
        let bias = model.graph.unwrap().initializer[1].floats().unwrap();
        // 0.26 was rounded to -0.25: each run lost 0.51 times 2.
        assert!((bias[0] - 2.02).abs() < 1e-6, "{bias:?}");
        assert!(corrected(&float, &integer, &BTreeMap::new()).is_none());
    }
}
