#!/usr/bin/env python3
"""Write the small ONNX models of the integration tests: OUTDIR/models/NAME.onnx and OUTDIR/models/manifest.json.

Usage: make_models.py OUTDIR. Seeds are fixed, so every call writes the same bytes. Every model is tried with ONNX
Runtime as it is written: the script fails where one that should load does not, or the other way round.

manifest.json: {NAME: {"file", "note", "loads", "inputs", "outputs"}}, the last two lists of {"name", "datatype", "shape"}
with the datatypes of the inference protocol, -1 for a free dimension, and `null` where the protocol has no name.
"""

import json
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

DATATYPES = {
    TensorProto.BOOL: "BOOL", TensorProto.UINT8: "UINT8", TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32", TensorProto.UINT64: "UINT64", TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16", TensorProto.INT32: "INT32", TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16", TensorProto.BFLOAT16: "BF16", TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64", TensorProto.STRING: "BYTES",
}

RECIPES = {}

# What a model that should not load may do instead of being refused.
CRASHES, HANGS = "crashes", "hangs"


def recipe(note, loads=True):
    """Register a function that returns one model (or the bytes of a file) under its own name.

    `loads`: True, False, or CRASHES or HANGS for one that must not be loaded in a process that is to live.
    """
    def register(function):
        RECIPES[function.__name__] = (function, note, loads)
        return function
    return register


def value(name, kind=TensorProto.FLOAT, shape=("n",)):
    """Describe a tensor at the graph's edge; a dimension that is a string is free."""
    return helper.make_tensor_value_info(name, kind, list(shape))


def constant(name, array):
    """Make an initialiser."""
    return numpy_helper.from_array(np.asarray(array), name)


def model(nodes, inputs, outputs, initializers=(), opsets=(("", OPSET),)):
    """Make a model out of the parts of its graph."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    return helper.make_model(
        graph, ir_version=IR_VERSION, producer_name="edge-service-tests",
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets])


def identity(kind):
    """Make the model that hands a vector of one type through."""
    return model([helper.make_node("Identity", ["x"], ["y"])], [value("x", kind)], [value("y", kind)])


for _kind, _datatype in DATATYPES.items():
    RECIPES[f"identity_{_datatype.lower()}"] = (
        lambda kind=_kind: identity(kind), f"hands a vector of {_datatype} through", True)


@recipe("a scalar in, twice the scalar out: shape [] both ways")
def scalar():
    return model([helper.make_node("Add", ["x", "x"], ["y"])], [value("x", shape=())], [value("y", shape=())])


@recipe("two inputs and two outputs: sum and difference of [n, 16] integers")
def add_sub_int32():
    kind, shape = TensorProto.INT32, ("n", 16)
    return model(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])],
        [value("a", kind, shape), value("b", kind, shape)],
        [value("sum", kind, shape), value("difference", kind, shape)])


@recipe("`offset` has an initialiser of 10 and may be left out: y = x + offset")
def optional_input():
    return model(
        [helper.make_node("Add", ["x", "offset"], ["y"])], [value("x"), value("offset", shape=(1,))],
        [value("y")], [constant("offset", np.array([10], np.float32))])


def loop(name, trips, condition):
    """Make a Loop over a 64x64 matrix product; it can be cancelled between any two nodes of its body."""
    random = np.random.default_rng(7)
    body = helper.make_graph(
        [helper.make_node("MatMul", ["state", "rotation"], ["turned"]),
         helper.make_node("Tanh", ["turned"], ["new_state"]),
         helper.make_node("Identity", ["go_on"], ["still"])],
        "body", [value("trip", TensorProto.INT64, ()), value("go_on", TensorProto.BOOL, ()), value("state", shape=(64, 64))],
        [value("still", TensorProto.BOOL, ()), value("new_state", shape=(64, 64))])
    return (
        helper.make_node("Loop", [trips, condition, "x"], ["y"], name=name, body=body),
        [constant("rotation", np.linalg.qr(random.standard_normal((64, 64)))[0].astype(np.float32)),
         constant("true", np.array(True))])


@recipe("a Loop of `steps` [1] rounds over `x` [64, 64]: a request chooses how long it runs; about 300,000 rounds are 2 s on a core")
def slow():
    node, initializers = loop("rounds", "trips", "true")
    return model(
        [helper.make_node("Squeeze", ["steps"], ["trips"]), node],
        [value("steps", TensorProto.INT64, (1,)), value("x", shape=(64, 64))], [value("y", shape=(64, 64))], initializers)


@recipe("a Loop that never ends; only a cancel stops it")
def infinite_loop():
    node, initializers = loop("for_ever", "", "true")
    return model([node], [value("x", shape=(64, 64))], [value("y", shape=(64, 64))], initializers)


@recipe("y = table[index] with ten rows: an index outside -10 to 9 has the right shape and fails inside the graph")
def fails_inside():
    return model(
        [helper.make_node("Gather", ["table", "index"], ["y"])], [value("index", TensorProto.INT64)],
        [value("y")], [constant("table", np.arange(10, dtype=np.float32))])


@recipe("`shape` [2] is what `x` [12] is reshaped to: a product other than 12 fails inside the graph")
def reshape_inside():
    return model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [value("x", shape=(12,)), value("shape", TensorProto.INT64, (2,))], [value("y", shape=("rows", "columns"))])


@recipe("three outputs: square root (NaN below 0), logarithm (-infinity at 0), and the input itself")
def nan():
    return model(
        [helper.make_node("Sqrt", ["x"], ["root"]), helper.make_node("Log", ["x"], ["logarithm"]),
         helper.make_node("Identity", ["x"], ["same"])],
        [value("x")], [value("root"), value("logarithm"), value("same")])


@recipe("y = x + fresh normal noise: no two answers are the same")
def nondeterministic():
    return model(
        [helper.make_node("RandomNormalLike", ["x"], ["noise"]), helper.make_node("Add", ["x", "noise"], ["y"])],
        [value("x")], [value("y")])


def sequence(name):
    """Describe a sequence of FP32 tensors at the graph's edge."""
    return helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, ["n"])


@recipe("its only output is a sequence, which the protocol cannot name")
def seq_only():
    return model([helper.make_node("SequenceConstruct", ["x"], ["pieces"])], [value("x")], [sequence("pieces")])


@recipe("a sequence output `pieces` beside a tensor `y`")
def seq_beside():
    return model(
        [helper.make_node("SequenceConstruct", ["x", "x"], ["pieces"]), helper.make_node("Neg", ["x"], ["y"])],
        [value("x")], [sequence("pieces"), value("y")])


@recipe("a classifier's usual outputs: `label` and a sequence of maps `probabilities`")
def zipmap():
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)))
    return model(
        [helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
         helper.make_node("ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])],
        [value("x", shape=("n", 3))],
        [value("label", TensorProto.INT64), helper.make_value_info("probabilities", kind)],
        opsets=(("", OPSET), ("ai.onnx.ml", 3)))


@recipe("an optional-typed output `maybe` beside a tensor `y`")
def optional_beside():
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"]))
    return model(
        [helper.make_node("Optional", ["x"], ["maybe"]), helper.make_node("Neg", ["x"], ["y"])],
        [value("x")], [helper.make_value_info("maybe", kind), value("y")])


@recipe("[n, 64] in, two hidden layers of 256, [n, 10] out; random weights")
def mlp():
    random = np.random.default_rng(11)
    nodes, initializers, x = [], [], "x"
    for index, (inner, outer) in enumerate([(64, 256), (256, 256), (256, 10)], 1):
        weight = random.standard_normal((inner, outer)).astype(np.float32) * np.float32((2 / inner) ** 0.5)
        initializers += [constant(f"w{index}", weight), constant(f"b{index}", np.zeros(outer, np.float32))]
        made = "y" if index == 3 else f"layer{index}"
        nodes.append(helper.make_node("Gemm", [x, f"w{index}", f"b{index}"], [made]))
        if index < 3:
            nodes.append(helper.make_node("Relu", [made], [f"relu{index}"]))
        x = f"relu{index}"
    return model(nodes, [value("x", shape=("batch", 64))], [value("y", shape=("batch", 10))], initializers)


@recipe("[1, 3, 240, 320] in, the same halved out: bodies of 900 KB")
def wide():
    shape = (1, 3, 240, 320)
    return model(
        [helper.make_node("Mul", ["image", "half"], ["scaled"])], [value("image", shape=shape)],
        [value("scaled", shape=shape)], [constant("half", np.float32(0.5))])


@recipe("a batch of exactly 4: any other is refused before the graph runs")
def fixed_batch():
    return model([helper.make_node("Neg", ["x"], ["y"])], [value("x", shape=(4, 8))], [value("y", shape=(4, 8))])


@recipe("outputs of rank 2, [n, n], and of rank 0, out of a vector [n]")
def two_d_out():
    return model(
        [helper.make_node("Unsqueeze", ["x", "last"], ["column"]), helper.make_node("Unsqueeze", ["x", "first"], ["row"]),
         helper.make_node("Mul", ["column", "row"], ["table"]), helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)],
        [value("x")], [value("table", shape=("n", "n")), value("total", shape=())],
        [constant("last", np.array([1])), constant("first", np.array([0]))])


@recipe("the elements of x that are not 0: an output whose size the input's values decide, and may be 0")
def values_decide_shape():
    return model(
        [helper.make_node("Cast", ["x"], ["kept"], to=TensorProto.BOOL), helper.make_node("Compress", ["x", "kept"], ["y"])],
        [value("x")], [value("y", shape=("kept",))])


@recipe("y = table[floor(x) - 100] with four rows: 96 to 103 are answered; zeros and normal noise fail inside the graph")
def needs_value_range():
    return model(
        [helper.make_node("Floor", ["x"], ["whole"]), helper.make_node("Sub", ["whole", "hundred"], ["place"]),
         helper.make_node("Cast", ["place"], ["index"], to=TensorProto.INT64),
         helper.make_node("Gather", ["table", "index"], ["y"])],
        [value("x")], [value("y")],
        [constant("hundred", np.float32(100)), constant("table", np.arange(4, dtype=np.float32))])


@recipe("numbers written as text: an empty string, as a warm-up would send, fails inside the graph")
def text_to_number():
    return model(
        [helper.make_node("Cast", ["text"], ["y"], to=TensorProto.FLOAT)], [value("text", TensorProto.STRING)], [value("y")])


@recipe("[n, 3, 4] in, transposed out: the order of elements shows")
def transpose():
    return model(
        [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1])], [value("x", shape=("n", 3, 4))],
        [value("y", shape=("n", 4, 3))])


@recipe("names with a slash, a space, a colon and an umlaut")
def odd_names():
    return model(
        [helper.make_node("Neg", ["serving default/x:0"], ["größe/y:0"])], [value("serving default/x:0")],
        [value("größe/y:0")])


@recipe("no inputs at all: y is a constant")
def no_inputs():
    return model(
        [helper.make_node("Constant", [], ["y"], value=constant("value", np.array([1, 2, 3], np.float32)))], [],
        [value("y", shape=(3,))])


@recipe("an operator that no runtime knows", loads=False)
def unknown_op():
    return model(
        [helper.make_node("Levitate", ["x"], ["y"], domain="example.odd")], [value("x")], [value("y")],
        opsets=(("", OPSET), ("example.odd", 1)))


@recipe("an opset of a far future", loads=False)
def future_opset():
    made = identity(TensorProto.FLOAT)
    made.opset_import[0].version = 9999
    return made


@recipe("a weight whose external file is not there", loads=False)
def lost_weights():
    made = model([helper.make_node("Add", ["x", "w"], ["y"])], [value("x")], [value("y")])
    weight = made.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="lost_weights.bin")
    return made


@recipe("the first half of a model", loads=False)
def truncated():
    whole = mlp().SerializeToString(deterministic=True)
    return whole[:len(whole) // 2]


@recipe("a text file", loads=False)
def not_onnx():
    return b"This is no model.\n"


@recipe("a file of no bytes", loads=False)
def empty():
    return b""


def least_by_minus_one(operator):
    """Make a model that divides the least int32 by -1 while constants are folded."""
    kind = TensorProto.INT32
    return model(
        [helper.make_node(operator, ["least", "minus_one"], ["broken"]), helper.make_node("Add", ["x", "broken"], ["y"])],
        [value("x", kind)], [value("y", kind)],
        [constant("least", np.array([-2**31], np.int32)), constant("minus_one", np.array([-1], np.int32))])


@recipe("the least int32 / -1, folded at load: the processor stops the process (SIGFPE)", loads=CRASHES)
def crashes_at_load():
    return least_by_minus_one("Div")


@recipe("the least int32 % -1, folded at load: the processor stops the process (SIGFPE)", loads=CRASHES)
def crashes_in_modulo():
    return least_by_minus_one("Mod")


@recipe("40 functions that each call the one before twice: 2^40 nodes once they are inlined at load", loads=HANGS)
def never_loads():
    domain, functions = "example.bomb", []
    inner = {"op_type": "Neg"}
    for level in range(40):
        functions.append(helper.make_function(
            domain, f"level{level}", ["a"], ["c"],
            [helper.make_node(inputs=["a"], outputs=["b"], **inner), helper.make_node(inputs=["b"], outputs=["c"], **inner)],
            [helper.make_opsetid("", OPSET), helper.make_opsetid(domain, 1)]))
        inner = {"op_type": f"level{level}", "domain": domain}
    made = model([helper.make_node(inputs=["x"], outputs=["y"], **inner)], [value("x")], [value("y")],
                 opsets=(("", OPSET), (domain, 1)))
    made.functions.extend(functions)
    return made


@recipe("a locale that no system has", loads=False)
def lost_locale():
    return model(
        [helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", is_case_sensitive=1, locale="xx_YY")],
        [value("x", TensorProto.STRING)], [value("y", TensorProto.STRING)])


def edges(values):
    """Describe inputs or outputs for the manifest."""
    described = []
    for item in values:
        tensor = item.type.tensor_type if item.type.HasField("tensor_type") else None
        described.append({
            "name": item.name,
            "datatype": DATATYPES[tensor.elem_type] if tensor else None,
            "shape": [size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim] if tensor else None,
        })
    return described


def open_session(path):
    """Load a model with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def alone(path, seconds=3):
    """Load a model in a process of its own; say what became of that."""
    code = "import sys; from make_models import open_session; open_session(sys.argv[1])"
    try:
        status = subprocess.run(
            [sys.executable, "-c", code, path.resolve()], cwd=pathlib.Path(__file__).parent, timeout=seconds, capture_output=True).returncode
    except subprocess.TimeoutExpired:
        return HANGS
    return CRASHES if status < 0 else "refused" if status else "loads"


def write(folder):
    """Write all models and the manifest; return what did not load, or loaded, against its description."""
    faults, manifest = [], {}
    for name, (function, note, loads) in RECIPES.items():
        path = folder / f"{name}.onnx"
        made = function()
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString(deterministic=True))
        entry = {"file": path.name, "note": note, "loads": loads is True}
        if loads is True:
            initialised = {item.name for item in made.graph.initializer}
            entry["inputs"] = edges(made.graph.input)
            for item in entry["inputs"]:
                item["optional"] = item["name"] in initialised
            entry["outputs"] = edges(made.graph.output)
            onnx.checker.check_model(made)
        manifest[name] = entry
        if loads in (CRASHES, HANGS):
            outcome = alone(path)
            if outcome != loads:
                faults.append(f"{name}: {outcome}, but should be: {loads}")
            continue
        try:
            open_session(path)
            loaded = True
        except Exception as error:
            loaded = False
            reason = str(error).splitlines()[0]
        if loaded != loads:
            faults.append(f"{name}: " + ("loads, but should not" if loaded else f"does not load: {reason}"))
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return faults


def check_behaviour(folder):
    """Run the models whose point is what they do; return what they do not do."""
    faults = []

    def run(name, **feed):
        return open_session(folder / f"{name}.onnx").run(None, {key: np.asarray(item) for key, item in feed.items()})

    def want(name, holds):
        if not holds:
            faults.append(f"{name}: does not do what its note says")

    def fails(name, **feed):
        try:
            run(name, **feed)
            return False
        except Exception:
            return True

    f32 = np.float32
    for name in ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "fp16", "fp32", "fp64"):
        kind = {"bool": bool, "fp16": np.float16, "fp32": f32, "fp64": float}.get(name) or np.dtype(name)
        want(f"identity_{name}", np.array_equal(run(f"identity_{name}", x=np.array([0, 1], kind))[0], [0, 1]))
    want("identity_bytes", run("identity_bytes", x=np.array(["", "ä"], object))[0].tolist() == ["", "ä"])
    bits = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
        np.array([0x3F80, 0x7FC1], np.uint16), TensorProto.BFLOAT16)
    same, = open_session(folder / "identity_bf16.onnx").run_with_ort_values(None, {"x": bits})
    want("identity_bf16", same.element_type() == TensorProto.BFLOAT16 and same.shape() == [2])
    want("scalar", run("scalar", x=f32(2))[0] == 4)
    row = np.arange(16, dtype=np.int32)[None]
    want("add_sub_int32", np.array_equal(run("add_sub_int32", a=row, b=row)[0], 2 * row))
    want("optional_input", run("optional_input", x=f32([1]))[0][0] == 11)
    want("optional_input", run("optional_input", x=f32([1]), offset=f32([2]))[0][0] == 3)
    want("fails_inside", run("fails_inside", index=[3])[0][0] == 3 and fails("fails_inside", index=[10]))
    want("reshape_inside", not fails("reshape_inside", x=np.zeros(12, f32), shape=[3, 4])
         and fails("reshape_inside", x=np.zeros(12, f32), shape=[5, 5]))
    root, logarithm, _ = run("nan", x=f32([-1, 0, 1]))
    want("nan", np.isnan(root[0]) and np.isneginf(logarithm[1]))
    noisy = open_session(folder / "nondeterministic.onnx")
    zeros = {"x": np.zeros(4, f32)}
    want("nondeterministic", not np.array_equal(noisy.run(None, zeros)[0], noisy.run(None, zeros)[0]))
    want("zipmap", run("zipmap", x=f32([[1, 5, 2]]))[0][0] == 1)
    want("mlp", run("mlp", x=np.ones((5, 64), f32))[0].shape == (5, 10))
    want("wide", run("wide", image=np.full((1, 3, 240, 320), 2, f32))[0].max() == 1)
    want("fixed_batch", fails("fixed_batch", x=np.zeros((3, 8), f32)))
    want("two_d_out", run("two_d_out", x=f32([1, 2]))[0].tolist() == [[1, 2], [2, 4]])
    want("values_decide_shape", run("values_decide_shape", x=np.zeros(3, f32))[0].shape == (0,))
    want("needs_value_range", run("needs_value_range", x=f32([100, 103.5]))[0].tolist() == [0, 3]
         and fails("needs_value_range", x=f32([0])) and fails("needs_value_range", x=f32([1.5])))
    want("text_to_number", run("text_to_number", text=np.array(["1.5"], object))[0][0] == 1.5
         and fails("text_to_number", text=np.array([""], object)))
    want("no_inputs", run("no_inputs")[0].tolist() == [1, 2, 3])
    want("slow", np.isfinite(run("slow", steps=[10], x=np.eye(64, dtype=f32))[0]).all())
    for name, feed in (("slow", {"steps": np.array([2**40]), "x": np.eye(64, dtype=f32)}),
                       ("infinite_loop", {"x": np.eye(64, dtype=f32)})):
        want(name, cancels(folder / f"{name}.onnx", feed))
    return faults


def cancels(path, feed):
    """Say whether an endless run ends within a second of being told to."""
    session = open_session(path)
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    stopped = []

    def stop():
        options.terminate = True
        stopped.append(time.monotonic())

    timer = threading.Timer(0.3, stop)
    timer.start()
    try:
        session.run(None, feed, options)
        return False
    except Exception:
        return bool(stopped) and time.monotonic() - stopped[0] < 1.0
    finally:
        timer.cancel()


def main():
    """Write and check; return the exit status."""
    if len(sys.argv) != 2:
        print("usage: make_models.py OUTDIR", file=sys.stderr)
        return 2
    folder = pathlib.Path(sys.argv[1]) / "models"
    folder.mkdir(parents=True, exist_ok=True)
    faults = write(folder) or check_behaviour(folder)
    for fault in faults:
        print(f"make_models: {fault}", file=sys.stderr)
    print(f"make_models: {len(RECIPES)} models in {folder}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
