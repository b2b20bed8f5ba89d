//! Detectors: where their scores and boxes are, and which rows of two forms agree.

use super::{best, is_score, trimmed};
use crate::core::tensor::Tensor;

/// The score from which on a row counts.
const CONFIDENT: f64 = 0.5;
/// The score from which on a row tells how far scores have moved.
const NOTICED: f64 = 0.25;

/// Where a detector's scores and boxes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detector {
    /// Two outputs.
    Apart {
        /// Scores `[B, N, C]`.
        scores: usize,
        /// Boxes `[B, N, 4]`.
        boxes: usize,
        /// The class that means nothing, where scores sum to 1.
        background: Option<usize>,
    },
    /// One output `[B, N, 5 + C]`: box, objectness, classes.
    Rows {
        /// The output.
        output: usize,
    },
    /// One output `[B, 4 + C, N]`: box, classes.
    Columns {
        /// The output.
        output: usize,
    },
}

/// One row that is compared.
pub(super) struct Row {
    row: usize,
    class: usize,
    score: f64,
    place: [f64; 4],
}

/// What a comparison of rows gives.
#[derive(Default)]
pub(super) struct Counts {
    /// Rows that are confident on each side.
    pub confident: [u64; 2],
    /// Rows that are confident on both, of one class, with boxes no further apart than asked for.
    pub agreeing: u64,
    /// The sum of the scores' changes over the noticed rows.
    pub moved: f64,
    /// Rows noticed on either side.
    pub noticed: u64,
}

/// Compares two lists, each in the order of its rows. A row that one side does not notice counts with its whole score.
pub(super) fn compare(a: &[Row], b: &[Row], tolerance: f64) -> Counts {
    let mut counts = Counts::default();
    let confident = |rows: &[Row]| rows.iter().filter(|row| row.score >= CONFIDENT).count() as u64;
    counts.confident = [confident(a), confident(b)];
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let (left, right) = match (a.peek(), b.peek()) {
            (None, None) => return counts,
            (Some(x), Some(y)) if x.row == y.row => (a.next(), b.next()),
            (Some(x), Some(y)) if x.row > y.row => (None, b.next()),
            (Some(_), _) => (a.next(), None),
            (None, Some(_)) => (None, b.next()),
        };
        counts.noticed += 1;
        let score = |row: Option<&Row>| row.map_or(0.0, |row| row.score);
        counts.moved += (score(left) - score(right)).abs();
        if let (Some(x), Some(y)) = (left, right) {
            let near = x.place.iter().zip(y.place).all(|(x, y)| (x - y).abs() <= tolerance);
            counts.moved += if near { 0.0 } else { 1.0 };
            let both = x.score >= CONFIDENT && y.score >= CONFIDENT;
            counts.agreeing += u64::from(both && x.class == y.class && near);
        }
    }
}

impl Detector {
    /// The rows that score enough to be noticed, in order.
    pub(super) fn rows(&self, outputs: &[Tensor], values: &[Option<Vec<f64>>]) -> Vec<Row> {
        let of = |index: usize| values.get(index).and_then(Option::as_deref).unwrap_or_default();
        let dims = |index: usize| outputs.get(index).map(Tensor::shape).map(trimmed).unwrap_or_default();
        let mut found = Vec::new();
        let mut keep = |row: usize, (class, score): (usize, f64), place: [f64; 4]| {
            if score >= NOTICED {
                found.push(Row { row, class, score, place });
            }
        };
        match self {
            Detector::Apart { scores, boxes, background } => {
                let Some(&classes) = outputs.get(*scores).and_then(|scores| scores.shape().last()) else {
                    return found;
                };
                let without = |(class, score): (usize, &f64)| if Some(class) == *background { -1.0 } else { *score };
                let places = of(*boxes).chunks_exact(4).map(four).chain(std::iter::repeat([f64::NAN; 4]));
                for (row, (scores, place)) in of(*scores).chunks_exact(classes.max(1)).zip(places).enumerate() {
                    keep(row, best(scores.iter().enumerate().map(without)), place);
                }
            }
            Detector::Rows { output } => {
                let &[_, _, width] = dims(*output) else { return found };
                for (row, cells) in of(*output).chunks_exact(width).enumerate() {
                    let (class, score) = if width == 5 { (0, 1.0) } else { best(cells[5..].iter().copied()) };
                    keep(row, (class, score * cells[4]), four(cells));
                }
            }
            Detector::Columns { output } => {
                let &[_, height, columns] = dims(*output) else { return found };
                for (batch, cells) in of(*output).chunks_exact(height * columns).enumerate() {
                    for column in 0..columns {
                        let cell = |line: usize| cells[line * columns + column];
                        keep(batch * columns + column, best((4..height).map(cell)), [0, 1, 2, 3].map(cell));
                    }
                }
            }
        }
        found
    }

    /// From the least to the largest of all boxes' numbers.
    pub(super) fn spread(&self, outputs: &[Tensor], values: &[Option<Vec<f64>>]) -> f64 {
        let index = match self {
            Detector::Apart { boxes: index, .. }
            | Detector::Rows { output: index }
            | Detector::Columns { output: index } => index,
        };
        let values = values.get(*index).and_then(Option::as_deref).unwrap_or_default();
        let shape = outputs.get(*index).map(Tensor::shape).map(trimmed).unwrap_or_default();
        let (first, period) = match (self, shape) {
            (Detector::Rows { .. }, [_, _, width]) => (4, *width),
            (Detector::Columns { .. }, [_, height, columns]) => (4 * columns, height * columns),
            _ => (1, 1),
        };
        let places = values.chunks(period.max(1)).flat_map(|cells| cells.iter().take(first));
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
        (high - low).max(0.0)
    }
}

pub(super) fn is_rows(values: &[f64], width: usize) -> bool {
    let rows = || values.chunks_exact(width);
    rows().all(|row| row[4..].iter().all(is_score)) && rows().any(|row| row[..4].iter().any(|x| !is_score(x)))
}

pub(super) fn is_columns(values: &[f64], height: usize, columns: usize) -> bool {
    let mut batches = values.chunks_exact(height * columns);
    let is_one = |one: &[f64]| {
        let (boxes, scores) = one.split_at(4 * columns);
        scores.iter().all(is_score) && boxes.iter().any(|x| !is_score(x))
    };
    !values.is_empty() && batches.all(is_one)
}

/// The class that is best in most rows, where the rows sum to 1.
pub(super) fn background(scores: &[f64], classes: usize) -> Option<usize> {
    let sums_to_one = |row: &[f64]| (row.iter().sum::<f64>() - 1.0).abs() < 1e-2;
    if classes < 2 || !scores.chunks_exact(classes).all(sums_to_one) {
        return None;
    }
    let mut wins = vec![0u64; classes];
    for row in scores.chunks_exact(classes) {
        wins[best(row.iter().copied()).0] += 1;
    }
    Some(best(wins.iter().map(|count| *count as f64)).0)
}

/// The first four cells of a row.
fn four(cells: &[f64]) -> [f64; 4] {
    [0, 1, 2, 3].map(|index| cells.get(index).copied().unwrap_or(f64::NAN))
}
