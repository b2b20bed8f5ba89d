//! The ranges that tensors take over samples, found by the runtime in bounded memory: extremes are taken inside the graph,
//! so that no tensor outlives its use; histograms are filled in passes over groups of tensors that are small enough together.

use std::collections::BTreeMap;

use super::Watch;
use super::histogram::{Calibrator, Histogram};
use super::lab::{Lab, Reuse, run};
use super::stored::Stored;
use crate::core::tensor::{DataType, Tensor, TensorData};
use crate::engine::Session;
use crate::onnx::graph::Names;
use crate::onnx::proto::{ElementType, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::quantize::{Range, Ranges};

/// The most bytes of tensors that one run gives out for histograms.
const GROUP_BYTES: usize = 64 << 20;

/// Reads the samples, from the first, as often as it is called.
pub type Reader<'a> = dyn FnMut(&mut dyn FnMut(&[Tensor]) -> Result<(), String>) -> Result<(), String> + 'a;

/// What calibrating found.
#[derive(Debug, Default)]
pub struct Calibrated {
    /// The range of each tensor that was asked for.
    pub ranges: Ranges,
    /// The mean of each channel of the tensors that were asked for: axis 1.
    pub means: BTreeMap<String, Vec<f64>>,
}

/// The ranges of `tensors`, and the means by channel of those in `means` with their ranks, over all samples.
pub fn calibrate(
    lab: &Lab,
    stored: &Stored,
    tensors: &[String],
    means: &[(String, usize)],
    calibrator: Calibrator,
    samples: (&mut Reader<'_>, usize),
    watch: &dyn Watch,
) -> Result<Calibrated, String> {
    let (reader, count) = samples;
    let with_sizes = calibrator != Calibrator::Minmax;
    let Probes { model, outputs } = Probes::put_into(stored.open()?, tensors, means, with_sizes);
    let mut session = lab.calibrating(model)?;
    // Only now: the weights, and what loading them took, are no business of it.
    let _reuse = Reuse::begin();
    watch.begin("calibrating", count as u64);
    let mut gathered = Gathered::new(tensors.len(), means.len());
    reader(&mut |inputs| {
        let answers = run(&mut session, inputs, &outputs)?;
        gathered.add(&answers, tensors.len(), means.len());
        watch.step();
        Ok(())
    })?;
    drop(session);
    let mut ranges = gathered.ranges(tensors)?;
    if with_sizes {
        let groups = groups(tensors, &gathered.sizes);
        watch.begin("filling histograms", (groups.len() * count) as u64);
        for group in groups {
            histograms(lab, stored, &group, calibrator, reader, &mut ranges, watch)?;
        }
    }
    let means = means.iter().map(|(name, _)| name.clone()).zip(gathered.means());
    Ok(Calibrated { ranges, means: means.collect() })
}

/// A model with nodes that take extremes and means of its tensors, whose outputs alone are asked for.
struct Probes {
    model: ModelProto,
    outputs: Vec<String>,
}

impl Probes {
    fn put_into(mut model: ModelProto, tensors: &[String], means: &[(String, usize)], with_sizes: bool) -> Probes {
        let opset = model.opset();
        let graph = model.graph.get_or_insert_default();
        let mut names = Names::of(graph);
        let mut outputs = Vec::new();
        let mut put = |operator: &str, tensor: &str, element: ElementType, axes: Option<&str>| {
            let name = names.fresh(&format!("edge_{operator}"));
            let mut inputs = vec![tensor];
            inputs.extend(axes);
            let node = NodeProto::new(operator, &name, &inputs, &[&name]);
            outputs.push((name, element));
            node
        };
        let mut nodes = Vec::new();
        for operator in ["ReduceMin", "ReduceMax"] {
            for tensor in tensors {
                nodes.push(put(operator, tensor, ElementType::Float, None).with_int("keepdims", 0));
            }
        }
        for (tensor, rank) in means {
            let axes: Vec<i64> = (0..*rank as i64).filter(|axis| *axis != 1).collect();
            let name = format!("edge_axes_{rank}");
            if opset >= 18 {
                nodes.push(put("ReduceMean", tensor, ElementType::Float, Some(&name)).with_int("keepdims", 0));
                if !graph.initializer.iter().any(|tensor| tensor.label() == name) {
                    graph.initializer.push(TensorProto::of_integers(&name, &axes));
                }
            } else {
                let mut node = put("ReduceMean", tensor, ElementType::Float, None).with_int("keepdims", 0);
                node.attribute.push(crate::onnx::proto::AttributeProto {
                    name: Some("axes".to_owned()),
                    r#type: Some(crate::onnx::proto::AttributeType::Ints as i32),
                    ints: axes,
                    ..Default::default()
                });
                nodes.push(node);
            }
        }
        if with_sizes {
            nodes.extend(tensors.iter().map(|tensor| put("Size", tensor, ElementType::Int64, None)));
        }
        graph.node.extend(nodes);
        graph.output = outputs.iter().map(|(name, element)| value(name, *element)).collect();
        Probes { outputs: outputs.into_iter().map(|(name, _)| name).collect(), model }
    }
}

/// An output of any shape.
fn value(name: &str, element: ElementType) -> ValueInfoProto {
    use crate::onnx::proto::{TypeProto, TypeProtoTensor, TypeProtoValue};
    let tensor = TypeProtoTensor { elem_type: Some(element as i32), shape: None };
    let r#type = Some(TypeProto { value: Some(TypeProtoValue::TensorType(tensor)), denotation: None });
    ValueInfoProto { name: Some(name.to_owned()), r#type, ..Default::default() }
}

struct Gathered {
    low: Vec<f32>,
    high: Vec<f32>,
    sizes: Vec<usize>,
    sums: Vec<Vec<f64>>,
    samples: usize,
}

impl Gathered {
    fn new(tensors: usize, means: usize) -> Gathered {
        Gathered {
            low: vec![f32::INFINITY; tensors],
            high: vec![f32::NEG_INFINITY; tensors],
            sizes: vec![0; tensors],
            sums: vec![Vec::new(); means],
            samples: 0,
        }
    }

    fn add(&mut self, answers: &[Tensor], tensors: usize, means: usize) {
        let (low, rest) = answers.split_at(tensors.min(answers.len()));
        let (high, rest) = rest.split_at(tensors.min(rest.len()));
        let (mean, sizes) = rest.split_at(means.min(rest.len()));
        for (known, tensor) in self.low.iter_mut().zip(low) {
            *known = floats(tensor).fold(*known, f32::min);
        }
        for (known, tensor) in self.high.iter_mut().zip(high) {
            *known = floats(tensor).fold(*known, f32::max);
        }
        for (sum, tensor) in self.sums.iter_mut().zip(mean) {
            sum.resize(sum.len().max(tensor.len()), 0.0);
            sum.iter_mut().zip(floats(tensor)).for_each(|(sum, value)| *sum += f64::from(value));
        }
        for (known, tensor) in self.sizes.iter_mut().zip(sizes) {
            let size = tensor.to_f64().and_then(|size| size.first().copied()).unwrap_or(0.0);
            *known = (*known).max(size as usize);
        }
        self.samples += 1;
    }

    /// A tensor that was empty in every sample has no range, and is left in float.
    fn ranges(&self, tensors: &[String]) -> Result<Ranges, String> {
        if self.samples == 0 {
            return Err("no sample could be read".to_owned());
        }
        let mut ranges = Ranges::new();
        for ((name, low), high) in tensors.iter().zip(&self.low).zip(&self.high) {
            if low.is_finite() && high.is_finite() && low <= high {
                ranges.insert(name.clone(), Range { low: *low, high: *high });
            }
        }
        Ok(ranges)
    }

    fn means(&self) -> impl Iterator<Item = Vec<f64>> {
        let samples = self.samples.max(1) as f64;
        self.sums.iter().map(move |sums| sums.iter().map(|sum| sum / samples).collect())
    }
}

fn floats(tensor: &Tensor) -> impl Iterator<Item = f32> {
    let raw: &[u8] = match (tensor.data(), tensor.datatype()) {
        (TensorData::Raw(raw), DataType::Fp32) => raw,
        _ => &[],
    };
    raw.as_chunks::<4>().0.iter().map(|cell| f32::from_le_bytes(*cell))
}

/// Groups of tensors whose bytes together stay within the limit, or single ones.
fn groups(tensors: &[String], sizes: &[usize]) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut filled = usize::MAX;
    for (name, size) in tensors.iter().zip(sizes) {
        let bytes = size.saturating_mul(4);
        match groups.last_mut() {
            Some(group) if filled.saturating_add(bytes) <= GROUP_BYTES => {
                group.push(name.clone());
                filled += bytes;
            }
            _ => {
                groups.push(vec![name.clone()]);
                filled = bytes;
            }
        }
    }
    groups
}

/// One pass over the samples, in which the tensors of a group are given out whole.
fn histograms(
    lab: &Lab,
    stored: &Stored,
    group: &[String],
    calibrator: Calibrator,
    reader: &mut Reader<'_>,
    ranges: &mut Ranges,
    watch: &dyn Watch,
) -> Result<(), String> {
    let group: Vec<&String> = group.iter().filter(|name| ranges.contains_key(*name)).collect();
    let mut exposed = stored.open()?;
    let graph = exposed.graph.get_or_insert_default();
    let inputs: Vec<&str> = graph.input.iter().map(ValueInfoProto::label).collect();
    // An input is no output: it is read from the sample.
    let given: Vec<String> =
        group.iter().filter(|name| !inputs.contains(&name.as_str())).map(|n| (*n).clone()).collect();
    if !given.is_empty() {
        graph.output = given.iter().map(|name| value(name, ElementType::Float)).collect();
    }
    let mut session = lab.calibrating(exposed)?;
    let mut filled: BTreeMap<&str, Histogram> = BTreeMap::new();
    for name in &group {
        if let Some(range) = ranges.get(*name) {
            filled.insert(name, Histogram::new(*range));
        }
    }
    reader(&mut |inputs| {
        let answers =
            if given.is_empty() { Vec::new() } else { run(&mut session as &mut dyn Session, inputs, &given)? };
        for tensor in answers.iter().chain(inputs) {
            if let Some(histogram) = filled.get_mut(tensor.name()) {
                histogram.add(floats(tensor));
            }
        }
        watch.step();
        Ok(())
    })?;
    let cut: Vec<(String, Range)> =
        filled.iter().map(|(name, one)| ((*name).to_owned(), one.cut(calibrator))).collect();
    ranges.extend(cut);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_what_is_small_enough_together_and_large_ones_alone() {
        let names: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let most = GROUP_BYTES / 4;
        assert_eq!(groups(&names, &[1, most - 1, 1, 2 * most]), [vec!["a", "b"], vec!["c"], vec!["d"]]);
        assert!(groups(&[], &[]).is_empty());
    }
}
