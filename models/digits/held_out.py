#!/usr/bin/env python3
"""Count what model files get right of the 400 held-out digits, as clean scans and in random camera looks.

Usage: held_out.py FILE.onnx ... (wants scikit-learn, NumPy, Pillow and ONNX Runtime; the looks are those that train.py counts).
"""

import sys

import numpy as np
import onnxruntime

import pictures

SIZE = 96


def main():
    """Print a line for every file and look."""
    _, _, sheets, digits = pictures.split()
    random = np.random.default_rng(pictures.SEED + 3)
    for title, look in (("clean scans", pictures.plain_look(len(sheets))),
                        ("camera looks", pictures.random_look(len(sheets), random))):
        x = np.asarray(pictures.normalise(pictures.render(sheets, look, SIZE, SIZE, random)), np.float32)
        x = x if x.shape[1] == 3 else x.transpose(0, 3, 1, 2)
        for path in sys.argv[1:]:
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            scores = np.concatenate([session.run(None, {"image": one[None]})[0] for one in x])
            print(f"{path}: {int((scores.argmax(1) == digits).sum())} of {len(digits)} {title} right")


if __name__ == "__main__":
    main()
