//! EXIF orientation: read from a TIFF block, and undone on decoded pixels.

use super::Picture;

/// How stored rows and columns lie to the upright picture.
///
/// Source: CIPA DC-008 (Exif 3.0), tag 0x0112, values 1 to 8; the same table as Pillow's `ImageOps.exif_transpose`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation {
    /// Rows and columns trade places first.
    transpose: bool,
    /// Then columns run from the right.
    mirror: bool,
    /// Then rows run from the bottom.
    flip: bool,
}

impl Orientation {
    /// As stored.
    pub const UPRIGHT: Orientation = Orientation::new(false, false, false);

    const fn new(transpose: bool, mirror: bool, flip: bool) -> Orientation {
        Orientation { transpose, mirror, flip }
    }

    /// The orientation of a tag's value; values out of range mean upright, as in other readers.
    pub fn from_tag(value: u32) -> Orientation {
        match value {
            2 => Orientation::new(false, true, false),
            3 => Orientation::new(false, true, true),
            4 => Orientation::new(false, false, true),
            5 => Orientation::new(true, false, false),
            6 => Orientation::new(true, true, false),
            7 => Orientation::new(true, true, true),
            8 => Orientation::new(true, false, true),
            _ => Orientation::UPRIGHT,
        }
    }

    /// The orientation in an Exif block that begins with its TIFF header, or with `Exif\0\0` before it. A block that
    /// cannot be read has none: a picture is not refused for its metadata.
    pub fn from_exif(block: &[u8]) -> Option<Orientation> {
        let tiff = block.strip_prefix(b"Exif\0\0").unwrap_or(block).to_vec();
        let mut reader = exif::Reader::new();
        reader.continue_on_error(true);
        let fields = reader.read_raw(tiff).or_else(|error| error.distill_partial_result(|_| ())).ok()?;
        let value = fields.get_field(exif::Tag::Orientation, exif::In::PRIMARY)?.value.get_uint(0)?;
        Some(Orientation::from_tag(value))
    }

    /// The orientation in an XMP packet, found as Pillow finds it where Exif has none: `tiff:Orientation` as an attribute
    /// or as an element.
    pub fn from_xmp(packet: &[u8]) -> Option<Orientation> {
        const NAME: &[u8] = b"tiff:Orientation";
        let values = packet.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
        let digits = values.filter_map(|(at, _)| match packet.get(at + NAME.len()..)? {
            [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => Some(digit - b'0'),
            _ => None,
        });
        digits.map(|digit| Orientation::from_tag(digit.into())).next()
    }

    /// Turns the picture upright.
    pub fn apply(self, picture: Picture) -> Picture {
        if self == Orientation::UPRIGHT {
            return picture;
        }
        let Picture { width, height, mut pixels } = picture;
        if self.transpose {
            let turned = self.transposed(&pixels, width as usize, height as usize);
            return Picture { width: height, height: width, pixels: turned };
        }
        let row_bytes = width as usize * 3;
        if self.mirror {
            for row in pixels.chunks_exact_mut(row_bytes) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        if self.flip {
            let (top, bottom) = pixels.split_at_mut(height as usize / 2 * row_bytes);
            for (upper, lower) in top.chunks_exact_mut(row_bytes).zip(bottom.rchunks_exact_mut(row_bytes)) {
                upper.swap_with_slice(lower);
            }
        }
        Picture { width, height, pixels }
    }

    /// Columns become rows, mirrored and flipped in the same pass. Works in square tiles: a whole column of a large
    /// picture does not fit the cache.
    fn transposed(self, pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
        const TILE: usize = 32;
        let mut turned = vec![0; pixels.len()];
        let (from, into) = (pixels.as_chunks::<3>().0, turned.as_chunks_mut::<3>().0);
        for top in (0..height).step_by(TILE) {
            let bottom = height.min(top + TILE);
            let (first, last) = if self.mirror { (height - bottom, height - top) } else { (top, bottom) };
            for left in (0..width).step_by(TILE) {
                for x in left..width.min(left + TILE) {
                    let row = height * if self.flip { width - 1 - x } else { x };
                    let places = into.get_mut(row + first..row + last).unwrap_or_default().iter_mut();
                    let column = from.get(top * width + x..).unwrap_or_default().iter().step_by(width);
                    if self.mirror {
                        places.rev().zip(column).for_each(|(place, pixel)| *place = *pixel);
                    } else {
                        places.zip(column).for_each(|(place, pixel)| *place = *pixel);
                    }
                }
            }
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels numbered 0.. row by row.
    fn numbered(width: u32, height: u32) -> Picture {
        let pixels = (0..width * height).flat_map(|n| [n as u8; 3]).collect();
        Picture::from_rgb(width, height, pixels).unwrap()
    }

    fn turned(tag: u32) -> (u32, Vec<u8>) {
        let picture = Orientation::from_tag(tag).apply(numbered(3, 2));
        (picture.width(), picture.pixels().iter().step_by(3).copied().collect())
    }

    #[test]
    fn every_orientation_is_undone() {
        // Stored: 0 1 2 / 3 4 5. What each tag stands for is drawn in the Exif standard.
        assert_eq!(turned(1), (3, vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(turned(2), (3, vec![2, 1, 0, 5, 4, 3]));
        assert_eq!(turned(3), (3, vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(turned(4), (3, vec![3, 4, 5, 0, 1, 2]));
        assert_eq!(turned(5), (2, vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(turned(6), (2, vec![3, 0, 4, 1, 5, 2]));
        assert_eq!(turned(7), (2, vec![5, 2, 4, 1, 3, 0]));
        assert_eq!(turned(8), (2, vec![2, 5, 1, 4, 0, 3]));
        assert_eq!(turned(0), turned(1));
        assert_eq!(turned(9), turned(1));
    }

    #[test]
    fn tiles_cover_a_picture_that_is_no_multiple_of_them() {
        let picture = numbered(67, 41);
        let twice = Orientation::from_tag(5).apply(Orientation::from_tag(5).apply(picture.clone()));
        assert_eq!(twice, picture);
    }

    #[test]
    fn an_unreadable_exif_block_has_no_orientation() {
        for block in [&b""[..], b"Exif\0\0", b"II*\0\xff\xff\xff\xff", b"junk that is no tiff header"] {
            assert_eq!(Orientation::from_exif(block), None);
        }
    }

    #[test]
    fn xmp_tells_it_as_attribute_and_as_element() {
        let six = Some(Orientation::from_tag(6));
        assert_eq!(Orientation::from_xmp(br#"<rdf:Description tiff:Orientation="6" tiff:Make="x"/>"#), six);
        assert_eq!(Orientation::from_xmp(b"tiff:Orientation <tiff:Orientation>6</tiff:Orientation>"), six);
        assert_eq!(Orientation::from_xmp(b"tiff:Orientation"), None);
        assert_eq!(Orientation::from_xmp(b""), None);
    }
}
