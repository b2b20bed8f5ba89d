//! JPEG to RGB.

use std::borrow::Cow;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::orientation::Orientation;
use super::{Limits, Picture};
use crate::image::ImageError;

const FORMAT: &str = "JPEG";

/// Decodes a baseline or progressive JPEG of 8-bit samples: grey, YCbCr, RGB, CMYK or YCCK. Its orientation comes from
/// the Exif block.
///
/// Four components are read as Adobe writes them, inverted, whether its marker is there or not: so does Pillow.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<(Picture, Orientation), ImageError> {
    let walk = walk(bytes)?;
    limits.admit(FORMAT, walk.width.into(), walk.height.into())?;
    let (bytes, output) = if walk.is_adobe_rgb() {
        // The decoder takes Adobe's "no transform" for CMYK and has no word for RGB. Without the marker it takes the
        // samples for YCbCr, and YCbCr out of YCbCr leaves them as they are.
        let mut copy = bytes.to_vec();
        if let Some(letter) = copy.get_mut(walk.adobe_at) {
            *letter = b'-';
        }
        (Cow::Owned(copy), ColorSpace::YCbCr)
    } else {
        (Cow::Borrowed(bytes), ColorSpace::RGB)
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(u16::MAX.into())
        .set_max_height(u16::MAX.into())
        .jpeg_set_out_colorspace(output);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes.as_ref()), options);
    decoder.decode_headers().map_err(refusal)?;
    if decoder.dimensions() != Some((walk.width.into(), walk.height.into())) {
        return Err(damaged("it declares two sizes"));
    }
    let pixels = decoder.decode().map_err(refusal)?;
    let orientation = decoder.exif().map_or(Orientation::UPRIGHT, |block| Orientation::from_exif(block));
    let picture = Picture::from_rgb(walk.width.into(), walk.height.into(), pixels)
        .ok_or_else(|| damaged("it has fewer pixels than declared"))?;
    Ok((picture, orientation))
}

/// What the markers tell before anything is decoded.
#[derive(Debug, Default)]
struct Walk {
    width: u16,
    height: u16,
    /// Component identifiers, in the frame's order.
    components: Vec<u8>,
    /// The transform in Adobe's APP14 marker, and where its name begins.
    adobe_transform: Option<u8>,
    adobe_at: usize,
    jfif: bool,
}

impl Walk {
    /// Three components that are RGB and not YCbCr. Source: libjpeg, `default_decompress_parms` in `jdapimin.c`; the
    /// identifiers `RGB` are known to the decoder itself.
    fn is_adobe_rgb(&self) -> bool {
        self.components.len() == 3
            && !self.jfif
            && self.adobe_transform == Some(0)
            && self.components.as_slice() != b"RGB"
    }
}

/// Walks over the markers from the start to the end of the picture: finds the declared size, refuses the processes that
/// are not decoded, and sees that the end is there. Source: ITU-T T.81, annex B.
fn walk(bytes: &[u8]) -> Result<Walk, ImageError> {
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
            0xc0..=0xc2 => frame(segment, &mut found)?,
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Err(ImageError::Unsupported { format: FORMAT, what: process(code).to_owned() });
            }
            0xe0 if segment.starts_with(b"JFIF\0") => found.jfif = true,
            0xee if segment.starts_with(b"Adobe") => {
                found.adobe_transform = segment.get(11).copied();
                found.adobe_at = at + 2;
            }
            0xda if found.width == 0 => return Err(damaged("its scan comes before its size")),
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
        return Err(ImageError::Unsupported { format: FORMAT, what: format!("{precision}-bit samples") });
    }
    (found.height, found.width) = (u16::from_be_bytes([*h1, *h0]), u16::from_be_bytes([*w1, *w0]));
    if found.width == 0 || found.height == 0 {
        return Err(damaged("it declares a side of zero pixels"));
    }
    if !matches!(count, 1 | 3 | 4) {
        return Err(ImageError::Unsupported { format: FORMAT, what: format!("{count} colour components") });
    }
    found.components = rest.as_chunks::<3>().0.iter().map(|[id, _, _]| *id).collect();
    if found.components.len() != usize::from(*count) {
        return Err(damaged("its frame header lists other components than it counts"));
    }
    Ok(())
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

fn damaged(reason: &str) -> ImageError {
    ImageError::Damaged { format: FORMAT, reason: reason.to_owned() }
}

fn refusal(error: DecodeErrors) -> ImageError {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => ImageError::CutShort { format: FORMAT },
        other => damaged(&other.to_string()),
    }
}
