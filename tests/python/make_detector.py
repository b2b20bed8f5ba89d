#!/usr/bin/env python3
"""Write a small detector and pictures for it: OUTDIR/detector/model.onnx and OUTDIR/detector/pictures.npz.

Usage: make_detector.py OUTDIR. Seeds are fixed, so every call writes the same bytes. The detector is made as those of the
field are: a backbone of convolutions, heads at strides 8 and 16, boxes in pixels (up to 400) and scores of 0 to 1 in the
columns of one tensor, [1, N, 8]. Two things break its 8-bit form: that tensor has one scale for both, which rounds the scores
away; and two channels of a layer are far wider than the others, which leaves those few of the 256 levels. The script fails
unless every picture has confident rows.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
SIDE, CLASSES, PICTURES = 96, 3, 48
STRIDES = (8, 16)
SCALE = 4.0  # a cell's box is in pixels of a picture four times as large
WIDER = 100
RANDOM = np.random.default_rng(20)

nodes, weights = [], []


def constant(name, array):
    """Keep an initialiser and return its name."""
    weights.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def node(operator, inputs, name, **attributes):
    """Keep a node with one output, named as it is."""
    nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
    return name


def conv(source, name, size_in, size_out, kernel, stride=1, bias=None):
    """Add a convolution whose outputs have about the spread of its inputs."""
    w = RANDOM.normal(0, np.sqrt(2 / (size_in * kernel * kernel)), (size_out, size_in, kernel, kernel))
    b = RANDOM.normal(0, 0.1, size_out) if bias is None else bias
    inputs = [source, constant(f"{name}.w", w.astype(np.float32)), constant(f"{name}.b", b.astype(np.float32))]
    return node("Conv", inputs, name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)


def widen(name, reader):
    """Make two channels a hundred times as wide, and what reads them through a Relu as much narrower: the same function."""
    for tensor in weights:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name in (f"{name}.w", f"{name}.b"):
            array[:2] *= WIDER
        elif tensor.name == f"{reader}.w":
            array[:, :2] /= WIDER
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def picture():
    """Return noise with bright rectangles in it, float32 [3, SIDE, SIDE], and where they are."""
    x, inside = RANDOM.normal(0, 0.1, (3, SIDE, SIDE)), np.zeros((SIDE, SIDE), bool)
    for _ in range(RANDOM.integers(1, 4)):
        top, left = RANDOM.integers(0, SIDE - 24, 2)
        height, width = RANDOM.integers(12, 32, 2)
        x[:, top:top + height, left:left + width] += RANDOM.normal(1, 0.3, 3)[:, None, None]
        inside[top:top + height, left:left + width] = True
    return x.astype(np.float32), inside


def build(heads=None):
    """Return the model; `heads` holds weights and a bias of the objectness at each stride. Without them features are given out."""
    global RANDOM
    RANDOM = np.random.default_rng(20)
    nodes.clear()
    weights.clear()
    x, size = "image", 3
    for index, width in enumerate((16, 32, 32)):
        x = node("Relu", [conv(x, f"backbone{index}", size, width, 3, 2)], f"relu{index}")
        size = width
    levels = [x, node("Relu", [conv(x, "backbone3", size, size, 3, 2)], "relu3")]
    widen("backbone1", "backbone2")
    rows = []
    for level, stride in zip(levels, STRIDES):
        cells = SIDE // stride
        n = f"s{stride}"
        feature = node("Relu", [conv(level, f"{n}.stem", size, 32, 3)], f"{n}.relu")
        boxes = conv(feature, f"{n}.box", 32, 4, 1)
        w, b = heads[stride] if heads else (np.zeros(32), 0)
        logit = node("Conv", [feature, constant(f"{n}.object.w", w.reshape(1, 32, 1, 1).astype(np.float32)),
                              constant(f"{n}.object.b", np.array([b], np.float32))], f"{n}.object", kernel_shape=[1, 1])
        classes = conv(feature, f"{n}.class", 32, CLASSES, 1, bias=np.full(CLASSES, 3))
        logits = node("Concat", [logit, classes], f"{n}.logits", axis=1)
        scores = node("Sigmoid", [logits], f"{n}.scores")
        ys, xs = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
        grid = np.stack([xs, ys, 0 * xs + 2, 0 * ys + 2])[None].astype(np.float32)
        placed = node("Add", [boxes, constant(f"{n}.grid", grid)], f"{n}.placed")
        pixels = node("Mul", [placed, constant(f"{n}.stride", np.float32(stride * SCALE))], f"{n}.pixels")
        both = node("Concat", [pixels, scores], f"{n}.both", axis=1)
        shape = constant(f"{n}.shape", np.array([1, 5 + CLASSES, cells * cells], np.int64))
        rows.append(node("Reshape", [both, shape], f"{n}.rows"))
    node("Transpose", [node("Concat", rows, "levels", axis=2)], "detections", perm=[0, 2, 1])
    count = sum((SIDE // stride) ** 2 for stride in STRIDES)
    value = helper.make_tensor_value_info
    outputs = [value("detections", TensorProto.FLOAT, [1, count, 5 + CLASSES])]
    if heads is None:
        outputs = [value(f"s{s}.relu", TensorProto.FLOAT, [1, 32, SIDE // s, SIDE // s]) for s in STRIDES]
    graph = helper.make_graph(list(nodes), "detector", [value("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
                              outputs, list(weights))
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.checker.check_model(model)
    return model


def fitted(pictures, features, stride):
    """Return weights and a bias that tell, by least squares, whether a cell's middle lies inside a rectangle."""
    x = np.concatenate([feature[0].reshape(32, -1).T for feature in features])
    middles = slice(stride // 2, None, stride)
    y = np.concatenate([inside[middles, middles].ravel() for _, inside in pictures])
    mean, spread = x.mean(0), x.std(0) + 1e-6
    z = np.hstack([(x - mean) / spread, np.ones((len(x), 1))])
    w = np.linalg.solve(z.T @ z + 1e-2 * len(z) * np.eye(33), z.T @ np.where(y, 8.0, -8.0))
    return w[:32] / spread, w[32] - (w[:32] * mean / spread).sum()


def run(model, pictures):
    """Return the outputs of every picture."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, {"image": x[None]}) for x, _ in pictures]


def main():
    """Make the model, teach it where the rectangles are, and write both files."""
    folder = pathlib.Path(sys.argv[1]) / "detector"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [picture() for _ in range(PICTURES)]
    features = run(build(), pictures)
    model = build({stride: fitted(pictures, [f[index] for f in features], stride) for index, stride in enumerate(STRIDES)})
    rows = [out[0][0] for out in run(model, pictures)]
    confident = [int((row[:, 4] * row[:, 5:].max(1) >= 0.5).sum()) for row in rows]
    if min(confident) == 0:
        sys.exit(f"make_detector: a picture has no confident row: {confident}")
    onnx.save(model, folder / "model.onnx")
    np.savez_compressed(folder / "pictures.npz", image=np.stack([x for x, _ in pictures]))
    print(f"detector: {PICTURES} pictures, {sum(confident)} confident rows")


if __name__ == "__main__":
    main()
