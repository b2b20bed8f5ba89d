#!/usr/bin/env python3
"""Write what `edge-service quantize` must refuse or survive: OUTDIR/unquantizable/.

Usage: make_unquantizable.py OUTDIR. Models: good.onnx (a small net of convolutions), text.onnx, cut.onnx, cyclic.onnx, twice.onnx (a
name made twice), missing.onnx (an initialiser that is not there), done.onnx (quantised already), nothing.onnx (no node to quantise),
half.onnx (FP16). Samples for good.onnx: good.npz, shape.npz (another shape), name.npz (another input), nan.npz, and empty.npz.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def constant(name, *shape, kind=np.float32):
    """Make an initialiser of random numbers."""
    return numpy_helper.from_array(np.random.default_rng(sum(map(ord, name))).standard_normal(shape).astype(kind), name)


def model(nodes, inputs, outputs, constants=(), kind=TensorProto.FLOAT):
    """Make a model; inputs and outputs are {name: shape}."""
    value = lambda item: helper.make_tensor_value_info(item[0], kind, item[1])
    graph = helper.make_graph(nodes, "graph", list(map(value, inputs.items())), list(map(value, outputs.items())), list(constants))
    return helper.make_model(
        graph, ir_version=8, producer_name="edge-service-tests", opset_imports=[helper.make_opsetid("", 17)])


def net(kind=np.float32, weights=("w1", "w2")):
    """Make a convolution, a rectifier, a mean and a product; initialisers that are not in `weights` are missing."""
    node = helper.make_node
    known = [constant("w1", 8, 3, 3, 3, kind=kind), constant("w2", 8, 5, kind=kind)]
    return model(
        [node("Conv", ["x", "w1"], ["c"], name="conv", kernel_shape=[3, 3]), node("Relu", ["c"], ["r"], name="relu"),
         node("GlobalAveragePool", ["r"], ["p"], name="pool"), node("Flatten", ["p"], ["f"], name="flatten"),
         node("MatMul", ["f", "w2"], ["y"], name="product")],
        {"x": ["n", 3, 12, 12]}, {"y": ["n", 5]}, [tensor for tensor in known if tensor.name in weights],
        TensorProto.FLOAT16 if kind == np.float16 else TensorProto.FLOAT)


def models():
    """Yield each model by its name."""
    node = helper.make_node
    yield "good", net()
    yield "half", net(np.float16)
    yield "missing", net(weights=("w1",))
    weight = constant("w", 4, 4)
    yield "cyclic", model(
        [node("Add", ["x", "b"], ["a"], name="first"), node("MatMul", ["a", "w"], ["b"], name="second")], {"x": [1, 4]}, {"b": [1, 4]}, [weight])
    yield "twice", model(
        [node("MatMul", ["x", "w"], ["y"], name="first"), node("MatMul", ["x", "w"], ["y"], name="second")], {"x": [1, 4]}, {"y": [1, 4]}, [weight])
    yield "nothing", model([node("Sqrt", ["x"], ["y"], name="root")], {"x": [1, 4]}, {"y": [1, 4]})
    yield "done", model(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"], name="into"), node("DequantizeLinear", ["q", "s", "z"], ["d"], name="out"),
         node("MatMul", ["d", "w"], ["y"], name="product")],
        {"x": [1, 4]}, {"y": [1, 4]},
        [weight, numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(128), "z")])


def main(folder):
    """Write all of them."""
    folder = pathlib.Path(folder, "unquantizable")
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in models():
        (folder / f"{name}.onnx").write_bytes(made.SerializeToString())
    good = (folder / "good.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(good[:len(good) * 2 // 3])
    (folder / "text.onnx").write_text("this is not a model\n" * 40)
    onnx.checker.check_model(onnx.load(folder / "good.onnx"))
    samples = np.random.default_rng(9).standard_normal((40, 3, 12, 12)).astype(np.float32)
    spoilt = samples.copy()
    spoilt[7, 1, 2, 3] = np.nan
    for name, arrays in {
        "good": {"x": samples}, "shape": {"x": samples[:, :, :, :7].copy(order="C")[:, :2]}, "name": {"other": samples}, "nan": {"x": spoilt},
        "empty": {"x": samples[:0]},
    }.items():
        np.savez(folder / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
