#!/usr/bin/env python3
"""Write classifiers that end in a ZipMap, as scikit-learn's exports do: OUTDIR/classifiers/NAME.onnx and manifest.json.

Usage: make_classifiers.py OUTDIR. Seeds are fixed, so every call writes the same bytes.

manifest.json: {NAME: {"x", "classes", "maps", "label"}}: an input [3, 4], the classes' names as text, and what ONNX Runtime answers
with the ZipMap in place: a map a row, its keys as text, and the label of each row where the model gives one.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

STRINGS, NUMBERS = ["setosa", "versicolor", "virginica"], [-1, 3, 70]
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def maps(key):
    """Describe the output of a ZipMap."""
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(FLOAT, None))
    return helper.make_value_info("probabilities", helper.make_sequence_type_proto(kind))


def zip_map(source, **classes):
    """Make the last step."""
    return helper.make_node("ZipMap", [source], ["probabilities"], name="ZipMap", domain="ai.onnx.ml", **classes)


def model(nodes, outputs, initializers=(), domains=(("", 17), ("ai.onnx.ml", 3))):
    """Make a model of x [n, 4]."""
    x = helper.make_tensor_value_info("x", FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "graph", [x], outputs, list(initializers))
    return helper.make_model(
        graph, ir_version=8, producer_name="edge-service-tests",
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains])


def label(kind):
    """Describe the usual first output."""
    return helper.make_tensor_value_info("label", kind, ["n"])


def linear():
    """A linear classifier with classes of strings; only the domain of classifiers is imported."""
    random = np.random.default_rng(3)
    node = helper.make_node(
        "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", classlabels_strings=STRINGS, post_transform="SOFTMAX",
        coefficients=random.standard_normal(12).astype(np.float32), intercepts=[0.1, 0.0, -0.1], multi_class=0)
    return model(
        [node, zip_map("scores", classlabels_strings=STRINGS)], [label(STRING), maps(STRING)], domains=[("ai.onnx.ml", 1)])


def tree():
    """Two small trees with classes of numbers; the raw scores are an output of their own too."""
    leaf, branch = "LEAF", "BRANCH_LEQ"
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", classlabels_int64s=NUMBERS,
        nodes_treeids=[0] * 5 + [1] * 3, nodes_nodeids=[0, 1, 2, 3, 4, 0, 1, 2], nodes_featureids=[0, 0, 1, 0, 0, 2, 0, 0],
        nodes_modes=[branch, leaf, branch, leaf, leaf, branch, leaf, leaf], nodes_values=[0.0, 0, 0.5, 0, 0, -0.2, 0, 0],
        nodes_truenodeids=[1, 0, 3, 0, 0, 1, 0, 0], nodes_falsenodeids=[2, 0, 4, 0, 0, 2, 0, 0],
        class_treeids=[0, 0, 0, 1, 1], class_nodeids=[1, 3, 4, 1, 2], class_ids=[0, 1, 2, 0, 1],
        class_weights=[0.75, 0.5, 1.0, 0.25, 0.5], post_transform="NONE")
    scores = helper.make_tensor_value_info("scores", FLOAT, ["n", 3])
    return model([node, zip_map("scores", classlabels_int64s=NUMBERS)], [label(INT64), maps(INT64), scores])


def alone():
    """A softmax whose only output is the maps: with the ZipMap the protocol has no word for it."""
    node = helper.make_node("Softmax", ["x"], ["scores"], axis=1)
    return model([node, zip_map("scores", classlabels_strings=["a", "b", "c", "d"])], [maps(STRING)])


def beside(folder):
    """A product with weights that lie in a file of their own."""
    weight = np.random.default_rng(4).standard_normal((4, 3)).astype(np.float32)
    (folder / "beside.bin").write_bytes(bytes(64) + weight.tobytes())
    tensor = numpy_helper.from_array(weight, "weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in [("location", "beside.bin"), ("offset", 64), ("length", weight.nbytes)]:
        tensor.external_data.add(key=key, value=str(value))
    return model(
        [helper.make_node("MatMul", ["x", "weight"], ["logits"]), helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
         zip_map("scores", classlabels_int64s=NUMBERS)], [maps(INT64)], [tensor])


def main(folder):
    """Write all of them."""
    folder = pathlib.Path(folder, "classifiers")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {}
    x = np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32)
    for name, made in [("linear", linear()), ("tree", tree()), ("alone", alone()), ("beside", beside(folder))]:
        path = folder / f"{name}.onnx"
        onnx.save(made, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        answer = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"x": x})))
        rows = [{str(key): float(value) for key, value in row.items()} for row in answer["probabilities"]]
        entry = {"x": x.tolist(), "classes": list(rows[0]), "maps": rows}
        if "label" in answer:
            entry["label"] = answer["label"].tolist()
        manifest[name] = entry
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
