//! JPEG to RGB, by libjpeg's own arithmetic: Pillow decodes with libjpeg-turbo, and the two agree to the last bit.

use mozjpeg::{ColorSpace, Decompress};

use super::libjpeg::{FORMAT, contained, damaged, error_manager, unsupported};
use super::orientation::Orientation;
use super::{Door, Picture};
use crate::image::ImageError;

/// Scans may cost as much as this many scans of the largest picture: a progressive file of a few kilobytes can list
/// thousands of empty ones, each of which walks over all coefficients. Encoders write about ten.
const SCANS: u64 = 32;

/// Decodes a baseline or progressive JPEG of 8-bit samples: grey, YCbCr, RGB, CMYK or YCCK. Its orientation comes from
/// the Exif block, else from XMP.
///
/// Four components are read as Adobe writes them, inverted, whether its marker is there or not: so does Pillow.
pub fn decode(bytes: &[u8], door: &mut Door<'_>) -> Result<(Picture, Orientation), ImageError> {
    let walk = walk(bytes, door)?;
    let pixels = contained(|| pixels(bytes, &walk))?;
    let picture = Picture::from_rgb(walk.width.into(), walk.height.into(), pixels)
        .ok_or_else(|| damaged("it has fewer pixels than declared"))?;
    Ok((picture, walk.orientation()))
}

/// Has the library decode, row by row.
fn pixels(bytes: &[u8], walk: &Walk) -> Result<Vec<u8>, ImageError> {
    let decoder = Decompress::builder().with_err(error_manager()).from_mem(bytes).map_err(gave_up)?;
    let (width, height) = (usize::from(walk.width), usize::from(walk.height));
    if decoder.size() != (width, height) {
        return Err(damaged("it declares two sizes"));
    }
    let row_bytes = width * 3;
    let mut pixels = vec![0; row_bytes * height];
    if walk.components == 4 {
        let mut decoding = decoder.to_colorspace(ColorSpace::JCS_CMYK).map_err(gave_up)?;
        let mut inks = vec![0; width * 4];
        for row in pixels.chunks_exact_mut(row_bytes) {
            decoding.read_scanlines_into(&mut inks).map_err(gave_up)?;
            for ([cyan, magenta, yellow, key], rgb) in inks.as_chunks::<4>().0.iter().zip(row.as_chunks_mut().0) {
                *rgb = [cyan, magenta, yellow].map(|ink| product(*ink, *key));
            }
        }
        decoding.finish().map_err(gave_up)?;
    } else {
        let mut decoding = decoder.rgb().map_err(gave_up)?;
        decoding.read_scanlines_into(&mut pixels).map_err(gave_up)?;
        decoding.finish().map_err(gave_up)?;
    }
    Ok(pixels)
}

/// What is left of white under an ink and black, both inverted: `round(ink * key / 255)`, as Pillow's `cmyk2rgb`.
fn product(ink: u8, key: u8) -> u8 {
    let wide = u32::from(ink) * u32::from(key) + 128;
    ((wide + (wide >> 8)) >> 8) as u8
}

/// The library's binding has errors of its own for what cannot happen to bytes in memory, and for files without picture.
fn gave_up(error: std::io::Error) -> ImageError {
    damaged(&error.to_string())
}

/// What the markers tell before anything is decoded.
#[derive(Debug, Default)]
struct Walk {
    width: u16,
    height: u16,
    components: u8,
    scans: u64,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
}

impl Walk {
    fn orientation(&self) -> Orientation {
        let by_exif = self.exif.as_deref().and_then(Orientation::from_exif);
        by_exif.or_else(|| self.xmp.as_deref().and_then(Orientation::from_xmp)).unwrap_or(Orientation::UPRIGHT)
    }
}

/// Walks over the markers from the start to the end of the picture: finds the declared size and admits it, refuses the
/// processes that are not decoded, and sees that the end is there. Source: ITU-T T.81, annex B.
fn walk(bytes: &[u8], door: &mut Door<'_>) -> Result<Walk, ImageError> {
    let cut_short = || ImageError::CutShort { format: FORMAT };
    let mut found = Walk::default();
    let mut at = 2;
    loop {
        // The next marker: 0xff, perhaps repeated, and a byte that is no stuffed zero and no restart.
        let rest = bytes.get(at..).ok_or_else(cut_short)?;
        let (skip, code) = next_marker(rest).ok_or_else(cut_short)?;
        at += skip;
        match code {
            0xd9 if found.width > 0 => return Ok(found),
            0xd9 => return Err(damaged("it ends before its picture begins")),
            0x01 | 0xd8 => continue,
            _ => (),
        }
        let length = match bytes.get(at..at + 2) {
            Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(cut_short()),
        };
        let segment = bytes.get(at + 2..at + length.max(2)).ok_or_else(cut_short)?;
        match code {
            0xc0..=0xc2 => {
                frame(segment, &mut found)?;
                door.admit(FORMAT, found.width.into(), found.height.into())?;
            }
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Err(unsupported(process(code))),
            0xda if found.width == 0 => return Err(damaged("its scan comes before its size")),
            0xda => {
                found.scans += 1;
                let cost = found.scans * u64::from(found.width) * u64::from(found.height);
                if cost > door.max_pixels.saturating_mul(SCANS) {
                    return Err(unsupported("more scans than a picture of this size needs"));
                }
            }
            0xe1 if found.scans == 0 => application(segment, &mut found),
            _ => (),
        }
        at += length.max(2);
    }
}

/// Finds the next marker that is neither a restart nor a stuffed byte: its code and the offset behind it.
fn next_marker(bytes: &[u8]) -> Option<(usize, u8)> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)? + 1;
        match bytes.get(at)? {
            0x00 | 0xd0..=0xd7 => at += 1,
            0xff => (),
            code => return Some((at + 1, *code)),
        }
    }
}

/// Reads a frame header: precision, height, width, components.
fn frame(segment: &[u8], found: &mut Walk) -> Result<(), ImageError> {
    let [precision, h1, h0, w1, w0, count, rest @ ..] = segment else {
        return Err(damaged("its frame header is too short"));
    };
    if found.width > 0 {
        return Err(damaged("it declares its size twice"));
    }
    if *precision != 8 {
        return Err(unsupported(&format!("{precision}-bit samples")));
    }
    (found.height, found.width) = (u16::from_be_bytes([*h1, *h0]), u16::from_be_bytes([*w1, *w0]));
    if found.width == 0 || found.height == 0 {
        return Err(damaged("it declares a side of zero pixels"));
    }
    if !matches!(count, 1 | 3 | 4) {
        return Err(unsupported(&format!("{count} colour components")));
    }
    if rest.len() != usize::from(*count) * 3 {
        return Err(damaged("its frame header lists other components than it counts"));
    }
    found.components = *count;
    Ok(())
}

/// Keeps what an APP1 segment tells of the orientation. An Exif block over 64 KiB comes in several segments.
fn application(segment: &[u8], found: &mut Walk) {
    if let Some(block) = segment.strip_prefix(b"Exif\0\0") {
        found.exif.get_or_insert_default().extend_from_slice(block);
    } else if let Some(packet) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
        found.xmp = Some(packet.to_vec());
    }
}

/// The coding process of a frame marker that is not decoded. Source: ITU-T T.81, table B.1.
fn process(code: u8) -> &'static str {
    match code {
        0xc3 => "lossless coding",
        0xc5..=0xc7 => "hierarchical coding",
        0xcb | 0xcf => "lossless arithmetic coding",
        _ => "arithmetic coding",
    }
}

#[cfg(test)]
mod tests {
    use super::product;

    #[test]
    fn inks_are_multiplied_exactly() {
        for ink in 0..=u8::MAX {
            for key in 0..=u8::MAX {
                let exact = f64::from(ink) * f64::from(key) / 255.0;
                assert_eq!(product(ink, key), exact.round() as u8, "{ink} {key}");
            }
        }
    }
}
