#!/usr/bin/env python3
"""Write the seeds of the fuzz target: small models, each with the four bytes behind it that choose how it is quantised.

Usage: .venv/bin/python fuzz/seeds.py [FOLDER]        FOLDER is fuzz/corpus/model where it is not named
"""

import pathlib
import random
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLOAT = TensorProto.FLOAT


def tensor(name, *shape):
    """Make a constant of random numbers."""
    return numpy_helper.from_array(np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32), name)


def model(nodes, inputs, outputs, constants=(), opset=17):
    """Make a model; inputs and outputs are {name: shape}."""
    value = lambda item: helper.make_tensor_value_info(item[0], FLOAT, item[1])
    graph = helper.make_graph(nodes, "g", list(map(value, inputs.items())), list(map(value, outputs.items())), list(constants))
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def models():
    """Yield a name and a model for each kind of graph that the rules know."""
    node, image = helper.make_node, {"x": ["n", 3, 8, 8]}
    for opset in (7, 10, 11, 13, 17, 21):
        clip = node("Clip", ["c1"], ["r1"], min=0.0, max=6.0) if opset < 11 else node("Relu", ["c1"], ["r1"])
        yield f"conv{opset}", model(
            [node("Conv", ["x", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1] * 4), clip,
             node("Conv", ["r1", "w2"], ["c2"], group=4, kernel_shape=[3, 3], pads=[1] * 4), node("Add", ["c2", "r1"], ["a"]),
             node("MaxPool", ["a"], ["m"], kernel_shape=[2, 2], strides=[2, 2]), node("GlobalAveragePool", ["m"], ["p"]),
             node("Flatten", ["p"], ["f"]), node("Gemm", ["f", "w3", "b3"], ["y"], transB=1)],
            image, {"y": ["n", 5]}, [tensor("w1", 4, 3, 3, 3), tensor("b1", 4), tensor("w2", 4, 1, 3, 3), tensor("w3", 5, 4), tensor("b3", 5)],
            opset)
    yield "mlp", model(
        [node("MatMul", ["x", "w1"], ["m"]), node("Add", ["m", "b1"], ["a"]), node("Relu", ["a"], ["r"]), node("Gemm", ["r", "w2"], ["y"])],
        {"x": ["n", 6]}, {"y": ["n", 3]}, [tensor("w1", 6, 7), tensor("b1", 7), tensor("w2", 7, 3)])
    yield "attention", model(
        [node("MatMul", ["x", "q"], ["Q"]), node("MatMul", ["x", "k"], ["K"]), node("Transpose", ["K"], ["T"], perm=[0, 2, 1]),
         node("MatMul", ["Q", "T"], ["S"]), node("Softmax", ["S"], ["P"], axis=-1), node("MatMul", ["P", "x"], ["y"])],
        {"x": ["n", 4, 6]}, {"y": ["n", 4, 6]}, [tensor("q", 6, 6), tensor("k", 6, 6)])
    yield "shared", model(
        [node("Conv", ["x", "w"], ["a"]), node("Conv", ["x", "v"], ["b"]), node("Concat", ["a", "b"], ["c"], axis=1),
         node("Resize", ["c", "", "s"], ["r"], mode="nearest"), node("Sigmoid", ["r"], ["g"]), node("Mul", ["r", "g"], ["y"])],
        image, {"y": ["n", 4, 16, 16]},
        [tensor("w", 2, 3, 1, 1), tensor("v", 2, 3, 1, 1), numpy_helper.from_array(np.float32([1, 1, 2, 2]), "s")])
    branch = lambda name: helper.make_graph([node("MatMul", ["x", "w"], [name])], name, [], [helper.make_tensor_value_info(name, FLOAT, None)])
    yield "branches", model(
        [node("If", ["c"], ["i"], then_branch=branch("t"), else_branch=branch("e")), node("MatMul", ["i", "w"], ["y"])],
        {"x": [3, 3]}, {"y": [3, 3]}, [tensor("w", 3, 3), numpy_helper.from_array(np.array(True), "c")])
    yield "done", model(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])], {"x": ["n"]}, {"y": ["n"]},
        [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(3), "z")])
    yield "conv1d", model([node("Conv", ["x", "w"], ["c"]), node("BatchNormalization", ["c", "b", "b", "b", "b"], ["y"])],
                          {"x": [1, 3, 9]}, {"y": [1, 4, 7]}, [tensor("w", 4, 3, 3), tensor("b", 4)])


def main():
    """Write them."""
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "fuzz/corpus/model")
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    found = [(name, made.SerializeToString()) for name, made in models()]
    fixtures = sorted((ROOT / "target/fixtures").glob("*/*.onnx"))
    found += [(path.stem, path.read_bytes()) for path in fixtures if path.stat().st_size < 4000]
    for name, data in found:
        for turn in range(3):
            how = bytes([0, chance.randrange(256), chance.randrange(256), chance.randrange(256)])
            (folder / f"{name}-{turn}").write_bytes(data + how)
    for turn in range(64):
        grown = chance.randbytes(chance.randrange(40, 800)) + bytes([1]) + chance.randbytes(3)
        (folder / f"grown-{turn}").write_bytes(grown)
    print(f"{len(list(folder.iterdir()))} seeds in {folder}")


if __name__ == "__main__":
    main()
