//! Histograms of a tensor's values in bounded memory, and the ranges that are cut out of them.

use crate::quantize::Range;

/// How a range is found from the values that samples give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Calibrator {
    /// From the least to the largest value.
    #[default]
    Minmax,
    /// Without the outermost 0.0005 % on either side.
    Percentile,
    /// The range whose 8-bit form tells most of the values' distribution (Kullback-Leibler).
    Entropy,
}

/// Bins of a histogram.
pub const BINS: usize = 2048;
/// Levels that the entropy's reference is quantised to.
const LEVELS: usize = 128;
/// The share of values within the percentile's range.
const INSIDE: f64 = 0.99999;

/// Counts of values in equal bins from `-reach` to `reach`, where `reach` is known before.
pub struct Histogram {
    range: Range,
    reach: f32,
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty one for values within a range.
    pub fn new(range: Range) -> Histogram {
        Histogram { range, reach: range.low.abs().max(range.high.abs()), counts: vec![0; BINS] }
    }

    /// Counts values; those that are no numbers are left out.
    pub fn add(&mut self, values: impl Iterator<Item = f32>) {
        let scale = BINS as f64 / (2.0 * f64::from(self.reach));
        for value in values {
            let at = (f64::from(value) + f64::from(self.reach)) * scale;
            if at.is_finite() {
                let bin = (at.max(0.0) as usize).min(BINS - 1);
                if let Some(count) = self.counts.get_mut(bin) {
                    *count += 1;
                }
            }
        }
    }

    fn edge(&self, index: usize) -> f32 {
        let reach = f64::from(self.reach);
        (-reach + 2.0 * reach * index as f64 / BINS as f64) as f32
    }

    fn clamped(&self, low: usize, high: usize) -> Range {
        let cut = Range { low: self.edge(low).max(self.range.low), high: self.edge(high).min(self.range.high) };
        // Values that are all in one bin leave nothing between its edges.
        if cut.low <= cut.high { cut } else { self.range }
    }

    /// The range that this calibrator cuts out.
    pub fn cut(&self, calibrator: Calibrator) -> Range {
        match calibrator {
            Calibrator::Minmax => self.range,
            _ if self.reach == 0.0 || self.counts.iter().all(|count| *count == 0) => self.range,
            Calibrator::Percentile => self.percentile(),
            Calibrator::Entropy => self.entropy(),
        }
    }

    fn percentile(&self) -> Range {
        let total: u64 = self.counts.iter().sum();
        let outside = (1.0 - INSIDE) / 2.0;
        let reaches = |share: f64| {
            let mut sum = 0u64;
            let found = self.counts.iter().position(|count| {
                sum += count;
                sum as f64 / total as f64 >= share
            });
            found.unwrap_or(BINS - 1)
        };
        self.clamped(reaches(outside), reaches(1.0 - outside))
    }

    /// Source: S. Migacz, 8-bit Inference with TensorRT, GTC 2017; symmetric bounds around zero, outliers counted in the
    /// outermost bins.
    fn entropy(&self) -> Range {
        let middle = BINS / 2;
        let mut best = (f64::INFINITY, BINS, 0);
        for half in LEVELS / 2..=middle {
            let (start, end) = (middle - half, (middle + half + 1).min(BINS));
            let divergence = self.divergence(start, end);
            if divergence < best.0 {
                best = (divergence, end, start);
            }
        }
        if best.0.is_finite() { self.clamped(best.2, best.1) } else { self.range }
    }

    fn divergence(&self, start: usize, end: usize) -> f64 {
        let inside = &self.counts[start..end];
        let mut reference: Vec<f64> = inside.iter().map(|count| *count as f64).collect();
        let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        if let Some(first) = reference.first_mut() {
            *first += sum(&self.counts[..start]);
        }
        if let Some(last) = reference.last_mut() {
            *last += sum(&self.counts[end..]);
        }
        let merged = inside.len() / LEVELS;
        let mut candidate = vec![0.0; inside.len()];
        for level in 0..LEVELS {
            let (from, to) = (level * merged, (level + 1) * merged);
            let all = if level + 1 == LEVELS { sum(&inside[from..]) } else { sum(&inside[from..to]) };
            let filled = reference[from..to].iter().filter(|count| **count > 0.0).count();
            if filled > 0 {
                candidate[from..to].fill((all / filled as f64).floor());
            }
        }
        let (Some(p), Some(q)) = (smooth(reference), smooth(candidate)) else { return f64::INFINITY };
        let (total_p, total_q): (f64, f64) = (p.iter().sum(), q.iter().sum());
        let term = |(p, q): (&f64, &f64)| if *p > 0.0 { p / total_p * (p / total_p / (q / total_q)).ln() } else { 0.0 };
        p.iter().zip(&q).map(term).sum()
    }
}

/// Takes a little from what is there and gives it to what is empty, so that every ratio is a number.
fn smooth(mut counts: Vec<f64>) -> Option<Vec<f64>> {
    const LITTLE: f64 = 0.0001;
    let empty = counts.iter().filter(|count| **count == 0.0).count();
    let filled = counts.len() - empty;
    if filled == 0 {
        return None;
    }
    let taken = LITTLE * empty as f64 / filled as f64;
    if taken >= 1.0 {
        return None;
    }
    for count in &mut counts {
        *count += if *count == 0.0 { LITTLE } else { -taken };
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut histogram = Histogram::new(Range { low, high });
        values.chunks(100).for_each(|chunk| histogram.add(chunk.iter().copied()));
        histogram
    }

    /// A bell around zero with an outlier far off.
    fn bell() -> Vec<f32> {
        let mut values: Vec<f32> = Vec::new();
        for step in -300i32..=300 {
            let x = step as f32 / 100.0;
            let count = (200.0 * (-x * x / 2.0).exp()) as usize;
            values.extend(std::iter::repeat_n(x, count));
        }
        values.push(40.0);
        values
    }

    #[test]
    fn the_extremes_are_the_range_of_minmax() {
        let range = histogram(&bell()).cut(Calibrator::Minmax);
        assert_eq!((range.low, range.high), (-3.0, 40.0));
    }

    #[test]
    fn an_outlier_is_cut_off_by_entropy_and_by_a_percentile_of_many() {
        let few = histogram(&bell());
        let entropy = few.cut(Calibrator::Entropy);
        assert!(entropy.high < 20.0 && entropy.low >= -3.0, "{entropy:?}");
        assert!(few.cut(Calibrator::Percentile).high > 39.9, "one of so few is more than 0.0005 %");
        let many: Vec<f32> = std::iter::repeat_n(bell(), 10).flatten().filter(|x| *x < 40.0).chain([40.0]).collect();
        let percentile = histogram(&many).cut(Calibrator::Percentile);
        assert!(percentile.high < 4.0, "{percentile:?}");
    }

    #[test]
    fn values_that_are_all_zero_or_no_numbers_do_no_harm() {
        for calibrator in [Calibrator::Minmax, Calibrator::Percentile, Calibrator::Entropy] {
            let mut zero = Histogram::new(Range { low: 0.0, high: 0.0 });
            zero.add([0.0, f32::NAN, 0.0].into_iter());
            assert_eq!(zero.cut(calibrator), Range { low: 0.0, high: 0.0 });
            let mut one = Histogram::new(Range { low: 1.0, high: 1.0 });
            one.add([1.0, f32::NAN, f32::INFINITY].into_iter());
            let cut = one.cut(calibrator);
            assert!(cut.low <= cut.high && cut.high == 1.0, "{cut:?}");
        }
    }
}
