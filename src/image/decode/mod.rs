//! Bytes to pixels. The format is told by the first bytes; the size is checked against the limit before any memory for
//! pixels is taken; what comes out is 8-bit RGB, upright.
//!
//! The reference is Pillow: `ImageOps.exif_transpose(Image.open(file)).convert("RGB")`. Alpha is dropped, not composited.
//! Of 16-bit colour the high byte is taken, as there; 16-bit grey becomes `round(v / 257)`, where Pillow clips at 255.

mod jpeg;
mod libjpeg;
mod orientation;
mod png;
mod sniff;

use std::sync::Arc;

use super::ImageError;
use crate::core::admission::{Gate, Token};
use sniff::Format;

/// Bytes that a decoder holds for a pixel at most, for a while: coefficients of a progressive JPEG, samples of a 16-bit PNG.
pub const BYTES_A_PIXEL: usize = 12;

/// What a picture may take at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Width times height as the header declares them, in pixels. A decoder holds up to [`BYTES_A_PIXEL`] for a while.
    pub max_pixels: u64,
}

/// Where a picture is let in, once its header has told its size.
struct Door<'a> {
    max_pixels: u64,
    memory: Option<&'a Arc<Gate>>,
    taken: Option<Token>,
}

impl Door<'_> {
    /// Refuses a declared size that is over the limit, or for which there is no memory now.
    fn admit(&mut self, format: &'static str, width: u32, height: u32) -> Result<(), ImageError> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels {
            return Err(ImageError::TooManyPixels { format, width, height, max_pixels: self.max_pixels });
        }
        if let Some(gate) = self.memory {
            let bytes = usize::try_from(pixels).unwrap_or(usize::MAX).saturating_mul(BYTES_A_PIXEL);
            // The largest picture is let in when it is alone, whatever the limit.
            self.taken = Some(gate.take(bytes.min(gate.limit())).ok_or(ImageError::NoMemory)?);
        }
        Ok(())
    }
}

/// A decoded picture: 8-bit RGB rows from the top, upright, without padding; at least one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Picture {
    /// A picture from its RGB bytes; `None` if a side is zero or `pixels` is not `width * height * 3` bytes long.
    pub fn from_rgb(width: u32, height: u32, pixels: Vec<u8>) -> Option<Picture> {
        let want = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
        (want > 0 && pixels.len() == want).then_some(Picture { width, height, pixels })
    }

    /// Width, in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height, in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `height * width * 3` bytes: red, green, blue, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

/// Decodes one JPEG or PNG.
///
/// # Errors
/// [`ImageError::Empty`], [`ImageError::NotAPicture`], [`ImageError::TooManyPixels`] (told from the header, before the
/// pixels are decoded), [`ImageError::CutShort`], [`ImageError::Unsupported`], [`ImageError::Damaged`].
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, ImageError> {
    through(bytes, &mut Door { max_pixels: limits.max_pixels, memory: None, taken: None })
}

/// The same for one of many at once, whose memory together is bounded by `memory`: the token is the picture's share, to be
/// held for as long as the picture is.
///
/// # Errors
/// Those of [`decode`], and [`ImageError::NoMemory`], told from the header too.
pub fn decode_among(bytes: &[u8], limits: &Limits, memory: &Arc<Gate>) -> Result<(Picture, Option<Token>), ImageError> {
    let mut door = Door { max_pixels: limits.max_pixels, memory: Some(memory), taken: None };
    Ok((through(bytes, &mut door)?, door.taken))
}

fn through(bytes: &[u8], door: &mut Door<'_>) -> Result<Picture, ImageError> {
    let format = sniff::sniff(bytes)?;
    // The decoders are other people's code and see hostile bytes: a panic in one must cost this picture only.
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match format {
        Format::Jpeg => jpeg::decode(bytes, door),
        Format::Png => png::decode(bytes, door),
    }));
    let (picture, orientation) = decoded.unwrap_or_else(|_| {
        Err(ImageError::Damaged { format: format.name(), reason: "the decoder gave up on it".to_owned() })
    })?;
    Ok(orientation.apply(picture))
}

#[cfg(test)]
mod tests;
