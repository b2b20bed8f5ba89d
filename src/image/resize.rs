//! Where a picture lands on the model's canvas.

use super::Picture;
use super::resample::{Filter, Side, resample};

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
    pub filter: Filter,
    /// Colour around a picture that is fitted.
    pub padding: [u8; 3],
    /// Crop only: the picture's shorter side before the cut, in pixels; `None`: as long as the canvas asks for.
    pub shorter_side: Option<u32>,
}

/// Which part of the resized picture goes where on the canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Placement {
    across: Side,
    down: Side,
    /// Left and top on the canvas.
    at: (u32, u32),
}

impl Canvas {
    /// The picture on the canvas: `height * width` pixels, row by row.
    pub fn paint(&self, picture: &Picture) -> Vec<u8> {
        let Placement { across, down, at } = self.place(picture.width(), picture.height());
        let resized = resample(picture.pixels(), across, down, self.filter);
        if (across.count, down.count) == (self.width, self.height) {
            return resized;
        }
        let mut canvas = self.padding.repeat(self.width as usize * self.height as usize);
        let row_bytes = across.count as usize * 3;
        let rows = canvas.chunks_exact_mut(self.width as usize * 3).skip(at.1 as usize);
        for (row, from) in rows.zip(resized.chunks_exact(row_bytes)) {
            if let Some(into) = row.get_mut(at.0 as usize * 3..).and_then(|row| row.get_mut(..row_bytes)) {
                into.copy_from_slice(from);
            }
        }
        canvas
    }

    fn place(&self, width: u32, height: u32) -> Placement {
        let (w, h) = (f64::from(width), f64::from(height));
        let (canvas_w, canvas_h) = (f64::from(self.width), f64::from(self.height));
        let whole = |from: u32, to: u32| Side { from, to: to.into(), first: 0, count: to };
        match self.mode {
            Mode::Stretch => {
                Placement { across: whole(width, self.width), down: whole(height, self.height), at: (0, 0) }
            }
            // Pillow's ImageOps.pad, with at least one pixel left of a very long picture.
            Mode::Fit => {
                let mut size = (self.width, self.height);
                if w / h > canvas_w / canvas_h {
                    size.1 = (h / w * canvas_w).round_ties_even().clamp(1.0, canvas_h) as u32;
                } else if w / h < canvas_w / canvas_h {
                    size.0 = (w / h * canvas_h).round_ties_even().clamp(1.0, canvas_w) as u32;
                }
                let at = (half((self.width - size.0).into()) as u32, half((self.height - size.1).into()) as u32);
                Placement { across: whole(width, size.0), down: whole(height, size.1), at }
            }
            // torchvision's Resize(shorter side), whose longer side is cut to whole pixels, and CenterCrop. Only what
            // stays is resampled: bounded whatever the picture's proportions.
            Mode::Crop => {
                let scale = match self.shorter_side {
                    Some(side) => Scale { from: width.min(height), to: side },
                    None if u64::from(width) * u64::from(self.height) <= u64::from(height) * u64::from(self.width) => {
                        Scale { from: width, to: self.width }
                    }
                    None => Scale { from: height, to: self.height },
                };
                let middle = |from: u32, count: u32| {
                    let to = scale.apply(from).max(count.into());
                    Side { from, to, first: half(to - u64::from(count)), count }
                };
                Placement { across: middle(width, self.width), down: middle(height, self.height), at: (0, 0) }
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
fn half(margin: u64) -> u64 {
    margin / 2 + u64::from(margin % 4 == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(width: u32, height: u32, mode: Mode) -> Canvas {
        Canvas { width, height, mode, filter: Filter::Bilinear, padding: [9, 9, 9], shorter_side: None }
    }

    fn plain(width: u32, height: u32) -> Picture {
        Picture::from_rgb(width, height, vec![200; (width * height * 3) as usize]).unwrap()
    }

    #[test]
    fn stretch_takes_the_whole_picture() {
        let placement = canvas(7, 5, Mode::Stretch).place(100, 3);
        let side = |from, to: u32| Side { from, to: to.into(), first: 0, count: to };
        assert_eq!(placement, Placement { across: side(100, 7), down: side(3, 5), at: (0, 0) });
    }

    #[test]
    fn fit_centres_and_keeps_one_pixel() {
        let fit = canvas(96, 96, Mode::Fit);
        let placed = |width, height| {
            let placement = fit.place(width, height);
            (placement.at, (placement.across.count, placement.down.count))
        };
        assert_eq!(placed(200, 100), ((0, 24), (96, 48)));
        assert_eq!(placed(100, 200), ((24, 0), (48, 96)));
        assert_eq!(placed(10_000, 1), ((0, 48), (96, 1)));
        // 96 * 33 / 100 = 31.68: 32 high, and a margin of 64 has a half of 32; of 95 one of 48, the even one.
        assert_eq!(placed(100, 33), ((0, 32), (96, 32)));
        assert_eq!(placed(96, 1).0, (0, 48));
        assert_eq!(placed(5, 5).1, (96, 96));
    }

    #[test]
    fn padding_lies_around_a_fitted_picture() {
        let painted = canvas(4, 4, Mode::Fit).paint(&plain(8, 4));
        let reds: Vec<u8> = painted.iter().step_by(3).copied().collect();
        assert_eq!(reds, [[9; 4], [200; 4], [200; 4], [9; 4]].concat());
    }

    #[test]
    fn crop_cuts_evenly() {
        let crop = canvas(50, 50, Mode::Crop);
        let placed = |canvas: &Canvas, width, height| {
            let Placement { across, down, .. } = canvas.place(width, height);
            [(across.to, across.first), (down.to, down.first)]
        };
        assert_eq!(placed(&crop, 200, 100), [(100, 25), (50, 0)]);
        assert_eq!(placed(&crop, 100, 200), [(50, 0), (100, 25)]);
        let from_256 = Canvas { shorter_side: Some(256), ..canvas(224, 224, Mode::Crop) };
        assert_eq!(placed(&from_256, 512, 256), [(512, 144), (256, 16)]);
        assert_eq!([0, 1, 2, 3, 4, 5, 7].map(half), [0, 0, 1, 2, 2, 2, 4]);
    }

    #[test]
    fn no_proportion_is_too_odd() {
        for mode in [Mode::Stretch, Mode::Fit, Mode::Crop] {
            for (width, height) in [(1, 1), (1, 60_000), (60_000, 1), (2, 3), (97, 1), (1, 97)] {
                for (canvas_w, canvas_h) in [(96, 96), (1, 1), (640, 2), (3, 200)] {
                    for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos, Filter::Nearest] {
                        let canvas = Canvas { filter, ..canvas(canvas_w, canvas_h, mode) };
                        let painted = canvas.paint(&plain(width, height));
                        assert_eq!(painted.len(), (canvas_w * canvas_h * 3) as usize);
                        assert!(painted.iter().all(|byte| matches!(byte, 200 | 9)), "{mode:?} {width}x{height}");
                    }
                }
            }
        }
    }
}
