#!/usr/bin/env python3
"""Say what models/digits makes of every odd picture and of its own samples: OUTDIR/top1.json, {FILE: {"index", "score"}}.

Usage: make_top1.py OUTDIR, after make_pictures.py. FILE is relative to the repository. Computed with Pillow, NumPy and
ONNX Runtime alone, as model.toml says; the score is the softmax of the highest.
"""

import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from make_pictures import upright_rgb

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits"


def main():
    """Write the file; return the exit status."""
    if len(sys.argv) != 2:
        print("usage: make_top1.py OUTDIR", file=sys.stderr)
        return 2
    out = Path(sys.argv[1]).resolve()
    rules = tomllib.loads((DIGITS / "model.toml").read_text())["input"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(DIGITS / "model.onnx", options, providers=["CPUExecutionProvider"])
    odd = [path for path in (out / "pictures").iterdir() if path.suffix in (".jpg", ".png")]
    answers = {}
    for path in sorted([*odd, *(DIGITS / "samples").iterdir(), *(DIGITS / "frames").iterdir()]):
        picture = upright_rgb(path).resize((rules["width"], rules["height"]), Image.Resampling.BILINEAR)
        x = np.asarray(picture, np.float64) * rules["scale"]
        x = ((x - rules["mean"]) / rules["std"]).astype(np.float32).transpose(2, 0, 1)[None]
        scores = session.run(None, {"image": np.ascontiguousarray(x)})[0][0].astype(np.float64)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        answers[str(path.relative_to(ROOT))] = {"index": int(shares.argmax()), "score": float(shares.max())}
    (out / "top1.json").write_text(json.dumps(answers, indent=1) + "\n")
    print(f"make_top1: {len(answers)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
