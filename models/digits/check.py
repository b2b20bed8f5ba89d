#!/usr/bin/env python3
"""Classify `samples/` and `frames/` as `model.toml` says, and fail unless every sample and 97 % of the frames are right.

Needs Pillow, NumPy and ONNX Runtime alone; it shares no code with the training.
"""

import pathlib
import sys
import time
import tomllib

import numpy as np
import onnxruntime
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent


def main():
    """Print what is wrong, the counts and the time of one run; return the exit status."""
    rules = tomllib.loads((HERE / "model.toml").read_text())
    labels = (HERE / rules["output"]["labels"]).read_text().split()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(HERE / "model.onnx", options, providers=["CPUExecutionProvider"])

    def answer(path):
        with Image.open(path) as image:
            return labels[int(session.run(None, {"image": prepare(image, rules["input"])})[0].argmax())]

    failed = False
    for folder, wanted in (("samples", 1.0), ("frames", 0.97)):
        paths = sorted((HERE / folder).iterdir())
        wrong = [f"{path.name} (read as {answer(path)})" for path in paths if answer(path) != path.name[0]]
        print(f"{folder}: {len(paths) - len(wrong)} of {len(paths)} right", *wrong[:10], sep="\n  ")
        failed |= len(wrong) > (1 - wanted) * len(paths)

    with Image.open(HERE / rules["sample"]) as image:
        x = prepare(image, rules["input"])
    times = []
    for _ in range(200):
        begun = time.perf_counter()
        session.run(None, {"image": x})
        times.append(time.perf_counter() - begun)
    print(f"one picture, one thread: {1000 * np.median(times):.2f} ms")
    return int(failed)


def prepare(image, rules):
    """Return the input tensor, float32 [1, 3, height, width], of a picture under the `[input]` table of model.toml."""
    image = image.convert("RGB").resize((rules["width"], rules["height"]), Image.Resampling.BILINEAR)
    x = np.asarray(image, np.float32) * np.float32(rules["scale"])
    x = (x - np.array(rules["mean"], np.float32)) / np.array(rules["std"], np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"check: {error}")
