use super::super::ImageError;
use super::*;

const LIMITS: Limits = Limits { max_pixels: 1_000_000 };

/// A grey JPEG of 8 x 8, all 128: one block whose coefficients are all zero.
fn jpeg(frame_marker: u8, precision: u8, width: u16, height: u16) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    file.extend([1; 64]);
    file.extend([0xff, frame_marker, 0, 11, precision]);
    file.extend(height.to_be_bytes());
    file.extend(width.to_be_bytes());
    file.extend([1, 1, 0x11, 0]);
    // Two Huffman tables of one code of one bit: the category 0, the end of block.
    for class in [0x00, 0x10] {
        file.extend([0xff, 0xc4, 0, 20, class, 1]);
        file.extend([0; 16]);
    }
    file.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0x3f, 0xff, 0xd9]);
    file
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

/// A PNG of 8-bit grey, with chunks before its pixels.
fn png(width: u32, height: u32, extra: &[u8], rows: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let ihdr = chunk(b"IHDR", &header);
    [b"\x89PNG\r\n\x1a\n", &ihdr[..], extra, &chunk(b"IDAT", &deflate(rows)), &chunk(b"IEND", &[])].concat()
}

fn deflate(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_smallest_pictures_decode() {
    let grey = decode(&jpeg(0xc0, 8, 8, 8), &LIMITS).unwrap();
    assert_eq!((grey.width(), grey.height(), grey.pixels()), (8, 8, &[128; 192][..]));
    let one = decode(&png(1, 1, &[], &[0, 77]), &LIMITS).unwrap();
    assert_eq!((one.width(), one.height(), one.pixels()), (1, 1, &[77; 3][..]));
}

#[test]
fn every_other_format_is_refused_by_name() {
    for (bytes, name) in [
        (&b"GIF89a\x01\x00\x01\x00"[..], "GIF"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "RIFF"),
        (b"BM\x36\0\0\0", "BMP"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x1cftypisom\0\0\0\0", "MP4"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\x89PNG\n\x1a\n", "text-mode"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"{\"image\": 1}", "JSON"),
        (b"data:image/png;base64,iVBORw0KGgo=", "data URL"),
        (b"/9j/4AAQSkZJRg", "base64"),
        (b"--boundary\r\n", "multipart"),
        (b"<svg xmlns=", "SVG"),
        (b"\xff\xd8", "breaks off"),
        (b"\x00\x01", "00 01"),
    ] {
        let error = decode(bytes, &LIMITS).unwrap_err();
        assert!(matches!(error, ImageError::NotAPicture { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "no '{name}' in: {error}");
    }
    assert!(matches!(decode(b"", &LIMITS), Err(ImageError::Empty)));
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let declared = |error: ImageError| match error {
        ImageError::TooManyPixels { width, height, .. } => (width, height),
        other => panic!("{other}"),
    };
    // No pixels follow: whoever tried to decode them would complain of that.
    assert_eq!(declared(decode(&jpeg(0xc0, 8, 65_535, 65_535), &LIMITS).unwrap_err()), (65_535, 65_535));
    let header = png(0x7fff_ffff, 0x7fff_ffff, &[], &[]);
    assert_eq!(declared(decode(&header, &LIMITS).unwrap_err()), (0x7fff_ffff, 0x7fff_ffff));
    let at_the_limit = Limits { max_pixels: 64 };
    assert!(decode(&jpeg(0xc0, 8, 8, 8), &at_the_limit).is_ok());
    assert!(decode(&jpeg(0xc0, 8, 8, 8), &Limits { max_pixels: 63 }).is_err());
}

#[test]
fn metadata_bombs_are_skipped_or_refused() {
    let zeros = vec![0; 32 << 20];
    let text = [&b"Comment\0\0"[..], &deflate(&zeros)].concat();
    let profile = [&b"profile\0\0"[..], &deflate(&zeros)].concat();
    let skipped = [chunk(b"zTXt", &text), chunk(b"iCCP", &profile), chunk(b"tEXt", &zeros)].concat();
    assert!(decode(&png(1, 1, &skipped, &[0, 7]), &LIMITS).is_ok());
    let error = decode(&png(1, 1, &chunk(b"eXIf", &zeros), &[0, 7]), &LIMITS).unwrap_err();
    assert!(error.to_string().contains("metadata"), "{error}");
    // More compressed rows than the header declares: the rest is not unpacked.
    assert!(decode(&png(1, 1, &[], &zeros), &LIMITS).is_ok());
}

#[test]
fn a_file_cut_anywhere_is_refused_and_does_not_panic() {
    for whole in [jpeg(0xc0, 8, 8, 8), png(4, 4, &[], &[0; 20])] {
        let pixels_end = whole.len() - if whole.starts_with(b"\xff") { 0 } else { 12 };
        for end in 0..pixels_end {
            let error = decode(&whole[..end], &LIMITS).unwrap_err();
            assert!(!error.to_string().contains("gave up"), "at {end}: {error}");
        }
    }
    assert!(matches!(decode(&jpeg(0xc0, 8, 8, 8)[..80], &LIMITS), Err(ImageError::CutShort { format: "JPEG" })));
    assert!(matches!(decode(&png(4, 4, &[], &[0; 20])[..40], &LIMITS), Err(ImageError::CutShort { format: "PNG" })));
}

#[test]
fn rows_that_are_missing_are_refused() {
    let error = decode(&png(4, 4, &[], &[0; 10]), &LIMITS).unwrap_err();
    assert!(matches!(error, ImageError::CutShort { .. } | ImageError::Damaged { .. }), "{error}");
    // A scan of two blocks where the frame has four, and its end: not grey where nothing was sent.
    let error = decode(&jpeg(0xc0, 8, 80, 800), &LIMITS).unwrap_err();
    assert!(matches!(error, ImageError::CutShort { .. } | ImageError::Damaged { .. }), "{error}");
}

#[test]
fn other_processes_are_refused_by_name() {
    for (marker, what) in [
        (0xc3, "lossless"),
        (0xc5, "hierarchical"),
        (0xc9, "arithmetic"),
        (0xca, "arithmetic"),
        (0xcb, "lossless arithmetic"),
    ] {
        let error = decode(&jpeg(marker, 8, 8, 8), &LIMITS).unwrap_err();
        assert!(matches!(error, ImageError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    }
    let error = decode(&jpeg(0xc1, 12, 8, 8), &LIMITS).unwrap_err();
    assert!(error.to_string().contains("12-bit"), "{error}");
}

#[test]
fn a_side_of_zero_is_refused() {
    for (width, height) in [(0, 8), (8, 0)] {
        assert!(decode(&jpeg(0xc0, 8, width, height), &LIMITS).is_err());
        assert!(decode(&png(width.into(), height.into(), &[], &[0; 9]), &LIMITS).is_err());
    }
    assert!(Picture::from_rgb(0, 3, vec![]).is_none());
    assert!(Picture::from_rgb(2, 2, vec![0; 11]).is_none());
}

#[test]
fn single_flipped_bytes_never_panic() {
    for whole in [jpeg(0xc0, 8, 8, 8), jpeg(0xc2, 8, 8, 8), png(4, 4, &[], &[0; 20])] {
        for at in 0..whole.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut file = whole.clone();
                file[at] = value;
                let _ = decode(&file, &LIMITS);
            }
        }
    }
}

#[test]
fn many_pictures_at_once_share_one_limit_and_a_large_one_alone_is_let_in() {
    let small = jpeg(0xc0, 8, 8, 8);
    let needs = 64 * BYTES_A_PIXEL;
    let memory = Gate::new(needs + needs / 2);
    let held = |memory: &Arc<Gate>| {
        let mut door = Door { max_pixels: LIMITS.max_pixels, memory: Some(memory), taken: None };
        door.admit("JPEG", 8, 8).map(|()| door.taken)
    };
    let first = held(&memory).unwrap();
    assert_eq!(memory.held(), needs);
    assert!(matches!(held(&memory), Err(ImageError::NoMemory)));
    assert!(matches!(decode_among(&small, &LIMITS, &memory), Err(ImageError::NoMemory)));
    drop(first);
    memory.set_limit(1);
    assert!(held(&memory).is_ok());
    // Whatever became of it, nothing is held any more.
    let _ = decode_among(&small, &LIMITS, &memory);
    assert_eq!(memory.held(), 0);
}
