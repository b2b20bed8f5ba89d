//! 8-bit pixels to the elements that a model wants.
//!
//! `(x * scale - mean) / std` has 256 values a channel. They are computed once, in double precision, encoded as the
//! model's datatype, and looked up: one load and one store an element, whatever the datatype.

use bytes::Bytes;

use crate::core::tensor::DataType;

/// The order of dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Channel by channel: `[C, H, W]`.
    Nchw,
    /// Pixel by pixel: `[H, W, C]`.
    Nhwc,
}

/// Which channels, in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel: ITU-R BT.601 luma in Pillow's fixed point, `convert("L")`.
    Gray,
}

impl Color {
    /// 3, or 1 for grey.
    pub fn channels(self) -> usize {
        match self {
            Color::Rgb | Color::Bgr => 3,
            Color::Gray => 1,
        }
    }
}

/// Turns pixels into elements.
#[derive(Clone, Debug)]
pub struct Normaliser {
    layout: Layout,
    color: Color,
    element_bytes: usize,
    /// 256 encoded values, for red, green and blue, whatever their order in the tensor; the first alone for grey.
    tables: [Vec<u8>; 3],
}

impl Normaliser {
    /// A normaliser; `mean` and `std` have one number a channel, in the order of `color`, and `std` no zero.
    /// `None` for a datatype that is no number.
    pub fn new(
        layout: Layout,
        color: Color,
        datatype: DataType,
        scale: f64,
        mean: &[f64],
        std: &[f64],
    ) -> Option<Normaliser> {
        let element_bytes = datatype.element_bytes()?;
        let mut tables = [Vec::new(), Vec::new(), Vec::new()];
        for ((table, mean), std) in tables.iter_mut().zip(mean).zip(std) {
            for value in 0..=u8::MAX {
                encode((f64::from(value) * scale - mean) / std, datatype, table)?;
            }
        }
        if color == Color::Bgr {
            tables.reverse();
        }
        Some(Normaliser { layout, color, element_bytes, tables })
    }

    /// The elements of `pixels` (RGB, row by row): `pixels.len() / 3 * channels` of them, little-endian.
    pub fn apply(&self, pixels: &[u8]) -> Option<Bytes> {
        let pixels = pixels.as_chunks::<3>().0;
        Some(Bytes::from(match self.element_bytes {
            1 => self.fill::<1>(pixels)?,
            2 => self.fill::<2>(pixels)?,
            4 => self.fill::<4>(pixels)?,
            _ => self.fill::<8>(pixels)?,
        }))
    }

    fn table<const N: usize>(&self, channel: usize) -> Option<&[[u8; N]; 256]> {
        self.tables.get(channel)?.as_chunks::<N>().0.try_into().ok()
    }

    fn fill<const N: usize>(&self, pixels: &[[u8; 3]]) -> Option<Vec<u8>> {
        let mut elements = vec![0; pixels.len() * self.color.channels() * N];
        let out = elements.as_chunks_mut::<N>().0;
        let reds = self.table::<N>(0)?;
        if self.color == Color::Gray {
            for (pixel, element) in pixels.iter().zip(out) {
                *element = reds[usize::from(luma(*pixel))];
            }
            return Some(elements);
        }
        let (greens, blues) = (self.table::<N>(1)?, self.table::<N>(2)?);
        let bgr = self.color == Color::Bgr;
        if self.layout == Layout::Nhwc {
            for ([red, green, blue], element) in pixels.iter().zip(out.as_chunks_mut::<3>().0) {
                let (red, blue) = (reds[usize::from(*red)], blues[usize::from(*blue)]);
                let green = greens[usize::from(*green)];
                *element = if bgr { [blue, green, red] } else { [red, green, blue] };
            }
            return Some(elements);
        }
        let (first, rest) = out.split_at_mut(pixels.len());
        let (second, third) = rest.split_at_mut(pixels.len());
        let (red_plane, blue_plane) = if bgr { (third, first) } else { (first, third) };
        let planes = red_plane.iter_mut().zip(second).zip(blue_plane);
        for ([red, green, blue], ((red_out, green_out), blue_out)) in pixels.iter().zip(planes) {
            *red_out = reds[usize::from(*red)];
            *green_out = greens[usize::from(*green)];
            *blue_out = blues[usize::from(*blue)];
        }
        Some(elements)
    }
}

/// Source: Pillow, `L24` in `Convert.c`.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

/// Appends one value, little-endian. Integers are rounded, halves to even, and stay within their range.
fn encode(value: f64, datatype: DataType, into: &mut Vec<u8>) -> Option<()> {
    let whole = value.round_ties_even();
    match datatype {
        DataType::Fp32 => into.extend((value as f32).to_le_bytes()),
        DataType::Fp64 => into.extend(value.to_le_bytes()),
        DataType::Fp16 => into.extend(half::f16::from_f64(value).to_le_bytes()),
        DataType::Bf16 => into.extend(half::bf16::from_f64(value).to_le_bytes()),
        DataType::Uint8 => into.extend((whole as u8).to_le_bytes()),
        DataType::Uint16 => into.extend((whole as u16).to_le_bytes()),
        DataType::Uint32 => into.extend((whole as u32).to_le_bytes()),
        DataType::Uint64 => into.extend((whole as u64).to_le_bytes()),
        DataType::Int8 => into.extend((whole as i8).to_le_bytes()),
        DataType::Int16 => into.extend((whole as i16).to_le_bytes()),
        DataType::Int32 => into.extend((whole as i32).to_le_bytes()),
        DataType::Int64 => into.extend((whole as i64).to_le_bytes()),
        DataType::Bool | DataType::Bytes => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: [u8; 6] = [10, 20, 30, 40, 50, 60];

    fn bytes_of(layout: Layout, color: Color) -> Vec<u8> {
        let channels = color.channels();
        let normaliser =
            Normaliser::new(layout, color, DataType::Uint8, 1.0, &vec![0.0; channels], &vec![1.0; channels]);
        normaliser.unwrap().apply(&PIXELS).unwrap().to_vec()
    }

    #[test]
    fn layout_and_colour_order_are_kept() {
        assert_eq!(bytes_of(Layout::Nhwc, Color::Rgb), PIXELS);
        assert_eq!(bytes_of(Layout::Nhwc, Color::Bgr), [30, 20, 10, 60, 50, 40]);
        assert_eq!(bytes_of(Layout::Nchw, Color::Rgb), [10, 40, 20, 50, 30, 60]);
        assert_eq!(bytes_of(Layout::Nchw, Color::Bgr), [30, 60, 20, 50, 10, 40]);
        assert_eq!(bytes_of(Layout::Nchw, Color::Gray), [18, 48]);
    }

    #[test]
    fn mean_and_std_follow_the_colour_order() {
        let normaliser =
            Normaliser::new(Layout::Nhwc, Color::Bgr, DataType::Fp32, 1.0, &[1.0, 2.0, 3.0], &[1.0, 2.0, 4.0]);
        let elements = normaliser.unwrap().apply(&PIXELS[..3]).unwrap();
        let values: Vec<f32> = elements.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        assert_eq!(values, [29.0, 9.0, 1.75]);
    }

    #[test]
    fn every_number_type_holds_its_value_and_integers_stay_in_range() {
        for datatype in DataType::ALL {
            let normaliser = Normaliser::new(Layout::Nchw, Color::Gray, datatype, 2.0, &[128.0], &[1.0]);
            if matches!(datatype, DataType::Bool | DataType::Bytes) {
                assert!(normaliser.is_none());
                continue;
            }
            let elements = normaliser.unwrap().apply(&[255; 3]).unwrap();
            let tensor = crate::core::tensor::Tensor::new(
                "x",
                datatype,
                vec![1],
                crate::core::tensor::TensorData::Raw(elements),
            );
            let want = match datatype {
                DataType::Uint8 => 255.0,
                DataType::Int8 => 127.0,
                DataType::Bf16 => 382.0,
                _ => 382.0,
            };
            assert_eq!(tensor.unwrap().to_f64(), Some(vec![want]), "{datatype}");
        }
    }
}
