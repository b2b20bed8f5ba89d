#!/usr/bin/env python3
"""Write models that return the picture they are given: OUTDIR/frames/NAME/{model.onnx,model.toml,expected.json}.

Usage: make_frame_models.py OUTDIR. The scores of each are its input, flattened, so that an answer with all of them shows
layout, order of colours, scaling and datatype. expected.json holds what NumPy makes of OUTDIR/frames/picture.png, which is
as large as the models' inputs and is not resized.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE = 16

# name: (ONNX type, NumPy type, input's shape, [input] of model.toml); "layout", "color", "scale", "mean", "std" are read.
MODELS = {
    "nchw_fp32": (TensorProto.FLOAT, np.float32, [1, 3, SIDE, SIDE],
                  {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
    "nhwc_uint8": (TensorProto.UINT8, np.uint8, [1, SIDE, SIDE, 3], {"layout": "nhwc"}),
    "bgr_fp32": (TensorProto.FLOAT, np.float32, [1, 3, SIDE, SIDE],
                 {"color": "bgr", "scale": 1.0, "mean": [103.939, 116.779, 123.68]}),
    "nhwc_fp16": (TensorProto.FLOAT16, np.float16, [1, SIDE, SIDE, 3],
                  {"layout": "nhwc", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "dtype": "fp16"}),
    "gray_fp32": (TensorProto.FLOAT, np.float32, [1, 1, SIDE, SIDE], {"color": "gray", "mean": [0.1307], "std": [0.3081]}),
    "int8": (TensorProto.INT8, np.int8, [1, 3, SIDE, SIDE], {"mean": [128, 128, 128]}),
    "fp64": (TensorProto.DOUBLE, np.float64, [1, 3, SIDE, SIDE], {"scale": 0.5, "std": [3.0, -7.0, 0.25]}),
    "no_batch": (TensorProto.FLOAT, np.float32, [3, SIDE, SIDE], {}),
    "open_sides": (TensorProto.FLOAT, np.float32, ["n", 3, "h", "w"], {"width": SIDE, "height": SIDE}),
}


def model(kind, shape):
    """Make the model whose scores are its input."""
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["image", "flat"], ["scores"])], "graph",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("scores", kind, [1, "k"])],
        [numpy_helper.from_array(np.array([1, -1]), "flat")])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)],
                             producer_name="edge-service-tests")


def expected(picture, dtype, rules):
    """Return the input that model.toml describes, flattened."""
    color = rules.get("color", "rgb")
    pixels = np.asarray(picture.convert("L" if color == "gray" else "RGB"), np.float64).reshape(SIDE, SIDE, -1)
    if color == "bgr":
        pixels = pixels[..., ::-1]
    whole = np.issubdtype(dtype, np.integer)
    x = pixels * rules.get("scale", 1.0 if whole else 1 / 255)
    x = (x - rules.get("mean", 0.0)) / rules.get("std", 1.0)
    if whole:
        limits = np.iinfo(dtype)
        x = np.clip(np.rint(x), limits.min, limits.max)
    if rules.get("layout", "nchw") == "nchw":
        x = x.transpose(2, 0, 1)
    return x.astype(dtype).astype(np.float64).ravel()


def main():
    """Write everything; return the exit status."""
    if len(sys.argv) != 2:
        print("usage: make_frame_models.py OUTDIR", file=sys.stderr)
        return 2
    out = Path(sys.argv[1]) / "frames"
    out.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(out / "picture.png")
    for name, (kind, dtype, shape, rules) in MODELS.items():
        folder = out / name
        folder.mkdir(exist_ok=True)
        made = model(kind, shape)
        onnx.checker.check_model(made)
        (folder / "model.onnx").write_bytes(made.SerializeToString(deterministic=True))
        keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in rules.items())
        (folder / "model.toml").write_text(f"[input]\n{keys}\n[output]\ntop_k = 1000\n")
        (folder / "expected.json").write_text(json.dumps(expected(picture, dtype, rules).tolist()) + "\n")
    print(f"make_frame_models: {len(MODELS)} models in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
