//! Floats to 8-bit numbers: scales, zero points, weights and biases.
//!
//! The arithmetic, its widths and its rounding are those of onnxruntime's quantization tool, to the bit.

use super::{Integer, Range};
use crate::onnx::proto::{ElementType, TensorProto};

/// `real = scale * (number - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// What one step is worth.
    pub scale: f32,
    /// The number that stands for 0.
    pub zero: i32,
}

impl Integer {
    /// The lowest and the highest number.
    pub fn limits(self) -> (i32, i32) {
        match self {
            Integer::U8 => (0, 255),
            Integer::S8 => (-128, 127),
        }
    }

    /// Its name in ONNX.
    pub fn element(self) -> ElementType {
        match self {
            Integer::U8 => ElementType::Uint8,
            Integer::S8 => ElementType::Int8,
        }
    }

    /// The numbers that a range is spread over.
    fn spread(self, reduced: bool, symmetric: bool) -> (i32, i32) {
        match (self, reduced, symmetric) {
            (Integer::U8, true, _) => (0, 127),
            (Integer::S8, true, _) => (-64, 64),
            (Integer::S8, false, true) => (-127, 127),
            (integer, false, _) => integer.limits(),
        }
    }
}

/// The scale and zero point that a range gets; 0 is always among its values.
pub fn affine(range: Range, integer: Integer, reduced: bool, symmetric: bool) -> Affine {
    let (lowest, highest) = integer.spread(reduced, symmetric);
    let (mut low, mut high) = (range.low.min(0.0), range.high.max(0.0));
    if symmetric {
        high = low.abs().max(high.abs());
        low = -high;
    }
    let scale = (f64::from(high) - f64::from(low)) / (f64::from(highest) - f64::from(lowest));
    if scale < f64::from(f32::MIN_POSITIVE) {
        return Affine { scale: 1.0, zero: 0 };
    }
    let zero = match symmetric {
        true => (f64::from(lowest + highest) / 2.0).round_ties_even(),
        false => (f64::from(lowest) - f64::from(low) / scale).round_ties_even(),
    };
    Affine { scale: scale as f32, zero: zero as i32 }
}

/// A float between 2²³ and 2²⁴ has no places after the point: adding this to a smaller one rounds it to the even neighbour, as
/// the processor adds. The library's function for that is called for every value where a processor may lack the instruction.
const ROUNDS: f32 = 12_582_912.0;
/// Further out than any number and any zero point: what is cut off here is cut off anyway.
const FAR: f32 = 1024.0;

/// The number that stands for a value.
pub fn number(value: f32, affine: Affine, integer: Integer) -> i32 {
    let (lowest, highest) = integer.limits();
    let rounded = ((value / affine.scale).clamp(-FAR, FAR) + ROUNDS) - ROUNDS;
    (rounded + affine.zero as f32).clamp(lowest as f32, highest as f32) as i32
}

/// A constant on its way to 8-bit numbers.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its contents.
    pub values: Vec<f32>,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// The axis of its channels, where each has a scale.
    pub axis: Option<usize>,
    /// The type of the numbers.
    pub integer: Integer,
    /// One, or one a channel.
    pub affines: Vec<Affine>,
}

/// The steps that tell a bias beside weights of 0: as many as a 32-bit float tells.
const FINE_STEPS: f64 = (1 << 24) as f64;

/// How a constant is to be quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form {
    /// The axis of its channels, where each gets a scale.
    pub axis: Option<usize>,
    /// The type of the numbers.
    pub integer: Integer,
    /// One bit less.
    pub reduced: bool,
    /// The same range on both sides of 0.
    pub symmetric: bool,
}

impl Weight {
    /// Finds the scales of a tensor. `None` where it has no finite contents of 32-bit floats.
    pub fn new(tensor: &TensorProto, form: Form) -> Option<Weight> {
        let (values, shape) = (tensor.floats().ok()?, tensor.shape().ok()?);
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let axis = form.axis.filter(|axis| *axis < shape.len());
        let channels = axis.map_or(1, |axis| shape[axis]);
        let mut ranges = vec![Range { low: f32::INFINITY, high: f32::NEG_INFINITY }; channels];
        for (run, channel) in runs(&values, &shape, axis) {
            let range = &mut ranges[channel];
            for value in run {
                range.low = range.low.min(*value);
                range.high = range.high.max(*value);
            }
        }
        let affine = |range: &Range| affine(*range, form.integer, form.reduced, form.symmetric);
        Some(Weight { affines: ranges.iter().map(affine).collect(), values, shape, axis, integer: form.integer })
    }

    /// Gives channels whose weights are all 0, so that any scale will do, one in whose steps all of their biases can be told:
    /// each comes with the scale of the input that it is beside.
    pub fn settle_empty<'b>(&mut self, biases: impl Iterator<Item = (&'b [f32], f32)>) {
        let mut empty = vec![self.axis.is_some(); self.affines.len()];
        for (run, channel) in runs(&self.values, &self.shape, self.axis) {
            empty[channel] &= run.iter().all(|value| *value == 0.0);
        }
        if !empty.contains(&true) {
            return;
        }
        let mut wanted = vec![0.0f64; self.affines.len()];
        for (bias, input) in biases {
            for (wanted, bias) in wanted.iter_mut().zip(bias) {
                *wanted = wanted.max(f64::from(bias.abs()) / (f64::from(input) * FINE_STEPS));
            }
        }
        let channels = self.affines.iter_mut().zip(empty).zip(wanted);
        for ((affine, _), wanted) in channels.filter(|((_, empty), wanted)| *empty && *wanted > 0.0) {
            affine.scale = (wanted as f32).clamp(f32::MIN_POSITIVE, 1.0);
        }
    }

    /// Makes scales larger where a bias in steps of `input * scale` would not fit 32 bits.
    pub fn make_room(&mut self, bias: &[f32], input: f32) {
        let largest = |values: &[f32]| values.iter().fold(0.0f64, |most, value| most.max(f64::from(value.abs())));
        let steps = f64::from(i32::MAX) - f64::from(i32::MIN + 1);
        for (channel, affine) in self.affines.iter_mut().enumerate() {
            let most = match self.axis {
                Some(_) => f64::from(bias.get(channel).copied().unwrap_or_default().abs()),
                None => largest(bias),
            };
            let least = 1.0001 * (2.0 * most) / steps;
            let step = f64::from(input) * f64::from(affine.scale);
            if step < least && step > 0.0 {
                affine.scale = (f64::from(affine.scale) * (least / step)) as f32;
            }
        }
    }

    /// The numbers, as a tensor of the same shape.
    pub fn numbers(&self, name: &str) -> TensorProto {
        let mut bytes = Vec::with_capacity(self.values.len());
        for (run, channel) in runs(&self.values, &self.shape, self.axis) {
            let affine = self.affines[channel];
            bytes.extend(run.iter().map(|value| number(*value, affine, self.integer) as u8));
        }
        TensorProto::of_bytes(name, self.integer.element(), &self.shape, bytes)
    }

    /// Its scales: one number, or a vector of them.
    pub fn scales(&self, name: &str) -> TensorProto {
        let scales: Vec<f32> = self.affines.iter().map(|affine| affine.scale).collect();
        TensorProto::of_floats(name, &self.sizes(), &scales)
    }

    /// Its zero points: one number, or a vector of them.
    pub fn zeros(&self, name: &str) -> TensorProto {
        let zeros: Vec<u8> = self.affines.iter().map(|affine| affine.zero as u8).collect();
        TensorProto::of_bytes(name, self.integer.element(), &self.sizes(), zeros)
    }

    fn sizes(&self) -> Vec<usize> {
        self.axis.map(|_| self.affines.len()).into_iter().collect()
    }
}

/// Contents piece by piece, each of one channel.
fn runs<'a>(values: &'a [f32], shape: &[usize], axis: Option<usize>) -> impl Iterator<Item = (&'a [f32], usize)> {
    let (length, channels) = match axis {
        Some(axis) => (shape[axis + 1..].iter().product::<usize>().max(1), shape[axis].max(1)),
        None => (values.len().max(1), 1),
    };
    values.chunks(length * channels).flat_map(move |block| block.chunks(length).zip(0..channels))
}

/// A bias in steps of `input * weight`: the numbers, and the scales.
pub fn bias(values: &[f32], input: f32, weight: &Weight) -> (Vec<i32>, Vec<f32>) {
    let scales: Vec<f32> = weight.affines.iter().map(|affine| input * affine.scale).collect();
    let step = |channel: usize| f64::from(scales[if scales.len() == 1 { 0 } else { channel }]);
    let number = |(channel, value): (usize, &f32)| {
        (f64::from(*value) / step(channel)).round_ties_even().clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32
    };
    (values.iter().enumerate().map(number).collect(), scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_zero_and_use_every_number() {
        let of = |low, high| affine(Range { low, high }, Integer::U8, false, false);
        assert_eq!(of(-1.0, 1.0), Affine { scale: (2.0f64 / 255.0) as f32, zero: 128 });
        assert_eq!(of(0.5, 2.0), Affine { scale: (2.0f64 / 255.0) as f32, zero: 0 });
        assert_eq!(of(-3.0, -1.0), Affine { scale: (3.0f64 / 255.0) as f32, zero: 255 });
        assert_eq!(of(0.0, 0.0), Affine { scale: 1.0, zero: 0 });
        assert_eq!(of(f32::MIN, f32::MAX).zero, 128);
        let signed = affine(Range { low: 0.0, high: 6.0 }, Integer::S8, false, false);
        assert_eq!(signed.zero, -128);
        let weights = |reduced| affine(Range { low: -1.0, high: 0.5 }, Integer::S8, reduced, true);
        assert_eq!(weights(false), Affine { scale: (2.0f64 / 254.0) as f32, zero: 0 });
        assert_eq!(weights(true), Affine { scale: (2.0f64 / 128.0) as f32, zero: 0 });
    }

    #[test]
    fn numbers_round_to_even_and_stay_in_range() {
        let affine = Affine { scale: 1.0, zero: 0 };
        let of = |value| number(value, affine, Integer::S8);
        assert_eq!([of(0.5), of(1.5), of(-2.5), of(1e9), of(-1e9)], [0, 2, -2, 127, -128]);
        assert_eq!(number(-4.0, Affine { scale: 2.0, zero: 3 }, Integer::U8), 1);
        let library = |value: f32| value.round_ties_even().clamp(-128.0, 127.0) as i32;
        let steps = (-3000..3000).map(|step| step as f32 / 16.0);
        assert!(steps.into_iter().all(|value| of(value) == library(value)));
        assert_eq!([of(f32::MAX), number(1.0, Affine { scale: f32::MIN_POSITIVE, zero: -5 }, Integer::S8)], [127, 127]);
    }

    #[test]
    fn each_channel_has_its_scale_on_any_axis() {
        let tensor = TensorProto::of_floats("w", &[2, 2], &[1.0, -4.0, 2.0, 8.0]);
        let form = |axis| Form { axis, integer: Integer::S8, reduced: false, symmetric: true };
        let scales = |axis| {
            let weight = Weight::new(&tensor, form(axis)).unwrap();
            weight.affines.iter().map(|affine| (affine.scale * 127.0).round()).collect::<Vec<f32>>()
        };
        assert_eq!(scales(Some(0)), [4.0, 8.0]);
        assert_eq!(scales(Some(1)), [2.0, 8.0]);
        assert_eq!(scales(None), [8.0]);
        let weight = Weight::new(&tensor, form(Some(1))).unwrap();
        assert_eq!(weight.numbers("q").raw_data.unwrap().to_vec(), [64, 192, 127, 127]);
        assert!(Weight::new(&TensorProto::of_floats("w", &[1], &[f32::NAN]), form(None)).is_none());
    }

    #[test]
    fn a_bias_that_would_not_fit_makes_the_scale_larger() {
        let tensor = TensorProto::of_floats("w", &[2, 1], &[1e-6, 1.0]);
        let form = Form { axis: Some(0), integer: Integer::S8, reduced: false, symmetric: true };
        let mut weight = Weight::new(&tensor, form).unwrap();
        let before = weight.affines.clone();
        let values = [1000.0, 1.0];
        weight.make_room(&values, 1e-4);
        assert!(weight.affines[0].scale > before[0].scale && weight.affines[1] == before[1]);
        let (numbers, scales) = bias(&values, 1e-4, &weight);
        assert!(numbers[0] < i32::MAX && numbers[0] > i32::MAX - 1_000_000, "{numbers:?}");
        assert!((f64::from(numbers[0]) * f64::from(scales[0]) - 1000.0).abs() < 1e-3);
    }
}
