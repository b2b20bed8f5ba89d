#!/usr/bin/env python3
"""Write bodies that are no picture that is served: OUTDIR/refused/FILE and manifest.json, {FILE: {"status", "says"}}.

Usage: make_refused.py OUTDIR. `says` is a piece of the answer's text.
"""

import io
import json
import struct
import sys
import zlib
from pathlib import Path

from PIL import Image

from make_pictures import chunk, scene


def saved(picture, kind, **options):
    """The bytes of a picture in a format of Pillow."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def patched(data, marker, offset, new):
    """A JPEG with some bytes changed, counted from a marker."""
    at = data.index(marker) + offset
    return data[:at] + new + data[at + len(new):]


def png_header(width, height, depth, color):
    """The beginning of a PNG up to its data."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))


def bodies():
    """Yield the name, the bytes, the status and a piece of the text of each."""
    picture = Image.fromarray(scene(64, 48))
    jpeg, png = saved(picture, "JPEG"), saved(picture, "PNG")
    progressive = saved(picture, "JPEG", progressive=True)
    for name, kind, says in [
        ("a.gif", "GIF", "looks like GIF"), ("a.webp", "WEBP", "looks like WEBP"), ("a.bmp", "BMP", "looks like BMP"),
        ("a.tiff", "TIFF", "looks like TIFF"), ("a.ico", "ICO", "looks like ICO"), ("a.pdf", "PDF", "looks like PDF"),
    ]:
        yield name, saved(picture, kind), 400, says
    yield "empty", b"", 400, "the body is empty"
    yield "text", b"hello", 400, "68 65 6c 6c 6f"
    yield "json", b'{"image": 1}', 400, "looks like JSON"
    yield "base64", b"/9j/4AAQSkZJRg", 400, "a JPEG in base64"
    yield "form", b"--x\r\nContent-Disposition: form-data\r\n", 400, "a multipart form"
    yield "half.jpg", jpeg[: len(jpeg) // 2], 400, "the JPEG is cut short"
    yield "no-end.jpg", jpeg[:-2], 400, "the JPEG is cut short"
    yield "half.png", png[: len(png) // 2], 400, "the PNG is cut short"
    yield "half-progressive.jpg", progressive[: len(progressive) // 2], 400, "the JPEG is cut short"
    yield "half-and-end.jpg", jpeg[: len(jpeg) * 3 // 4] + b"\xff\xd9", 400, "its data end before its last row"
    yield "head.jpg", jpeg[:100], 400, "the JPEG is cut short"
    for code, says in [(0xC3, "lossless coding"), (0xC9, "arithmetic coding"), (0xC5, "hierarchical coding")]:
        yield f"process-{code:x}.jpg", patched(jpeg, b"\xff\xc0", 1, bytes([code])), 400, says
    yield "twelve-bit.jpg", patched(jpeg, b"\xff\xc0", 4, b"\x0c"), 400, "12-bit samples"
    yield "two-colours.jpg", patched(jpeg, b"\xff\xc0", 9, b"\x02"), 400, "2 colour components"
    yield "third-sampling.jpg", patched(jpeg, b"\xff\xc0", 11, b"\x55"), 400, "sampling factors"
    broken = bytearray(png)
    broken[-20] ^= 0xFF
    yield "damaged.png", bytes(broken), 400, "the PNG is damaged"
    # Bombs. A header alone, and whole files whose pixels are as many as declared and compress to little.
    yield "bomb-header.jpg", patched(jpeg, b"\xff\xc0", 5, b"\xff\xff\xff\xff"), 413, "65535 x 65535 pixels"
    yield "bomb-header.png", png_header(0x7FFFFFFF, 0x7FFFFFFF, 8, 6), 413, "2147483647 x 2147483647 pixels"
    rows = zlib.compress(bytes(30_000 * (1 + 30_000 // 8)), 9)
    bomb = png_header(30_000, 30_000, 1, 0) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    yield "bomb.png", bomb, 413, "30000 x 30000 pixels"
    # Within the limit, and thousands of scans of nothing that each walk over all of it.
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    large = patched(progressive, b"\xff\xc2", 5, struct.pack(">HH", 7000, 7000))
    yield "scans.jpg", large[:-2] + scan[:20] * 5000 + b"\xff\xd9", 400, "more scans"


def main():
    """Write the files; return the exit status."""
    if len(sys.argv) != 2:
        print("usage: make_refused.py OUTDIR", file=sys.stderr)
        return 2
    out = Path(sys.argv[1]) / "refused"
    out.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for name, data, status, says in bodies():
        (out / name).write_bytes(data)
        manifest[name] = {"status": status, "says": says}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"make_refused: {len(manifest)} bodies in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
