#!/usr/bin/env python3
"""Quantise small nets with onnxruntime's own tool, to compare with: OUTDIR/quantize/NET.onnx, NET.json and NET.WAY.onnx.

Besides, conv.samples.npz holds runs with long tails, and conv.calibrated.json what ranges each of the tool's calibrators finds
in them, with as many bins as `edge-service` has.

Usage: make_quantized.py OUTDIR. NET.onnx is the float net after the runtime's first level of folding; NET.json holds the inputs of
some runs, the ranges that the tool's calibrator saw in them, and for each WAY its settings and what that file answers.
"""

import contextlib
import io
import json
import logging
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

RUNS = 4
U8, S8 = QuantType.QUInt8, QuantType.QInt8
# The name, and activations, weights, per channel, reduced range.
STATIC = {
    "static": (U8, S8, True, False),
    "static_tensor": (U8, S8, False, False),
    "static_reduced": (U8, S8, True, True),
    "static_s8": (S8, S8, True, False),
    "static_u8": (U8, U8, False, False),
}
DYNAMIC = {
    "dynamic": (U8, S8, True, False),
    "dynamic_tensor": (U8, S8, False, False),
    "dynamic_reduced": (U8, S8, True, True),
    "dynamic_u8": (U8, U8, False, False),
}


class Net:
    """A graph under construction: every method adds nodes and gives the name of their result."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def normal(self, *shape, gain=1.0):
        fan = np.prod(shape[1:]) if len(shape) > 1 else 1
        return self.weight(self.random.normal(0, gain / np.sqrt(fan), shape).astype(np.float32))

    def op(self, operator, *inputs, **attributes):
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def conv(self, x, channels_in, channels, size=3, group=1, stride=1):
        weight = self.normal(channels, channels_in // group, size, size, gain=1.5)
        pads, strides = [size // 2] * 4, [stride] * 2
        return self.op("Conv", x, weight, self.normal(channels, gain=0.1), pads=pads, strides=strides, group=group)

    def gemm(self, x, width_in, width):
        return self.op("Gemm", x, self.normal(width, width_in), self.normal(width, gain=0.1), transB=1)

    def product(self, x, width_in, width):
        return self.op("Add", self.op("MatMul", x, self.normal(width_in, width)), self.normal(width, gain=0.1))

    def limit(self, x):
        return self.op("Clip", x, self.weight(np.float32(0)), self.weight(np.float32(6)))

    def model(self, name, element, shape, output, result):
        inputs = [helper.make_tensor_value_info("x", element, shape)]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, result)]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def mlp():
    net = Net(1)
    y = net.op("Relu", net.gemm("x", 32, 48))
    y = net.op("Relu", net.gemm(y, 48, 48))
    return net.model("mlp", TensorProto.FLOAT, ["n", 32], net.gemm(y, 48, 10), ["n", 10])


def conv():
    """A stem, a bottleneck with a depthwise part and a shortcut, two branches joined, and a head."""
    net = Net(2)
    y = net.op("MaxPool", net.op("Relu", net.conv("x", 3, 16)), kernel_shape=[2, 2], strides=[2, 2])
    z = net.limit(net.conv(net.limit(net.conv(y, 16, 32, 1)), 32, 32, group=32))
    y = net.op("Relu", net.op("Add", y, net.conv(z, 32, 16, 1)))
    left = net.op("Relu", net.conv(y, 16, 8, 1))
    right = net.conv(y, 16, 8)
    y = net.op("Concat", left, net.op("Mul", right, net.op("Sigmoid", right)), axis=1)
    y = net.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.op("LeakyRelu", net.conv(y, 16, 32), alpha=0.1)
    y = net.op("Flatten", net.op("GlobalAveragePool", y))
    return net.model("conv", TensorProto.FLOAT, ["n", 3, 16, 16], net.gemm(y, 32, 10), ["n", 10])


def encoder(width=32, heads=4, words=8):
    """Embeddings and two layers of attention and a perceptron, with the last word's vector as the result."""
    net = Net(3)
    places = net.weight(net.random.normal(0, 1, (1, words, width)).astype(np.float32))
    table = net.weight(net.random.normal(0, 1, (50, width)).astype(np.float32))
    norm = lambda x: net.op("LayerNormalization", x, net.weight(np.ones(width, np.float32)), net.normal(width, gain=0.1))
    split, join = (net.weight(np.array(sizes)) for sizes in ([0, 0, heads, width // heads], [0, 0, width]))
    apart = lambda x, order: net.op("Transpose", net.op("Reshape", net.product(x, width, width), split), perm=order)
    y = norm(net.op("Add", net.op("Gather", table, "x"), places))
    for _ in range(2):
        query, key, value = apart(y, [0, 2, 1, 3]), apart(y, [0, 2, 3, 1]), apart(y, [0, 2, 1, 3])
        share = net.op("Mul", net.op("MatMul", query, key), net.weight(np.float32((width / heads) ** -0.5)))
        mixed = net.op("MatMul", net.op("Softmax", share, axis=-1), value)
        mixed = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]), join)
        y = norm(net.op("Add", y, net.product(mixed, width, width)))
        inner = net.op("Relu", net.product(y, width, 2 * width))
        y = norm(net.op("Add", y, net.product(inner, 2 * width, width)))
    return net.model("encoder", TensorProto.INT64, ["n", words], y, ["n", words, width])


class Runs(CalibrationDataReader):
    """The runs, for the tool's calibrator."""

    def __init__(self, runs):
        self.rest = iter(runs)

    def get_next(self):
        x = next(self.rest, None)
        return None if x is None else {"x": x}


def session(path, level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL, written=None):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if written:
        options.optimized_model_filepath = str(written)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def found_ranges(path, inputs, method, **options):
    """Return what one of the tool's calibrators finds: the lowest and the highest value by tensor."""
    augmented = path.with_suffix(".augmented.onnx")
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = create_calibrator(
            path, augmented_model_path=str(augmented), calibrate_method=method, extra_options=options)
        calibrator.collect_data(Runs(inputs))
        found = calibrator.compute_data().items()
    augmented.unlink()
    return {tensor: [float(np.asarray(limit).item()) for limit in data.range_value] for tensor, data in found}


def calibrate(folder, inputs):
    """Write the ranges of each calibrator for the net of convolutions."""
    path = folder / "conv.onnx"
    np.savez(folder / "conv.samples.npz", x=np.stack(inputs))
    told = {
        "minmax": found_ranges(path, inputs, CalibrationMethod.MinMax),
        "percentile": found_ranges(path, inputs, CalibrationMethod.Percentile),
        "entropy": found_ranges(path, inputs, CalibrationMethod.Entropy, num_bins=2048, num_quantized_bins=128),
    }
    (folder / "conv.calibrated.json").write_text(json.dumps(told) + "\n")


def make(folder, name, model, inputs, ways):
    """Write one net and all that is to be compared with."""
    path = folder / f"{name}.onnx"
    onnx.save(model, folder / "raw.onnx")
    session(folder / "raw.onnx", onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC, path)
    ranges = found_ranges(path, inputs, CalibrationMethod.MinMax) if any(way in STATIC for way in ways) else {}
    (folder / "raw.onnx").unlink()
    told = {"inputs": [x.ravel().tolist() for x in inputs], "shape": list(inputs[0].shape), "ranges": ranges, "ways": {}}
    for way in ways:
        activations, weights, per_channel, reduced = (STATIC | DYNAMIC)[way]
        made = folder / f"{name}.{way}.onnx"
        common = {"weight_type": weights, "per_channel": per_channel, "reduce_range": reduced}
        if way in STATIC:
            common |= {"quant_format": QuantFormat.QDQ, "activation_type": activations}
            quantize_static(path, made, Runs(inputs), **common)
        else:
            quantize_dynamic(path, made, **common)
        answers = [session(made).run(None, {"x": x})[0].ravel().tolist() for x in inputs]
        told["ways"][way] = {
            "static": way in STATIC,
            "signed_activations": activations == S8,
            "signed_weights": weights == S8,
            "per_channel": per_channel,
            "reduce_range": reduced,
            "outputs": answers,
        }
    (folder / f"{name}.json").write_text(json.dumps(told) + "\n")


def main():
    """Write the files; return the exit status."""
    if len(sys.argv) != 2:
        print("usage: make_quantized.py OUTDIR", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]) / "quantize"
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)
    random = np.random.default_rng(0)
    floats = lambda *shape: [random.normal(0, 1, shape).astype(np.float32) for _ in range(RUNS)]
    make(folder, "mlp", mlp(), floats(1, 32), [*STATIC, *DYNAMIC])
    make(folder, "conv", conv(), floats(1, 3, 16, 16), STATIC)
    make(folder, "encoder", encoder(), [random.integers(0, 50, (1, 8)) for _ in range(RUNS)], DYNAMIC)
    calibrate(folder, [random.standard_t(3, (1, 3, 16, 16)).astype(np.float32) for _ in range(8)])
    print(f"make_quantized: {len(list(folder.glob('*.onnx')))} models")
    return 0


if __name__ == "__main__":
    sys.exit(main())
