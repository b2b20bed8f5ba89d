#!/usr/bin/env python3
"""Write forms of one small classifier and frames for it: OUTDIR/variants/NAME.onnx and frames.npz.

Usage: make_variants.py OUTDIR. Seeds are fixed, so every call writes the same bytes.

The original takes a long way round: a chain of products with a matrix that turns places around, and comes back to where
it began. Forms that leave the way out, or go it more often, give the same answers sooner or later, whatever the box does
meanwhile:

    original   32 products                 faster   none, the same answers
    slower     128 products                wrong    none, every class another one
    failing    none, and an error where the frame's first number is above 1
    seen       as `faster`; its metadata says that quantising used all frames but 8
    other      as `faster`, and takes another input
"""

import hashlib
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PLACES, FEATURES, CLASSES, FRAMES = 512, 64, 10, 64


def form(weights, products=0, input_name="x", fails=False, metadata=None):
    """Make one form: `products` of the long way, and an error on some frames where it `fails`."""
    nodes, values = [], dict(weights)
    source = input_name
    if fails:
        # An index that is out of range where the first number is above 1.
        values.update(first=np.array([0], np.int64), limit=np.array([1], np.float32), far=np.array([9], np.int64))
        nodes += [
            helper.make_node("Gather", [source, "first"], ["column"], axis=1),
            helper.make_node("Reshape", ["column", "minus"], ["number"]),
            helper.make_node("Greater", ["number", "limit"], ["above"]),
            helper.make_node("Cast", ["above"], ["one"], to=TensorProto.INT64),
            helper.make_node("Mul", ["one", "far"], ["index"]),
            helper.make_node("Gather", [source, "index"], ["row"], axis=0),
        ]
        values["minus"] = np.array([-1], np.int64)
        source = "row"
    nodes.append(helper.make_node("MatMul", [source, "inner"], ["h0"]))
    for step in range(products):
        nodes.append(helper.make_node("MatMul", [f"h{step}", "turn"], [f"h{step + 1}"]))
    if not products:
        del values["turn"]
    nodes.append(helper.make_node("Relu", [f"h{products}"], ["r"]))
    nodes.append(helper.make_node("MatMul", ["r", "outer"], ["scores"]))
    graph = helper.make_graph(
        nodes, "variant",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [1, FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model


def main():
    out = pathlib.Path(sys.argv[1]) / "variants"
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    weights = {
        "inner": random.standard_normal((FEATURES, PLACES)).astype(np.float32),
        # Sixteen places on; thirty-two times is once around.
        "turn": np.roll(np.eye(PLACES, dtype=np.float32), 16, axis=1),
        "outer": random.standard_normal((PLACES, CLASSES)).astype(np.float32),
    }
    frames = random.standard_normal((FRAMES, FEATURES)).astype(np.float32)
    assert (frames[:, 0] > 1).any() and (frames[:, 0] < 1).any()
    np.savez(out / "frames.npz", x=frames)
    used = ",".join(hashlib.sha256(frame.tobytes()).hexdigest()[:16] for frame in frames[:-8])
    forms = {
        "original": form(weights, 32),
        "faster": form(weights),
        "slower": form(weights, 128),
        "wrong": form({**weights, "outer": np.roll(weights["outer"], 1, axis=1)}),
        "failing": form(weights, fails=True),
        "seen": form(weights, metadata={"edge_service.samples_used": used}),
        "other": form(weights, input_name="z"),
    }
    for name, model in forms.items():
        onnx.save(model, out / f"{name}.onnx")


if __name__ == "__main__":
    main()
