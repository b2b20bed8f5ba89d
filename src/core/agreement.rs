//! How far the outputs of two forms of one model agree, sample by sample: the float model's are what the others are held
//! against.
//!
//! What is counted is told from the float model's outputs on the first sample:
//!
//! | kind | told by | a unit is | agreement |
//! |---|---|---|---|
//! | classifier | one output of floats, `[B, C]` or `[B, C, 1, 1]` with C ≥ 2, that is no embedding of length 1; all others whole numbers or text | a row | rows with the same best class over all rows, and no more than 1 less the scores' normalised error where that is over 0.5 |
//! | detector | scores `[B, N, C]` of 0 to 1 beside boxes `[B, N, 4]`; or one output `[B, N, 5 + C]` (box, objectness, classes) or `[B, 4 + C, N]` whose scores are of 0 to 1 and whose boxes are not | a confident row, score ≥ 0.5 | `2 m / (a + b)`: m rows that are confident in both, of one class, with boxes at most a twentieth of the boxes' spread apart; a and b those of each side |
//! | values | anything else | an output | 1 less the worst normalised error |
//!
//! The normalised error of an output is `‖float - other‖₂ / ‖float‖₂` over all samples; of whole numbers and text the share
//! of unequal elements. Where scores sum to 1 in each row, the class that is best in most rows is taken as background.

mod detector;

use crate::core::tensor::{DataType, Tensor, TensorData};

pub use detector::Detector;

/// How far a box may move, as a share of the spread of all boxes.
const BOX_TOLERANCE: f64 = 0.05;
/// The normalised error of scores beyond which the same best class is no agreement: what is so far off may be no scores at all,
/// but values of which one is the largest in every row.
const MOST_SCORE_ERROR: f64 = 0.5;
/// The fewest rows that make a detector of an output.
const LEAST_ROWS: usize = 8;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The best class of each row.
    Classifier {
        /// The output with the scores.
        output: usize,
    },
    /// The confident rows.
    Detector(Detector),
    /// The worst output's error.
    Values,
}

/// The error of one output over all samples.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputError {
    /// The output's name.
    pub name: String,
    /// The normalised error; infinite where one side is not a number and the other is, or where shapes differ.
    pub error: f64,
}

/// Sums over the samples that were added.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    kind: Option<Kind>,
    samples: usize,
    /// Units that agree; of a detector, rows that are confident in both.
    agreeing: u64,
    /// Units of the float model and of the other.
    units: [u64; 2],
    outputs: Vec<Sum>,
    /// Of a detector: how far the noticed rows have moved, and how many there are.
    moved: (f64, u64),
}

#[derive(Clone, Debug)]
struct Sum {
    name: String,
    difference: f64,
    reference: f64,
}

impl Comparison {
    /// Adds one sample: the float model's outputs and the other's, in the same order.
    pub fn add(&mut self, float: &[Tensor], other: &[Tensor]) {
        self.samples += 1;
        if self.outputs.is_empty() {
            let sum = |tensor: &Tensor| Sum { name: tensor.name().to_owned(), difference: 0.0, reference: 0.0 };
            self.outputs = float.iter().map(sum).collect();
        }
        let floats: Vec<Option<Vec<f64>>> = float.iter().map(Tensor::to_f64).collect();
        let others: Vec<Option<Vec<f64>>> = other.iter().map(Tensor::to_f64).collect();
        for (index, sum) in self.outputs.iter_mut().enumerate() {
            let (difference, reference) = match (float.get(index), other.get(index)) {
                (Some(a), Some(b)) if a.shape() == b.shape() => {
                    let values = |all: &[Option<Vec<f64>>]| all.get(index).cloned().flatten();
                    squares(a, b, values(&floats).as_deref(), values(&others).as_deref())
                }
                _ => (f64::INFINITY, 0.0),
            };
            sum.difference += difference;
            sum.reference += reference;
        }
        let kind = self.kind.get_or_insert_with(|| tell(float, &floats)).clone();
        match &kind {
            Kind::Values => {}
            Kind::Classifier { output } => {
                let (a, b) = (best_classes(float, &floats, *output), best_classes(other, &others, *output));
                self.units[0] += a.len() as u64;
                self.units[1] += b.len() as u64;
                self.agreeing += a.iter().zip(&b).filter(|(a, b)| a.is_some() && a == b).count() as u64;
            }
            Kind::Detector(detector) => {
                let tolerance = BOX_TOLERANCE * detector.spread(float, &floats);
                let counts =
                    detector::compare(&detector.rows(float, &floats), &detector.rows(other, &others), tolerance);
                self.units[0] += counts.confident[0];
                self.units[1] += counts.confident[1];
                self.agreeing += counts.agreeing;
                self.moved.0 += counts.moved;
                self.moved.1 += counts.noticed;
            }
        }
    }

    /// What is counted; `None` before the first sample.
    pub fn kind(&self) -> Option<&Kind> {
        self.kind.as_ref()
    }

    /// How many samples were added.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The agreement, from 0 to 1. Without a sample it is 0; a detector that is nowhere confident is held to its values.
    pub fn value(&self) -> f64 {
        match self.units.iter().sum::<u64>() {
            _ if self.samples == 0 => 0.0,
            0 => (1.0 - self.worst_error()).clamp(0.0, 1.0),
            units => {
                let share = 2.0 * self.agreeing as f64 / units as f64;
                self.score_error().map_or(share, |error| share.min((1.0 - error).clamp(0.0, 1.0)))
            }
        }
    }

    /// The normalised error of a classifier's scores, where it is too large for the best classes to count.
    fn score_error(&self) -> Option<f64> {
        let Some(Kind::Classifier { output }) = &self.kind else { return None };
        self.outputs.get(*output).map(Sum::error).filter(|error| *error > MOST_SCORE_ERROR)
    }

    /// The agreement that is asked for where nobody says otherwise: 0.98, and for values an error of at most 0.05.
    pub fn default_target(&self) -> f64 {
        if self.by_values() { 0.95 } else { 0.98 }
    }

    fn by_values(&self) -> bool {
        self.units == [0, 0]
    }

    /// One clause, such as `the same best class in 63 of 64 rows`.
    pub fn text(&self) -> String {
        let [a, b] = self.units;
        match &self.kind {
            None => "no sample was compared".to_owned(),
            Some(Kind::Classifier { .. }) => {
                let far = self.score_error().map(|error| format!(", and scores whose normalised error is {error:.4}"));
                format!("the same best class in {} of {a} rows{}", self.agreeing, far.unwrap_or_default())
            }
            Some(Kind::Detector(_)) if !self.by_values() => {
                format!("{} rows confident in both, {a} in the original, {b} in the other", self.agreeing)
            }
            Some(Kind::Detector(_)) => {
                format!("no row is confident in any sample; the worst output's error is {:.4}", self.worst_error())
            }
            Some(Kind::Values) => format!("the worst output's normalised error is {:.4}", self.worst_error()),
        }
    }

    /// How far the two are apart, finer than the agreement: for ranking one form against another. Of a detector the mean change
    /// of the scores of rows that score 0.25 or more on either side; of a classifier the error of its scores; else the worst
    /// error.
    pub fn distance(&self) -> f64 {
        match &self.kind {
            Some(Kind::Detector(_)) if self.moved.1 > 0 => self.moved.0 / self.moved.1 as f64,
            Some(Kind::Classifier { output }) => self.outputs.get(*output).map_or(0.0, Sum::error),
            _ => self.worst_error(),
        }
    }

    /// The word for what is counted: `top-1`, `confident rows` or `normalised error`.
    pub fn measure(&self) -> &'static str {
        match &self.kind {
            Some(Kind::Classifier { .. }) => "top-1",
            Some(Kind::Detector(_)) if !self.by_values() => "confident rows",
            _ => "normalised error",
        }
    }

    /// The normalised error of each output.
    pub fn errors(&self) -> Vec<OutputError> {
        self.outputs.iter().map(|sum| OutputError { name: sum.name.clone(), error: sum.error() }).collect()
    }

    /// The largest of [`Comparison::errors`].
    pub fn worst_error(&self) -> f64 {
        self.outputs.iter().map(Sum::error).fold(0.0, f64::max)
    }
}

impl Sum {
    fn error(&self) -> f64 {
        if self.difference == 0.0 { 0.0 } else { (self.difference / self.reference).sqrt() }
    }
}

/// The squared norms of the difference and of the reference; of what is no float, the unequal elements and all of them, so
/// that the root of their ratio is the share for one sample as for many, squared.
fn squares(a: &Tensor, b: &Tensor, float: Option<&[f64]>, other: Option<&[f64]>) -> (f64, f64) {
    let (Some(float), Some(other), true) = (float, other, is_float(a) && is_float(b)) else {
        let (unequal, all) = unequal(a, b);
        return (unequal * unequal, all * all);
    };
    let mut sums = (0.0, 0.0);
    for (x, y) in float.iter().zip(other) {
        if x.is_finite() && y.is_finite() {
            sums.0 += (x - y) * (x - y);
            sums.1 += x * x;
        } else if x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan()) {
            sums.0 = f64::INFINITY;
        }
    }
    sums
}

fn unequal(a: &Tensor, b: &Tensor) -> (f64, f64) {
    let count = match (a.data(), b.data()) {
        _ if a.datatype() != b.datatype() => a.len(),
        (TensorData::Raw(x), TensorData::Raw(y)) => {
            let size = a.datatype().element_bytes().unwrap_or(1);
            x.chunks(size).zip(y.chunks(size)).filter(|(x, y)| x != y).count()
        }
        (TensorData::Strings(x), TensorData::Strings(y)) => x.iter().zip(y).filter(|(x, y)| x != y).count(),
        _ => a.len(),
    };
    (count as f64, a.len() as f64)
}

fn is_float(tensor: &Tensor) -> bool {
    matches!(tensor.datatype(), DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64)
}

/// Scores over a plane of one place, `[B, C, 1, 1]`, as `[B, C]`.
fn trimmed(shape: &[usize]) -> &[usize] {
    match shape {
        [_, _, 1, 1] => &shape[..2],
        _ => shape,
    }
}

fn tell(outputs: &[Tensor], values: &[Option<Vec<f64>>]) -> Kind {
    let floats: Vec<usize> = (0..outputs.len()).filter(|index| is_float(&outputs[*index])).collect();
    let of = |index: usize| values.get(index).and_then(Option::as_deref).unwrap_or_default();
    if let [output] = floats.as_slice() {
        match trimmed(outputs[*output].shape()) {
            [_, classes] if *classes >= 2 && !is_embedding(of(*output), *classes) => {
                return Kind::Classifier { output: *output };
            }
            [_, rows, width]
                if *width >= 5 && *rows >= LEAST_ROWS && rows > width && detector::is_rows(of(*output), *width) =>
            {
                return Kind::Detector(Detector::Rows { output: *output });
            }
            [_, height, columns]
                if *height >= 5
                    && *columns >= LEAST_ROWS
                    && columns > height
                    && detector::is_columns(of(*output), *height, *columns) =>
            {
                return Kind::Detector(Detector::Columns { output: *output });
            }
            _ => {}
        }
    }
    for scores in &floats {
        let [_, rows, classes] = outputs[*scores].shape() else { continue };
        let is_boxes = |index: &&usize| *index != scores && outputs[**index].shape().ends_with(&[*rows, 4]);
        let found = floats.iter().find(is_boxes);
        if let (Some(boxes), true) = (found, *rows >= LEAST_ROWS && of(*scores).iter().all(is_score)) {
            let background = detector::background(of(*scores), *classes);
            return Kind::Detector(Detector::Apart { scores: *scores, boxes: *boxes, background });
        }
    }
    Kind::Values
}

fn is_score(value: &f64) -> bool {
    (-1e-3..=1.0 + 1e-3).contains(value)
}

/// Rows of length 1 with both signs are places in a space, not scores of classes.
fn is_embedding(values: &[f64], width: usize) -> bool {
    let unit = |row: &[f64]| (row.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-2;
    width >= 16 && values.iter().any(|x| *x < 0.0) && values.chunks(width).all(unit)
}

/// The first of the largest values, with its index; of no values, 0 and minus infinity.
fn best(values: impl Iterator<Item = f64>) -> (usize, f64) {
    values.enumerate().fold(
        (0, f64::NEG_INFINITY),
        |found, (index, value)| {
            if value > found.1 { (index, value) } else { found }
        },
    )
}

/// The best class of each row; none where a score is no number, which agrees with nothing.
fn best_classes(outputs: &[Tensor], values: &[Option<Vec<f64>>], output: usize) -> Vec<Option<usize>> {
    let Some((tensor, Some(values))) = outputs.get(output).zip(values.get(output)) else { return Vec::new() };
    let Some(classes) = trimmed(tensor.shape()).get(1).filter(|classes| **classes > 0) else { return Vec::new() };
    let class = |scores: &[f64]| (!scores.iter().any(|x| x.is_nan())).then(|| best(scores.iter().copied()).0);
    values.chunks_exact(*classes).map(class).collect()
}

#[cfg(test)]
mod tests;
