#!/usr/bin/env python3
"""Makes odd pictures, and what Pillow makes of them, for tests/integration/pictures.rs.

usage: make_pictures.py OUTDIR

In OUTDIR/pictures, for every picture: the file, and one NAME.CASE.npy (uint8, height x width x 3) a case of resizing, computed by Pillow
with its antialias. manifest.json lists them. Needs Pillow and numpy, nothing else; the same bytes on every run of the
same versions.
"""

import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PADDING = (114, 10, 200)
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
SIZES = [(96, 96), (224, 224), (320, 240)]
MODES = ["stretch", "fit", "crop"]
CASES = [
    {"case": f"{mode}{width}x{height}", "mode": mode, "filter": "bilinear", "width": width, "height": height}
    for mode in MODES for width, height in SIZES
]
CASES += [
    {"case": "crop112", "mode": "crop", "filter": "bilinear", "width": 96, "height": 80, "shorter_side": 112},
    {"case": "bicubic", "mode": "stretch", "filter": "bicubic", "width": 97, "height": 61},
    {"case": "lanczos", "mode": "fit", "filter": "lanczos", "width": 61, "height": 97},
    {"case": "nearest", "mode": "stretch", "filter": "nearest", "width": 97, "height": 61},
    {"case": "larger", "mode": "stretch", "filter": "bilinear", "width": 500, "height": 400},
]
# How far a picture is shrunk, to both sides; below 1 it is enlarged.
SCALES = [1.0, 1.2, 1.5, 2.0, 0.7]
SCALED = ["baseline420", "progressive420", "baseline422", "baseline440", "baseline411", "cmyk", "cmyk420", "small420",
          "rgb16", "interlaced"]


def scale_cases(width, height):
    """Cases that shrink by every scale, by each filter that blends."""
    return [
        {"case": f"{blend}{scale}", "mode": "stretch", "filter": blend,
         "width": max(1, round(width / scale)), "height": max(1, round(height / scale))}
        for scale in SCALES for blend in ("bilinear", "bicubic", "lanczos")
    ]


def scene(width, height, seed=1):
    """A picture with slopes, edges between saturated colours, fine stripes and some noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    rgb = np.stack([255 * u, 255 * v, 255 * (1 - u) * (1 - v)], axis=-1)
    for cx, cy, radius, colour in [
        (0.3, 0.35, 0.18, (230, 20, 30)),
        (0.7, 0.3, 0.15, (20, 200, 60)),
        (0.55, 0.7, 0.2, (30, 60, 220)),
        (0.2, 0.8, 0.1, (250, 240, 40)),
    ]:
        inside = (u - cx) ** 2 + (v - cy) ** 2 < radius**2
        rgb[inside] = colour
    stripes = (v > 0.9) & ((x.astype(int) // 2) % 2 == 0)
    rgb[stripes] = 255 - rgb[stripes]
    rgb += np.random.default_rng(seed).normal(0, 4, rgb.shape)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def grey(width, height):
    return np.asarray(Image.fromarray(scene(width, height)).convert("L"))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, depth, color_type, interlaced=False, extra=b""):
    """A PNG by hand: `samples` is height x width x channels, of uint8 or, for depth 16, uint16. No row filters."""
    height, width = samples.shape[:2]

    def rows(part):
        part = part.astype(">u2") if depth == 16 else part.astype("u1")
        return b"".join(b"\0" + row.tobytes() for row in part)

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    if interlaced:
        parts = [samples[y::dy, x::dx] for y, x, dy, dx in passes]
        data = b"".join(rows(part) for part in parts if part.size)
    else:
        data = rows(samples)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def patch_adobe(path, transform):
    """Sets the colour transform in Adobe's marker."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xee\x00\x0eAdobe")
    data[at + 15] = transform
    path.write_bytes(data)


def patch_ids(path, ids):
    """Renames the three components, in the frame and in the scan."""
    data = bytearray(path.read_bytes())
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for n, name in enumerate(ids):
        data[frame + 10 + 3 * n] = name
        data[scan + 5 + 2 * n] = name
    path.write_bytes(data)


def patch_frame(path, width, height, sampling):
    """Lays the blocks of a frame otherwise: other sides and sampling factors of the first component, as many blocks."""
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    data[frame + 11] = sampling
    path.write_bytes(data)


def without_segments(data, marker):
    """A JPEG without its segments of one marker before the scan."""
    kept, at = data[:2], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        kept += b"" if data[at + 1] == marker else data[at:end]
        at = end
    return kept + data[at:]


def odd_streams(out):
    """JPEGs that few encoders write, made of ordinary ones."""
    wide = Image.fromarray(scene(256, 128))
    wide.save(out / "baseline440.jpg", quality=85, subsampling=1)
    patch_frame(out / "baseline440.jpg", 128, 256, 0x12)
    wide.save(out / "baseline411.jpg", quality=85, subsampling=2)
    patch_frame(out / "baseline411.jpg", 512, 64, 0x41)
    # As cameras' film frames: the usual code tables are not in the file.
    wide.save(out / "no-tables.jpg", quality=85, subsampling=1)
    path = out / "no-tables.jpg"
    path.write_bytes(without_segments(path.read_bytes(), 0xC4))
    # Bytes where none belong, before and behind the end.
    wide.save(out / "padded.jpg", quality=85)
    path = out / "padded.jpg"
    path.write_bytes(path.read_bytes()[:-2] + bytes(300) + b"\xff\xd9" + b"what a camera adds" * 9)
    # A progressive file that ends, in order, before its last scans: the decoder smooths what is not refined.
    wide.save(out / "unrefined.jpg", quality=85, progressive=True)
    path = out / "unrefined.jpg"
    data = path.read_bytes()
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    path.write_bytes(data[: scans[2]] + b"\xff\xd9")
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    wide.save(out / "xmp8.jpg", quality=85, xmp=xmp)
    wide.save(out / "exif3-xmp8.jpg", quality=85, xmp=xmp, exif=exif(3))
    wide.save(out / "poor.jpg", quality=2)
    wide.save(out / "fine.jpg", quality=100, subsampling=2)
    for side in (1, 2, 3):
        Image.fromarray(scene(side, side + 1)).save(out / f"tiny{side}.jpg", quality=90, subsampling=2)


def make_files(out):
    """Writes the pictures."""
    odd_streams(out)
    rgb = Image.fromarray(scene(333, 251))
    rgb.save(out / "exif6.jpg", quality=90, exif=exif(6))
    Image.fromarray(scene(200, 301)).save(out / "exif5.jpg", quality=92, subsampling=0, exif=exif(5))
    rgb.save(out / "progressive420.jpg", quality=85, subsampling=2, progressive=True)
    rgb.save(out / "baseline420.jpg", quality=85, subsampling=2, restart_marker_rows=1)
    rgb.save(out / "baseline422.jpg", quality=85, subsampling=1)
    Image.fromarray(scene(45, 39)).save(out / "small420.jpg", quality=85, subsampling=2)
    Image.fromarray(scene(17, 9)).save(out / "seventeen420.jpg", quality=90, subsampling=2)
    Image.fromarray(grey(211, 160)).save(out / "grey.jpg", quality=88)

    ink = np.asarray(rgb.convert("CMYK")).copy()
    ink[..., 3] = np.linspace(0, 120, 333).astype(np.uint8)[None, :]
    Image.fromarray(ink, "CMYK").save(out / "cmyk.jpg", quality=90, subsampling=0)
    Image.fromarray(ink, "CMYK").save(out / "cmyk420.jpg", quality=90, subsampling=2)
    # YCCK: the first three components are YCbCr of the inverted inks, and Adobe's marker says so.
    ycc = np.asarray(Image.fromarray(255 - scene(180, 140)).convert("YCbCr"))
    key = np.linspace(255, 140, 180).astype(np.uint8)[None, :, None].repeat(140, axis=0)
    stored = np.concatenate([ycc, key], axis=-1)
    Image.fromarray(255 - stored, "CMYK").save(out / "ycck.jpg", quality=92, subsampling=0)
    patch_adobe(out / "ycck.jpg", 2)
    # RGB without a transform: with its components named R, G, B, and named as YCbCr usually is.
    rgb.save(out / "rgb.jpg", quality=90, keep_rgb=True)
    rgb.save(out / "adobe-rgb.jpg", quality=90, keep_rgb=True)
    patch_ids(out / "adobe-rgb.jpg", (1, 2, 3))

    alpha = (np.arange(150)[:, None] * 255 // 149).astype(np.uint8).repeat(190, axis=1)
    Image.fromarray(np.dstack([scene(190, 150), alpha])).save(out / "rgba.png")
    Image.fromarray(np.dstack([grey(190, 150), alpha])).save(out / "la.png")
    palette = Image.fromarray(scene(190, 150)).quantize(64)
    palette.save(out / "palette-trns.png", transparency=bytes(range(0, 256, 4)))
    Image.fromarray(scene(120, 90)).save(out / "rgb-trns.png", transparency=(230, 20, 30))
    Image.fromarray(grey(190, 150)).convert("1").save(out / "onebit.png")
    Image.fromarray(scene(1, 1)).save(out / "one.png")
    Image.fromarray(scene(3000, 2)).save(out / "wide.png")
    Image.fromarray(scene(2, 3000)).save(out / "tall.png")
    Image.fromarray(scene(140, 90)).save(out / "exif8.png", exif=exif(8))
    (out / "interlaced.png").write_bytes(png(scene(101, 67), 8, 2, interlaced=True))
    wide = scene(170, 130).astype(np.uint16) * 257
    wide += np.random.default_rng(2).integers(-120, 120, wide.shape).astype(np.uint16) * ((wide > 999) & (wide < 64000))
    (out / "rgb16.png").write_bytes(png(wide, 16, 2))
    (out / "grey16.png").write_bytes(png(wide[..., :1], 16, 0))
    (out / "la16.png").write_bytes(png(wide[..., :2], 16, 4))
    (out / "rgba16.png").write_bytes(png(np.dstack([wide, wide[..., 1]]), 16, 6))


def upright_rgb(path):
    """The reference: Pillow's pixels, upright, without alpha."""
    with Image.open(path) as picture:
        picture.load()
        if picture.mode.startswith("I"):
            # Pillow clips 16-bit grey at 255; what is meant is 65535 for white.
            deep = np.asarray(picture).astype(np.float64)
            picture = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
        return ImageOps.exif_transpose(picture).convert("RGB")


def contained(picture, width, height):
    """The size in which a picture fits: as ImageOps.contain, with at least one pixel."""
    ratio, wanted = picture.width / picture.height, width / height
    if ratio > wanted:
        height = max(1, round(picture.height / picture.width * width))
    elif ratio < wanted:
        width = max(1, round(picture.width / picture.height * height))
    return width, height


def resized(picture, case):
    size, resample = (case["width"], case["height"]), FILTERS[case["filter"]]
    if case["mode"] == "stretch":
        return picture.resize(size, resample)
    if case["mode"] == "fit":
        canvas = Image.new("RGB", size, PADDING)
        inner = picture.resize(contained(picture, *size), resample)
        canvas.paste(inner, (round((size[0] - inner.width) / 2), round((size[1] - inner.height) / 2)))
        if inner.size == ImageOps.contain(picture, size, resample).size:
            assert canvas.tobytes() == ImageOps.pad(picture, size, resample, PADDING).tobytes()
        return canvas
    # As torchvision: Resize of the shorter side, then CenterCrop.
    if "shorter_side" in case:
        source, target = min(picture.size), case["shorter_side"]
    elif picture.width * size[1] <= picture.height * size[0]:
        source, target = picture.width, size[0]
    else:
        source, target = picture.height, size[1]
    whole = picture.resize((picture.width * target // source, picture.height * target // source), resample)
    left, top = round((whole.width - size[0]) / 2), round((whole.height - size[1]) / 2)
    return whole.crop((left, top, left + size[0], top + size[1]))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1]) / "pictures"
    out.mkdir(parents=True, exist_ok=True)
    make_files(out)
    entries = []
    for path in sorted([*out.glob("*.jpg"), *out.glob("*.png")]):
        picture = upright_rgb(path)
        cases = CASES + (scale_cases(*picture.size) if path.stem in SCALED else [])
        for case in cases:
            reference = f"{path.name}.{case['case']}.npy"
            np.save(out / reference, np.asarray(resized(picture, case)))
            entries.append({"file": path.name, "reference": reference, "padding": list(PADDING), **case})
        np.save(out / f"{path.name}.whole.npy", np.asarray(picture))
        entries.append({"file": path.name, "reference": f"{path.name}.whole.npy", "case": "whole"})
    (out / "manifest.json").write_text(json.dumps({"pictures": entries}, indent=1) + "\n")
    print(f"make_pictures: {len({entry['file'] for entry in entries})} pictures, {len(entries)} references in {out}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"make_pictures: {error}")
