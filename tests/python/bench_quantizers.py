#!/usr/bin/env python3
"""Measure what `edge-service quantize` makes, and what making it costs, beside onnxruntime.quantization.

Usage: bench_quantizers.py BINARY FOLDER [NAME ...]. Makes six models in FOLDER: a ResNet50, a MobileNetV2 and an encoder of six
layers of 384 with random weights, a perceptron, and copies of models/digits and of the detector of make_detector.py. Quantises
each with both tools as commands and prints, for our file and for the Python tool's by its defaults and by its best settings:
the speed-up over FP32 as the median of the ratios of alternated runs with one thread, the size, the agreement on other inputs,
and what making it took (the search for accuracy apart; there is none for the larger random nets, whose answers mean nothing).
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import make_detector
from compare_quantizers import agreement, answers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = 16
ROUNDS = 40
# How often sessions are made anew: where its weights come to lie in memory makes a session some percent faster or slower.
SESSIONS = 5
# How often each file is made, by turns.
TURNS = 3
FORMS = ("fp32", "ours", "python_default", "python_best")


class Net:
    """Nodes and weights of a graph under construction."""

    def __init__(self, seed):
        self.nodes, self.weights, self.random = [], [], np.random.default_rng(seed)

    def constant(self, array):
        """Keep an initialiser; return its name."""
        self.weights.append(numpy_helper.from_array(np.asarray(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def op(self, operator, *inputs, **attributes):
        """Keep a node; return its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"{operator}_{name}", **attributes))
        return name

    def normal(self, shape, spread):
        """Keep random weights."""
        return self.constant(self.random.normal(0, spread, shape).astype(np.float32))

    def conv(self, x, size_in, size_out, kernel=1, stride=1, group=1, gain=2.0):
        """Add a convolution and its BatchNormalization, as exporters in training form leave them."""
        fan = size_in // group * kernel * kernel
        weights = self.normal((size_out, size_in // group, kernel, kernel), np.sqrt(gain / fan))
        y = self.op("Conv", x, weights, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4, group=group)
        ones = np.ones(size_out, np.float32)
        shift = self.normal((size_out,), 0.05)
        return self.op("BatchNormalization", y, self.constant(ones), shift, self.constant(0 * ones), self.constant(ones))

    def linear(self, x, size_in, size_out):
        """Add a product and a bias."""
        return self.op("Add", self.op("MatMul", x, self.normal((size_in, size_out), size_in ** -0.5)),
                       self.normal((size_out,), 0.02))

    def model(self, shape, output, shape_out):
        """Return the whole."""
        value = helper.make_tensor_value_info
        self.nodes.append(helper.make_node("Identity", [output], ["output"], name="last"))
        graph = helper.make_graph(self.nodes, "net", [value("input", TensorProto.FLOAT, shape)],
                                  [value("output", TensorProto.FLOAT, shape_out)], self.weights)
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def head(net, x, size):
    """Pool, and give a thousand scores."""
    flat = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    return net.op("Gemm", flat, net.normal((1000, size), size ** -0.5), net.normal((1000,), 0.01), transB=1)


def resnet50():
    """Return a ResNet50."""
    net = Net(0)
    x = net.op("Relu", net.conv("input", 3, 64, 7, 2))
    x, size = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = stride if block == 0 else 1
            y = net.op("Relu", net.conv(x, size, width))
            y = net.op("Relu", net.conv(y, width, width, 3, step))
            y = net.conv(y, width, 4 * width, gain=0.5)
            shortcut = x if block else net.conv(x, size, 4 * width, 1, step, gain=1.0)
            x, size = net.op("Relu", net.op("Add", y, shortcut)), 4 * width
    return net.model([1, 3, 224, 224], head(net, x, size), [1, 1000])


def mobilenet_v2():
    """Return a MobileNetV2."""
    net = Net(1)
    low, high = net.constant(np.float32(0)), net.constant(np.float32(6))

    def block(x, *sizes, **options):
        return net.op("Clip", net.conv(x, *sizes, **options), low, high)

    x, size = block("input", 3, 32, 3, 2), 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for factor, width, blocks, stride in table:
        for index in range(blocks):
            step, middle = (stride if index == 0 else 1), size * factor
            y = block(x, size, middle) if factor > 1 else x
            y = block(y, middle, middle, 3, step, group=middle)
            y = net.conv(y, middle, width, gain=1.0)
            x, size = (net.op("Add", x, y) if step == 1 and size == width else y), width
    return net.model([1, 3, 224, 224], head(net, block(x, 320, 1280), 1280), [1, 1000])


def encoder():
    """Return six layers of a transformer's encoder: 384 wide, 12 heads, 128 places."""
    net, width, heads, places = Net(2), 384, 12, 128
    split = net.constant(np.array([1, places, heads, width // heads], np.int64))
    join = net.constant(np.array([1, places, width], np.int64))
    scale = net.constant(np.float32((width / heads) ** -0.5))
    half, one, root = (net.constant(np.float32(v)) for v in (0.5, 1.0, np.sqrt(2)))

    def norm(x):
        ones = np.ones(width, np.float32)
        return net.op("LayerNormalization", x, net.constant(ones), net.constant(0 * ones), axis=-1)

    x = "input"
    for _ in range(6):
        q, k, v = (net.op("Reshape", net.linear(x, width, width), split) for _ in range(3))
        q, v = (net.op("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
        k = net.op("Transpose", k, perm=[0, 2, 3, 1])
        shares = net.op("Softmax", net.op("Mul", net.op("MatMul", q, k), scale), axis=-1)
        mixed = net.op("Transpose", net.op("MatMul", shares, v), perm=[0, 2, 1, 3])
        x = norm(net.op("Add", x, net.linear(net.op("Reshape", mixed, join), width, width)))
        y = net.linear(x, width, 4 * width)
        gelu = net.op("Mul", net.op("Mul", y, net.op("Add", net.op("Erf", net.op("Div", y, root)), one)), half)
        x = norm(net.op("Add", x, net.linear(gelu, 4 * width, width)))
    return net.model([1, places, width], x, [1, places, width])


def perceptron():
    """Return a perceptron, 64-256-256-10."""
    net, x = Net(4), "input"
    for index, (a, b) in enumerate(((64, 256), (256, 256), (256, 10))):
        x = net.op("Gemm", x, net.normal((b, a), (2 / a) ** 0.5), net.normal((b,), 0.1), transB=1)
        x = net.op("Relu", x) if index < 2 else x
    return net.model([1, 64], x, [1, 10])


def normal(model):
    """Return random inputs of a model of this file."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return "input", np.random.default_rng(3).normal(0, 1, (2 * SAMPLES, *shape)).astype(np.float32)


def digits():
    """Return models/digits and its frames, as model.toml says."""
    folder = ROOT / "models/digits"
    rules = tomllib.loads((folder / "model.toml").read_text())["input"]

    def picture(path):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((rules["width"], rules["height"]), Image.Resampling.BILINEAR)
        x = (np.asarray(small, np.float64) * rules["scale"] - rules["mean"]) / rules["std"]
        return x.astype(np.float32).transpose(2, 0, 1)[None]

    return onnx.load(folder / "model.onnx"), ("image", np.stack([picture(p) for p in sorted((folder / "frames").iterdir())]))


def detector():
    """Return the detector of the tests and its pictures."""
    with tempfile.TemporaryDirectory() as folder:
        sys.argv[1:] = [folder]
        make_detector.main()
        found = pathlib.Path(folder) / "detector"
        return onnx.load(found / "model.onnx"), ("image", np.load(found / "pictures.npz")["image"][:, None])


def measured(commands):
    """Run commands by turns; return for each the median of its seconds, and its peak memory in MB.

    A command comes with what finds that memory in what it printed, and seconds of it that are told apart.
    """
    costs = {name: [] for name in commands}
    for _ in range(TURNS):
        for name, (command, peak, apart) in commands.items():
            begun = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - begun
            if done.returncode:
                sys.exit(f"bench: {command[:3]} failed: {done.stderr[-500:]}")
            costs[name].append((seconds - apart(), peak(done.stdout)))
    return {name: sorted(all_of_it)[len(all_of_it) // 2] for name, all_of_it in costs.items()}


PYTHON_TOOL = """
import sys, numpy as np
from onnxruntime.quantization import *
from onnxruntime.quantization.shape_inference import quant_pre_process
model, samples, output, how, method = sys.argv[1:]
class Reader(CalibrationDataReader):
    def __init__(self):
        arrays = np.load(samples); self.name = arrays.files[0]; self.x = arrays[self.name]; self.i = 0
    def get_next(self):
        self.i += 1
        return {self.name: self.x[self.i - 1]} if self.i <= len(self.x) else None
clean = output + ".clean"
quant_pre_process(model, clean, skip_symbolic_shape=True)
best = dict(per_channel=True, weight_type=QuantType.QInt8)
if method == "dynamic":
    quantize_dynamic(clean, output, **(dict(best, op_types_to_quantize=["MatMul", "Gemm"]) if how == "best" else {}))
elif how == "best":
    quantize_static(clean, output, Reader(), activation_type=QuantType.QUInt8, **best)
else:
    quantize_static(clean, output, Reader())
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


def session(path):
    """Return a session of one thread, without spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def race(paths, feed):
    """Alternate all forms, over several sessions of each, made in changing order; return milliseconds a run, one row a round."""
    forms = list(paths)
    rows = []
    for number in range(SESSIONS):
        order = forms[number % len(forms):] + forms[:number % len(forms)]
        rows += race_once({form: paths[form] for form in order}, feed)
    return rows


def race_once(paths, feed):
    """Race one session of each form.

    Each form runs once untimed before it is timed, so that none finds the caches as another left them, and none as it left them
    itself. What counts is the time of this thread, in which a session of one thread runs: others on the box take less part in it.
    """
    sessions = {form: session(path) for form, path in paths.items()}
    for one in sessions.values():
        one.run(None, feed)
    begun = time.thread_time()
    sessions["fp32"].run(None, feed)
    burst = max(1, round(0.005 / (time.thread_time() - begun)))
    rows = []
    for number in range(ROUNDS // SESSIONS):
        row = {}
        for form, one in (sessions.items() if number % 2 else reversed(sessions.items())):
            one.run(None, feed)
            begun = time.thread_time()
            for _ in range(burst):
                one.run(None, feed)
            row[form] = (time.thread_time() - begun) / burst * 1e3
        rows.append(row)
    return rows


def bench(binary, folder, name, method, search):
    """Quantise one model with both tools, race the files, and compare what they answer."""
    model, samples = folder / f"{name}.onnx", folder / f"{name}.npz"
    paths = {"fp32": model} | {form: folder / f"{name}.{form}.onnx" for form in FORMS[1:]}
    report = folder / f"{name}.json"
    command = [binary, "quantize", "--model", model, "--output", paths["ours"], "--calibration", samples, "--method", method]
    command += ["--report", report] + ([] if search else ["--no-search"])
    told = lambda: json.loads(report.read_text())
    searched = lambda: told()["seconds"]["search"] if search else 0
    commands = {"ours": (command, lambda _: told()["peak_memory_bytes"] / 1e6, searched)}
    for how in ("default", "best"):
        command = [sys.executable, "-c", PYTHON_TOOL, model, samples, paths[f"python_{how}"], how, method]
        commands[f"python_{how}"] = (command, lambda said: int(said.split()[-1]) * 1024 / 1e6, lambda: 0)
    costs = measured(commands)
    with np.load(folder / f"{name}.others.npz") as arrays:
        input_name = arrays.files[0]
        others = [{input_name: x} for x in arrays[input_name]]
    reference = answers(model, others)
    rows = race(paths, others[0])
    base = model.stat().st_size
    print(f"{name} ({method}), {np.median([row['fp32'] for row in rows]):.2f} ms in FP32")
    for form in FORMS[1:]:
        ratio = [row["fp32"] / row[form] for row in rows]
        low, middle, high = np.percentile(ratio, [10, 50, 90])
        value, what = agreement(reference, answers(paths[form], others))
        seconds, memory = costs[form]
        print(f"  {form:15} {middle:5.2f} x FP32 (10 to 90 %: {low:.2f} to {high:.2f})  {base / paths[form].stat().st_size:.2f} x "
              f"smaller  agrees {value:.4f} ({what})  made in {seconds:5.1f} s with {memory:5.0f} MB")
    against = {form: np.median([row[form] / row["ours"] for row in rows]) for form in FORMS[2:]}
    print(f"  ours against the better of the Python tool's files: {min(against.values()):.3f}", flush=True)


def main():
    """Make what is missing and measure."""
    binary, folder, *names = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    recipes = {"resnet50": (resnet50, "static", False), "mobilenet_v2": (mobilenet_v2, "static", False),
               "encoder": (encoder, "dynamic", False), "perceptron": (perceptron, "dynamic", True),
               "digits": (digits, "static", True), "detector": (detector, "static", True)}
    for name in names or recipes:
        make, method, search = recipes[name]
        if not (folder / f"{name}.others.npz").exists():
            made = make()
            model, (input_name, inputs) = made if isinstance(made, tuple) else (made, normal(made))
            onnx.save(model, folder / f"{name}.onnx")
            # Every third is held back, so that none of a sort is missing on either side.
            apart = np.arange(len(inputs)) % 3 == 2
            np.savez(folder / f"{name}.npz", **{input_name: inputs[~apart]})
            np.savez(folder / f"{name}.others.npz", **{input_name: inputs[apart]})
        bench(binary, folder, name, method, search)


if __name__ == "__main__":
    onnxruntime.set_default_logger_severity(3)
    main()
