//! Pillow's resampling. `bilinear`, the default, is left to a library that does it with SIMD and is within 1 of 255; the
//! filters that overshoot are computed here to the last bit: a separable convolution whose kernel widens with the shrinking (antialias), in
//! fixed point, in two passes with 8 bits in between. Source: `src/libImaging/Resample.c` of Pillow, 13, and
//! `Geometry.c` for `nearest`. A library that rounds otherwise is off by several levels where bicubic and Lanczos overshoot.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

/// Fraction bits of a weight: 32 less 8 of a sample and 2 for what a kernel overshoots.
const PRECISION: u32 = 32 - 8 - 2;

/// A half, to round by.
const HALF: i32 = 1 << (PRECISION - 1);

/// Weights that are held at once, of four bytes each.
const MAX_WEIGHTS: usize = 1 << 20;

/// Steps that are added one by one to find a nearest pixel, as Pillow adds them.
const MAX_STEPS: u64 = 1 << 20;

/// A resampling, under Pillow's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// Cubic, with a = -0.5.
    Bicubic,
    /// A sinc under a sinc three times as wide.
    Lanczos,
    /// No blending.
    Nearest,
}

impl Filter {
    /// Half the kernel's width, in pixels of the larger picture.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
            Filter::Nearest => 0.5,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Filter::Lanczos if (-3.0..3.0).contains(&distance) => sinc(distance) * sinc(distance / 3.0),
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// One side of a resampling: `from` pixels become `to`, of which `count` are wanted, from the one numbered `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Pixels of the picture.
    pub from: u32,
    /// Pixels of the whole resized picture.
    pub to: u64,
    /// The first that is wanted.
    pub first: u64,
    /// How many are wanted: `first + count` is at most `to`.
    pub count: u32,
}

impl Side {
    fn step(self) -> f64 {
        f64::from(self.from) / self.to as f64
    }

    /// The pixels that the wanted pixel at `index` is made of: where they begin and end, and its centre.
    fn window(self, filter: Filter, index: u32) -> (usize, usize, f64) {
        let support = filter.support() * self.step().max(1.0);
        let centre = ((self.first + u64::from(index)) as f64 + 0.5) * self.step();
        let begin = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(self.from as usize);
        (begin, end.max(begin), centre)
    }

    /// Writes the weights of one wanted pixel behind `weights`, and tells the first pixel that they are for.
    fn weights(self, filter: Filter, index: u32, weights: &mut Vec<i32>) -> usize {
        let (begin, end, centre) = self.window(filter, index);
        let narrowing = 1.0 / self.step().max(1.0);
        let exact = |at: usize| filter.weight((at as f64 - centre + 0.5) * narrowing);
        let sum: f64 = (begin..end).map(exact).sum();
        weights.extend((begin..end).map(exact).map(|weight| {
            let share = if sum == 0.0 { weight } else { weight / sum } * f64::from(1 << PRECISION);
            (if share < 0.0 { share - 0.5 } else { share + 0.5 }) as i32
        }));
        begin
    }

    /// The nearest pixel of each that is wanted. Pillow adds step by step, which shows where two are equally near.
    fn nearest(self) -> Vec<usize> {
        let step = self.step();
        let added = self.first.min(MAX_STEPS);
        let mut at = (0..added).fold(step * 0.5, |at, _| at + step) + step * (self.first - added) as f64;
        let last = self.from.saturating_sub(1) as usize;
        let mut places = Vec::with_capacity(self.count as usize);
        for _ in 0..self.count {
            places.push((at as usize).min(last));
            at += step;
        }
        places
    }
}

/// The wanted part of a picture's resized rows: `across.count` times `down.count` pixels.
pub fn resample(pixels: &[u8], across: Side, down: Side, filter: Filter) -> Vec<u8> {
    let row_bytes = across.from as usize * 3;
    if filter == Filter::Bilinear
        && let Some(resized) = by_library(pixels, across, down)
    {
        return resized;
    }
    if filter == Filter::Nearest {
        return nearest(pixels, row_bytes, &across.nearest(), &down.nearest());
    }
    if down_first(across, down) {
        let between = pass_down(pixels, row_bytes, 0, down, filter);
        return pass_across(&between, across, filter);
    }
    // Only the rows that show are resized across.
    let (top, _, _) = down.window(filter, 0);
    let (_, bottom, _) = down.window(filter, down.count.saturating_sub(1));
    let rows = pixels.get(top * row_bytes..bottom * row_bytes).unwrap_or_default();
    let between = pass_across(rows, across, filter);
    pass_down(&between, across.count as usize * 3, top, down, filter)
}

/// The same by the library; `None` where it refuses, which no picture should make it do.
fn by_library(pixels: &[u8], across: Side, down: Side) -> Option<Vec<u8>> {
    let source = ImageRef::new(across.from, down.from, pixels, PixelType::U8x3).ok()?;
    let part = |side: Side| (side.first as f64 * side.step(), f64::from(side.count) * side.step());
    let ((left, width), (top, height)) = (part(across), part(down));
    // Rounding may not carry the part beyond the picture's edge.
    let (width, height) = (width.min(f64::from(across.from) - left), height.min(f64::from(down.from) - top));
    let convolution = ResizeAlg::Convolution(FilterType::Bilinear);
    let options = ResizeOptions::new().resize_alg(convolution).crop(left, top, width, height);
    let mut resized = Image::new(across.count, down.count, PixelType::U8x3);
    Resizer::new().resize(&source, &mut resized, &options).ok()?;
    Some(resized.into_vec())
}

/// Which pass comes first shows where a filter overshoots. Pillow goes across first, unless the height loses more than
/// twice what the width does. So the picture in between is never larger than both the picture and the canvas.
fn down_first(across: Side, down: Side) -> bool {
    let lost = |side: Side| i64::from(side.from) - side.to as i64;
    lost(down) > 0 && lost(down) > 2 * lost(across)
}

fn nearest(pixels: &[u8], row_bytes: usize, columns: &[usize], rows: &[usize]) -> Vec<u8> {
    let mut resized = Vec::with_capacity(columns.len() * rows.len() * 3);
    for row in rows {
        let row = pixels.get(row * row_bytes..).unwrap_or_default().as_chunks::<3>().0;
        for column in columns {
            resized.extend_from_slice(row.get(*column).unwrap_or(&[0; 3]));
        }
    }
    resized
}

/// Every row to its wanted width. Weights are made for some columns at a time: those of a very wide picture take more
/// memory than the picture.
fn pass_across(pixels: &[u8], side: Side, filter: Filter) -> Vec<u8> {
    let (row_bytes, wide_bytes) = (side.from as usize * 3, side.count as usize * 3);
    let mut resized = vec![0; pixels.len() / row_bytes.max(1) * wide_bytes];
    let mut weights = Vec::new();
    let mut columns = Vec::new();
    let mut done = 0;
    for index in 0..side.count {
        let so_far = weights.len();
        let begin = side.weights(filter, index, &mut weights);
        columns.push((begin * 3, so_far..weights.len()));
        if weights.len() >= MAX_WEIGHTS || index + 1 == side.count {
            for (row, wide) in pixels.chunks_exact(row_bytes).zip(resized.chunks_exact_mut(wide_bytes)) {
                let into = wide.get_mut(done * 3..).unwrap_or_default();
                row_across(row, &columns, &weights, into);
            }
            done += columns.len();
            columns.clear();
            weights.clear();
        }
    }
    resized
}

/// Every column to its wanted height; the first row of `pixels` is the one numbered `top`.
fn pass_down(pixels: &[u8], row_bytes: usize, top: usize, side: Side, filter: Filter) -> Vec<u8> {
    let mut resized = vec![0; row_bytes * side.count as usize];
    let mut weights = Vec::new();
    let mut sums = vec![0; row_bytes];
    for (index, into) in (0..side.count).zip(resized.chunks_exact_mut(row_bytes.max(1))) {
        weights.clear();
        let begin = side.weights(filter, index, &mut weights).saturating_sub(top);
        let rows = pixels.get(begin * row_bytes..).unwrap_or_default();
        row_down(rows, &weights, &mut sums, into);
    }
    resized
}

/// Where a column's pixels begin, in bytes, and which weights are theirs.
type Column = (usize, std::ops::Range<usize>);

#[inline(always)]
fn row_across_plain(row: &[u8], columns: &[Column], weights: &[i32], into: &mut [u8]) {
    for ((begin, range), pixel) in columns.iter().zip(into.as_chunks_mut::<3>().0) {
        let (Some(samples), Some(weights)) = (row.get(*begin..), weights.get(range.clone())) else { continue };
        let mut sums = [HALF; 3];
        for (sample, weight) in samples.as_chunks::<3>().0.iter().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(sample) {
                *sum = sum.wrapping_add(i32::from(*value).wrapping_mul(*weight));
            }
        }
        *pixel = sums.map(clip);
    }
}

#[inline(always)]
fn row_down_plain(rows: &[u8], weights: &[i32], sums: &mut [i32], into: &mut [u8]) {
    sums.fill(HALF);
    for (row, weight) in rows.chunks_exact(sums.len().max(1)).zip(weights) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum = sum.wrapping_add(i32::from(*value).wrapping_mul(*weight));
        }
    }
    for (byte, sum) in into.iter_mut().zip(sums) {
        *byte = clip(*sum);
    }
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// The same loops, compiled for processors that multiply eight numbers at once.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::Column;

    #[target_feature(enable = "avx2")]
    pub fn row_across(row: &[u8], columns: &[Column], weights: &[i32], into: &mut [u8]) {
        super::row_across_plain(row, columns, weights, into);
    }

    #[target_feature(enable = "avx2")]
    pub fn row_down(rows: &[u8], weights: &[i32], sums: &mut [i32], into: &mut [u8]) {
        super::row_down_plain(rows, weights, sums, into);
    }
}

fn row_across(row: &[u8], columns: &[Column], weights: &[i32], into: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::row_across(row, columns, weights, into) };
    }
    row_across_plain(row, columns, weights, into);
}

fn row_down(rows: &[u8], weights: &[i32], sums: &mut [i32], into: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::row_down(rows, weights, sums, into) };
    }
    row_down_plain(rows, weights, sums, into);
}
