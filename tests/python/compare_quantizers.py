#!/usr/bin/env python3
"""Hold `edge-service quantize` against onnxruntime.quantization on every float model of a folder of cases.

Usage: compare_quantizers.py BINARY CASES_DIR [NAME ...]. A case is a folder with model.onnx and in_N.npz (one array an input,
each file one run), or NAME_1000.npz with `x` (a run a slice). Both tools get the same samples: those, and the same again
with a little noise, up to 32; the Python tool gets the method that `edge-service` chose, unsigned activations, signed
weights, a scale a channel, graphs inside others too, after its own pre-processing. Agreement is measured on other noise, here and
alike for both: best classes, confident rows, or 1 less the worst normalised error. Exit 1 where a file of ours does not load or
agrees less than the Python tool's, or where only that tool finds something to quantise. Rows near a threshold fall on either side
of it by chance: where the difference is within two standard errors, over groups of runs, the normalised error of all outputs decides.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

SAMPLES = 32
# How many noisy runs are compared, and in how many groups.
COMPARED, GROUPS = 192, 16


def runs(folder):
    """Return the inputs of all runs with the shapes of the first, as dictionaries."""
    found = []
    for path in sorted(folder.glob("*_1000.npz")):
        name = onnxruntime.InferenceSession(folder / "model.onnx").get_inputs()[0].name
        found += [{name: x[None]} for x in np.load(path)["x"][:2 * SAMPLES]]
    for path in [] if found else sorted(folder.glob("in_*.npz")):
        with np.load(path, allow_pickle=True) as arrays:
            found.append(dict(arrays))
    same = [run for run in found if all(run[k].shape == found[0][k].shape for k in found[0])]
    return same


def noisy(run, random):
    """Return the same run with a fiftieth of its spread as noise; whole numbers stay."""
    def noise(x):
        return (x + random.normal(0, 0.02 * (x.std() + 1e-6), x.shape)).astype(x.dtype) if x.dtype.kind == "f" else x
    return {name: noise(x) for name, x in run.items()}


def split(folder, random):
    """Return samples to calibrate with, and others to compare on."""
    found = runs(folder)
    if len(found) >= 2 * SAMPLES:
        return found[:SAMPLES], found[SAMPLES:2 * SAMPLES]
    calibrating = list(found)
    while len(calibrating) < SAMPLES:
        calibrating.append(noisy(found[len(calibrating) % len(found)], random))
    return calibrating[:SAMPLES], [noisy(found[i % len(found)], random) for i in range(COMPARED)]


class Reader(CalibrationDataReader):
    """Samples for the Python tool."""

    def __init__(self, samples):
        self.samples = iter(samples)

    def get_next(self):
        """Return the next one, or None."""
        return next(self.samples, None)


def python_tool(model, output, method, samples, folder):
    """Quantise with onnxruntime.quantization, as it is, or brought to opset 13 first, or with one scale a weight.

    Return why none of it could be had, or None.
    """
    said = None
    for convert, per_channel in ((False, True), (True, True), (False, False)):
        try:
            source = folder / "source.onnx"
            loaded = onnx.load(model)
            onnx.save(version_converter.convert_version(loaded, 13) if convert else loaded, source)
            clean = folder / "clean.onnx"
            try:
                quant_pre_process(str(source), str(clean), skip_symbolic_shape=True)
            except Exception:  # noqa: BLE001 - its own inference refuses some models that the runtime runs
                clean = source
            if method == "dynamic":
                quantize_dynamic(clean, output, per_channel=per_channel, weight_type=QuantType.QInt8,
                                 op_types_to_quantize=["MatMul", "Gemm", "LSTM", "Gather"],
                                 extra_options={"EnableSubgraph": True})
            else:
                quantize_static(clean, output, Reader(samples), quant_format=QuantFormat.QDQ, per_channel=per_channel,
                                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
            answers(output, samples[:1])
            return None
        except Exception as error:  # noqa: BLE001 - whatever it says is the answer
            said = said or " ".join(str(error).split())[:80] or type(error).__name__
    return said


def answers(model, samples):
    """Return the outputs of every sample."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return [session.run(None, sample) for sample in samples]


def detector(outputs):
    """Return what gives the places of confident rows, of boxes and scores apart or in one tensor; None for no detector."""
    shapes = [np.shape(output) for output in outputs]
    scores = [i for i, s in enumerate(shapes) if len(s) == 3 and s[1] >= 8 and s[2] == 2]
    if scores and any(len(s) == 3 and s[1] >= 8 and s[2] == 4 for s in shapes):
        return lambda outputs: set(np.flatnonzero(outputs[scores[0]][0, :, 1] >= 0.5))
    if len(outputs) == 1 and len(shapes[0]) == 3 and shapes[0][1] > shapes[0][2] >= 6 and (outputs[0][..., 4:] <= 1).all():
        return lambda outputs: set(np.flatnonzero(outputs[0][0, :, 4] * outputs[0][0, :, 5:].max(1) >= 0.5))
    return None


def agreement(float_answers, other_answers):
    """Return the agreement and what it counts."""
    floats = [o for o in float_answers[0] if np.asarray(o).dtype.kind == "f"]
    confident = detector(float_answers[0])
    if confident is not None:
        pairs = [(confident(a), confident(b)) for a, b in zip(float_answers, other_answers)]
        both, all_rows = sum(len(a & b) for a, b in pairs), sum(len(a) + len(b) for a, b in pairs)
        return (2 * both / all_rows if all_rows else 1.0), "confident rows"
    if len(floats) == 1 and floats[0].ndim == 2 and floats[0].shape[1] >= 2:
        index = next(i for i, o in enumerate(float_answers[0]) if np.asarray(o).dtype.kind == "f")
        same = [(a[index].argmax(1) == b[index].argmax(1)).mean() for a, b in zip(float_answers, other_answers)]
        return float(np.mean(same)), "top-1"
    return max(0.0, 1 - worst_error(float_answers, other_answers)), "1 - worst error"


def worst_error(float_answers, other_answers):
    """Return the largest normalised error of an output."""
    errors = []
    for index, output in enumerate(float_answers[0]):
        if np.asarray(output).dtype.kind == "f":
            a = np.concatenate([np.ravel(x[index]).astype(np.float64) for x in float_answers])
            b = np.concatenate([np.ravel(x[index]).astype(np.float64) for x in other_answers])
            errors.append(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-12) if a.shape == b.shape else 1.0)
    return max(errors, default=0.0)


def no_worse(reference, mine, its):
    """Return whether answers agree no less than others, as words, or None where they do."""
    if agreement(reference, mine)[0] >= agreement(reference, its)[0]:
        return "ok"
    groups = [slice(i, None, GROUPS) for i in range(min(GROUPS, len(reference)))]
    apart = [agreement(reference[g], its[g])[0] - agreement(reference[g], mine[g])[0] for g in groups]
    error = float(np.std(apart, ddof=1) / len(apart) ** 0.5)
    errors = worst_error(reference, mine), worst_error(reference, its)
    if np.mean(apart) <= 2 * error and errors[0] <= errors[1]:
        return f"ok: {np.mean(apart):.4f} apart, the standard error is {error:.4f}; outputs err by {errors[0]:.4f} and {errors[1]:.4f}"
    return None


def integers(graph):
    """Return how many nodes make or read 8-bit numbers, in graphs inside too."""
    inner = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return sum("Quant" in n.op_type or "Integer" in n.op_type for n in graph.node) + sum(map(integers, inner))


def size(path):
    """Return a file's size in kB."""
    return path.stat().st_size / 1000


def compare(binary, case, folder):
    """Print one line; return whether ours is no worse."""
    model = case / "model.onnx"
    random = np.random.default_rng(7)
    calibrating, others = split(case, random)
    samples = folder / "samples.npz"
    names = set(calibrating[0])
    np.savez(samples, **{name: np.stack([run[name] for run in calibrating]) for name in names})
    ours, theirs, report = folder / "ours.onnx", folder / "theirs.onnx", folder / "report.json"
    done = subprocess.run([binary, "quantize", "--model", model, "--output", ours, "--calibration", samples,
                           "--report", report], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        said = python_tool(model, theirs, "dynamic", calibrating, folder)
        found = 0 if said else integers(onnx.load(theirs).graph)
        other = said or f"{found} nodes on 8-bit numbers, {size(theirs):.0f} kB of {size(model):.0f}"
        print(f"{case.name:26} not quantised (exit {done.returncode}): {last[:150]}\n{'':26} the Python tool: {other}")
        return done.returncode == 65 and not ours.exists() and (not found or integers(onnx.load(model).graph) > 0)
    told = json.loads(report.read_text())
    said = python_tool(model, theirs, told["method"], calibrating, folder)
    reference = answers(model, others)
    ours_answers = answers(ours, others)
    mine, what = agreement(reference, ours_answers)
    line = f"{case.name:26} {told['method']:8} {size(model):8.0f} kB  ours {size(ours):8.0f} kB agrees {mine:.4f}"
    kept = len(told["search"]["kept"]) if told["search"] else 0
    if said:
        print(f"{line}  Python: {said} ({what}; {kept} nodes kept in float)")
        return True
    its_answers = answers(theirs, others)
    its, _ = agreement(reference, its_answers)
    verdict = no_worse(reference, ours_answers, its_answers)
    print(f"{line}  Python {size(theirs):8.0f} kB agrees {its:.4f}  {verdict or 'WORSE'} ({what}; {kept} nodes kept in float)")
    return verdict is not None


def main():
    """Compare all cases, or those named; return the exit status."""
    binary, cases, *names = sys.argv[1:]
    good = True
    for case in sorted(pathlib.Path(cases).iterdir()):
        if not (case / "model.onnx").is_file() or (names and case.name not in names):
            continue
        try:
            onnxruntime.InferenceSession(case / "model.onnx", providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - a case that no runtime loads is no float model
            print(f"{case.name:26} does not load as it is: {' '.join(str(error).split())[:80]}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            good &= compare(binary, case, pathlib.Path(folder))
        sys.stdout.flush()
    return int(not good)


if __name__ == "__main__":
    onnxruntime.set_default_logger_severity(3)
    sys.exit(main())
