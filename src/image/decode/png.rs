//! PNG to RGB.

use std::io::Cursor;

use ::png::{BitDepth, ColorType, DecodingError, Transformations};

use super::orientation::Orientation;
use super::{Door, Picture};
use crate::image::ImageError;

const FORMAT: &str = "PNG";

/// Bytes that metadata chunks may take. Text and colour profiles are skipped unread, so this bounds the rest.
const METADATA_BYTES: usize = 4 << 20;

/// Decodes a PNG, or the first picture of an animated one; its orientation comes from the `eXIf` chunk.
pub fn decode(bytes: &[u8], door: &mut Door<'_>) -> Result<(Picture, Orientation), ImageError> {
    let mut decoder = ::png::Decoder::new_with_limits(Cursor::new(bytes), ::png::Limits { bytes: METADATA_BYTES });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes and grey below 8 bit become 8-bit samples; transparency becomes alpha, dropped below.
    decoder.set_transformations(Transformations::EXPAND);
    let (width, height) = decoder.read_header_info().map_err(refusal)?.size();
    door.admit(FORMAT, width, height)?;
    // One row is held for filtering: widest for 16-bit RGBA.
    decoder.set_limits(::png::Limits { bytes: METADATA_BYTES.saturating_add((width as usize).saturating_mul(16)) });

    let mut reader = decoder.read_info().map_err(refusal)?;
    let size = reader.output_buffer_size().ok_or_else(|| damaged("its size overflows"))?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(refusal)?;
    if (frame.width, frame.height) != (width, height) {
        return Err(damaged("its first frame is smaller than the picture"));
    }
    samples.truncate(frame.buffer_size());
    // Metadata may come after the pixels. What goes wrong there does not harm them.
    let _ = reader.finish();
    let exif = reader.info().exif_metadata.as_deref();
    let orientation = exif.and_then(Orientation::from_exif).unwrap_or(Orientation::UPRIGHT);

    let pixels = to_rgb(samples, frame.color_type, frame.bit_depth).ok_or_else(|| damaged("its palette is missing"))?;
    let picture =
        Picture::from_rgb(width, height, pixels).ok_or_else(|| damaged("it has fewer pixels than declared"))?;
    Ok((picture, orientation))
}

/// Samples as expanded by the decoder (8 or 16 bit, the latter big-endian) to RGB; alpha is dropped.
fn to_rgb(samples: Vec<u8>, color: ColorType, depth: BitDepth) -> Option<Vec<u8>> {
    let pairs = || samples.as_chunks::<2>().0.iter();
    let samples = match (depth, color) {
        (BitDepth::Sixteen, ColorType::Grayscale) => pairs().map(|pair| to_8_bit(u16::from_be_bytes(*pair))).collect(),
        // Pillow cuts the low byte of what has several channels.
        (BitDepth::Sixteen, _) => pairs().map(|[high, _]| *high).collect(),
        _ => samples,
    };
    Some(match color {
        ColorType::Rgb => samples,
        ColorType::Rgba => {
            samples.as_chunks::<4>().0.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect()
        }
        ColorType::Grayscale => samples.iter().flat_map(|grey| [*grey; 3]).collect(),
        ColorType::GrayscaleAlpha => samples.as_chunks::<2>().0.iter().flat_map(|[grey, _]| [*grey; 3]).collect(),
        ColorType::Indexed => return None,
    })
}

/// `round(value / 257)`, exact for every value: 65535 is 255 as 8-bit white is.
/// Source: PNG specification, "Sample depth scaling"; the fixed-point form is libpng's `png_do_scale_16_to_8`.
fn to_8_bit(value: u16) -> u8 {
    ((u32::from(value) * 255 + 32_895) >> 16) as u8
}

fn damaged(reason: &str) -> ImageError {
    ImageError::Damaged { format: FORMAT, reason: reason.to_owned() }
}

fn refusal(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::CutShort { format: FORMAT }
        }
        DecodingError::LimitsExceeded => damaged("its metadata takes too much memory"),
        other => damaged(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_rounded_exactly() {
        for value in 0..=u16::MAX {
            assert_eq!(to_8_bit(value), (f64::from(value) / 257.0).round() as u8);
        }
    }
}
