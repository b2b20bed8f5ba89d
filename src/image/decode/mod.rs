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

use super::ImageError;
use sniff::Format;

/// What a picture may take at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Width times height as the header declares them, in pixels. A decoder holds up to 12 bytes a pixel for a while.
    pub max_pixels: u64,
}

impl Limits {
    /// Refuses a declared size that is over the limit.
    fn admit(&self, format: &'static str, width: u32, height: u32) -> Result<(), ImageError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageError::TooManyPixels { format, width, height, max_pixels: self.max_pixels });
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
    let format = sniff::sniff(bytes)?;
    // The decoders are other people's code and see hostile bytes: a panic in one must cost this picture only.
    let decoded = std::panic::catch_unwind(|| match format {
        Format::Jpeg => jpeg::decode(bytes, limits),
        Format::Png => png::decode(bytes, limits),
    });
    let (picture, orientation) = decoded.unwrap_or_else(|_| {
        Err(ImageError::Damaged { format: format.name(), reason: "the decoder gave up on it".to_owned() })
    })?;
    Ok(orientation.apply(picture))
}

#[cfg(test)]
mod tests;
