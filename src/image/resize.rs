//! Where a picture lands on the model's canvas, and the resampling that brings it there.
//!
//! The filters are Pillow's: a separable convolution whose kernel widens with the shrinking (antialias), 8-bit between
//! the two passes.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{ImageError, Picture};

/// A picture between its two passes is never larger than this and larger than the picture itself, in pixels.
const ACROSS_FIRST_PIXELS: u64 = 1 << 22;

/// How a picture of another shape meets the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both sides to size, whatever becomes of the proportions.
    Stretch,
    /// The whole picture, centred, padding around it.
    Fit,
    /// The picture covers the canvas, and what stands out is cut off evenly.
    Crop,
}

/// What the model's canvas looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Canvas {
    /// In pixels, at least 1.
    pub width: u32,
    /// In pixels, at least 1.
    pub height: u32,
    /// How the picture meets it.
    pub mode: Mode,
    /// The resampling.
    pub algorithm: ResizeAlg,
    /// Colour around a picture that is fitted.
    pub padding: [u8; 3],
    /// Crop only: the picture's shorter side before the cut, in pixels; `None`: as long as the canvas asks for.
    pub shorter_side: Option<u32>,
}

/// Pillow's names of filters, as this library calls them.
pub const FILTERS: &[(&str, ResizeAlg)] = &[
    ("bilinear", ResizeAlg::Convolution(FilterType::Bilinear)),
    ("bicubic", ResizeAlg::Convolution(FilterType::CatmullRom)),
    ("lanczos", ResizeAlg::Convolution(FilterType::Lanczos3)),
    ("nearest", ResizeAlg::Nearest),
];

/// Which part of the picture goes where on the canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Placement {
    /// Left, top, width and height of the part, in pixels of the picture; fractions are meant.
    part: [f64; 4],
    /// Left and top on the canvas.
    at: (u32, u32),
    /// Width and height on the canvas.
    size: (u32, u32),
}

impl Canvas {
    /// The picture on the canvas: `height * width` pixels, row by row.
    pub fn paint(&self, picture: &Picture) -> Result<Vec<u8>, ImageError> {
        let placement = self.place(picture.width(), picture.height());
        let resized = resample(picture, &placement, self.algorithm)?;
        if placement.size == (self.width, self.height) {
            return Ok(resized);
        }
        let mut canvas = self.padding.repeat(self.width as usize * self.height as usize);
        let row_bytes = placement.size.0 as usize * 3;
        let rows = canvas.chunks_exact_mut(self.width as usize * 3).skip(placement.at.1 as usize);
        for (row, from) in rows.zip(resized.chunks_exact(row_bytes)) {
            if let Some(into) = row.get_mut(placement.at.0 as usize * 3..).and_then(|row| row.get_mut(..row_bytes)) {
                into.copy_from_slice(from);
            }
        }
        Ok(canvas)
    }

    fn place(&self, width: u32, height: u32) -> Placement {
        let (w, h) = (f64::from(width), f64::from(height));
        let (canvas_w, canvas_h) = (f64::from(self.width), f64::from(self.height));
        let whole = [0.0, 0.0, w, h];
        match self.mode {
            Mode::Stretch => Placement { part: whole, at: (0, 0), size: (self.width, self.height) },
            // Pillow's ImageOps.pad, with at least one pixel left of a very long picture.
            Mode::Fit => {
                let mut size = (self.width, self.height);
                if w / h > canvas_w / canvas_h {
                    size.1 = (h / w * canvas_w).round_ties_even().clamp(1.0, canvas_h) as u32;
                } else if w / h < canvas_w / canvas_h {
                    size.0 = (w / h * canvas_h).round_ties_even().clamp(1.0, canvas_w) as u32;
                }
                Placement { part: whole, at: (half(self.width - size.0), half(self.height - size.1)), size }
            }
            // torchvision's Resize(shorter side), whose longer side is cut to whole pixels, and CenterCrop. Sampling
            // only the part that stays is the same convolution, and bounded whatever the picture's proportions.
            Mode::Crop => {
                let scale = match self.shorter_side {
                    Some(side) => Scale { from: width.min(height), to: side },
                    None if u64::from(width) * u64::from(self.height) <= u64::from(height) * u64::from(self.width) => {
                        Scale { from: width, to: self.width }
                    }
                    None => Scale { from: height, to: self.height },
                };
                let (resized_w, resized_h) =
                    (scale.apply(width).max(self.width.into()), scale.apply(height).max(self.height.into()));
                let (step_x, step_y) = (w / resized_w as f64, h / resized_h as f64);
                let left = half_wide(resized_w - u64::from(self.width)) * step_x;
                let top = half_wide(resized_h - u64::from(self.height)) * step_y;
                let part = [left, top, (canvas_w * step_x).min(w - left), (canvas_h * step_y).min(h - top)];
                Placement { part, at: (0, 0), size: (self.width, self.height) }
            }
        }
    }
}

/// A side that is scaled to another, and what becomes of the other sides, cut to whole pixels.
struct Scale {
    from: u32,
    to: u32,
}

impl Scale {
    fn apply(&self, side: u32) -> u64 {
        u64::from(side) * u64::from(self.to) / u64::from(self.from.max(1))
    }
}

/// Half of a margin; half pixels go to the even neighbour, as Python rounds.
fn half(margin: u32) -> u32 {
    half_wide(margin.into()) as u32
}

fn half_wide(margin: u64) -> f64 {
    (margin as f64 / 2.0).round_ties_even()
}

/// Resamples a part of the picture to a size.
fn resample(picture: &Picture, placement: &Placement, algorithm: ResizeAlg) -> Result<Vec<u8>, ImageError> {
    let [left, top, part_w, part_h] = placement.part;
    let (width, height) = placement.size;
    let options = ResizeOptions::new().resize_alg(algorithm).crop(left, top, part_w, part_h);
    let source = ImageRef::new(picture.width(), picture.height(), picture.pixels(), PixelType::U8x3)
        .map_err(|error| ImageError::Preprocess { reason: error.to_string() })?;
    if algorithm == ResizeAlg::Nearest {
        return Ok(run(&source, width, height, &options)?.into_vec());
    }
    // Pillow's order: across, then down. It shows where a filter overshoots, for the picture in between is 8-bit. A
    // narrow and very high picture goes down first: in between it would be as wide as the canvas and as high as ever.
    let between_pixels = u64::from(width) * u64::from(picture.height());
    let across_first = between_pixels <= ACROSS_FIRST_PIXELS || part_w >= f64::from(width);
    let (between_w, between_h, between, rest) = if across_first {
        let between = options.crop(left, 0.0, part_w, picture.height().into());
        (width, picture.height(), between, options.crop(0.0, top, width.into(), part_h))
    } else {
        let between = options.crop(0.0, top, picture.width().into(), part_h);
        (picture.width(), height, between, options.crop(left, 0.0, part_w, height.into()))
    };
    let between = run(&source, between_w, between_h, &between)?;
    Ok(run(&between, width, height, &rest)?.into_vec())
}

fn run(
    source: &impl fast_image_resize::IntoImageView,
    width: u32,
    height: u32,
    options: &ResizeOptions,
) -> Result<Image<'static>, ImageError> {
    let mut resized = Image::new(width, height, PixelType::U8x3);
    Resizer::new()
        .resize(source, &mut resized, options)
        .map_err(|error| ImageError::Preprocess { reason: error.to_string() })?;
    Ok(resized)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(width: u32, height: u32, mode: Mode) -> Canvas {
        let algorithm = ResizeAlg::Convolution(FilterType::Bilinear);
        Canvas { width, height, mode, algorithm, padding: [9, 9, 9], shorter_side: None }
    }

    fn plain(width: u32, height: u32) -> Picture {
        Picture::from_rgb(width, height, vec![200; (width * height * 3) as usize]).unwrap()
    }

    #[test]
    fn stretch_takes_the_whole_picture() {
        let placement = canvas(7, 5, Mode::Stretch).place(100, 3);
        assert_eq!(placement, Placement { part: [0.0, 0.0, 100.0, 3.0], at: (0, 0), size: (7, 5) });
    }

    #[test]
    fn fit_centres_and_keeps_one_pixel() {
        let fit = canvas(96, 96, Mode::Fit);
        assert_eq!((fit.place(200, 100).at, fit.place(200, 100).size), ((0, 24), (96, 48)));
        assert_eq!((fit.place(100, 200).at, fit.place(100, 200).size), ((24, 0), (48, 96)));
        assert_eq!((fit.place(10_000, 1).at, fit.place(10_000, 1).size), ((0, 48), (96, 1)));
        // 96 * 33 / 100 = 31.68: 32 high, and a margin of 64 has a half of 32; of 95 one of 48, the even one.
        assert_eq!((fit.place(100, 33).at, fit.place(100, 33).size), ((0, 32), (96, 32)));
        assert_eq!(fit.place(96, 1).at, (0, 48));
        assert_eq!(fit.place(5, 5).size, (96, 96));
    }

    #[test]
    fn padding_lies_around_a_fitted_picture() {
        let painted = canvas(4, 4, Mode::Fit).paint(&plain(8, 4)).unwrap();
        let reds: Vec<u8> = painted.iter().step_by(3).copied().collect();
        assert_eq!(reds, [[9; 4], [200; 4], [200; 4], [9; 4]].concat());
    }

    #[test]
    fn crop_cuts_evenly() {
        let crop = canvas(50, 50, Mode::Crop);
        assert_eq!(crop.place(200, 100).part, [50.0, 0.0, 100.0, 100.0]);
        assert_eq!(crop.place(100, 200).part, [0.0, 50.0, 100.0, 100.0]);
        let from_256 = Canvas { shorter_side: Some(256), ..canvas(224, 224, Mode::Crop) };
        assert_eq!(from_256.place(512, 256).part, [144.0, 16.0, 224.0, 224.0]);
    }

    #[test]
    fn no_proportion_is_too_odd() {
        for mode in [Mode::Stretch, Mode::Fit, Mode::Crop] {
            for (width, height) in [(1, 1), (1, 60_000), (60_000, 1), (2, 3), (97, 1), (1, 97)] {
                for (canvas_w, canvas_h) in [(96, 96), (1, 1), (640, 2), (3, 200)] {
                    for (_, algorithm) in FILTERS {
                        let canvas = Canvas { algorithm: *algorithm, ..canvas(canvas_w, canvas_h, mode) };
                        let painted = canvas.paint(&plain(width, height)).unwrap();
                        assert_eq!(painted.len(), (canvas_w * canvas_h * 3) as usize);
                        assert!(painted.iter().all(|byte| matches!(byte, 199..=201 | 9)), "{mode:?} {width}x{height}");
                    }
                }
            }
        }
    }
}
