#!/usr/bin/env python3
"""Train the digits network, write `model.onnx`, and write the held-out pictures in `samples/` and `frames/`.

Run it in this folder; it takes some minutes on two cores. Seeds are fixed: the pictures and the split come out the same
everywhere, the weights up to the rounding of the machine's matrix product.
"""

import pathlib
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import pictures

HERE = pathlib.Path(__file__).resolve().parent
SIZE = 96
EPOCHS = 45
BATCH = 64
PEAK_RATE = 4e-3
WEIGHT_DECAY = 1e-4
SMOOTHING = 0.05
NORM_EPSILON = 1e-3
NORM_MOMENTUM = 0.95

# One line a block: input channels, expanded channels, output channels, stride. A block of stride 1 is residual.
BLOCKS = [
    (16, 16, 24, 2),
    (24, 96, 48, 2),
    (48, 192, 48, 1),
    (48, 192, 96, 2),
    (96, 384, 96, 1),
    (96, 384, 128, 2),
    (128, 512, 128, 1),
]
STEM = 16
HEAD = 512


def layers():
    """List the convolutions in order: (name, kind, channels in, channels out, stride, whether ReLU6 follows)."""
    found = [("stem", "full", 3, STEM, 2, True)]
    for index, (inner, wide, outer, stride) in enumerate(BLOCKS, 1):
        if wide != inner:
            found.append((f"block{index}.expand", "point", inner, wide, 1, True))
        found.append((f"block{index}.depthwise", "depth", wide, wide, stride, True))
        found.append((f"block{index}.project", "point", wide, outer, 1, False))
    found.append(("head", "point", BLOCKS[-1][2], HEAD, 1, True))
    return found


def initial(random):
    """Return the fresh weights and running statistics."""
    weights, running = {}, {}
    for name, kind, inner, outer, _, _ in layers():
        shape = {"full": (3, 3, inner, outer), "depth": (3, 3, outer), "point": (inner, outer)}[kind]
        fan_in = {"full": 9 * inner, "depth": 9, "point": inner}[kind]
        weights[f"{name}.weight"] = random.standard_normal(shape) * np.sqrt(2 / fan_in)
        weights[f"{name}.scale"], weights[f"{name}.shift"] = np.ones(outer), np.zeros(outer)
        running[f"{name}.mean"], running[f"{name}.variance"] = np.zeros(outer), np.ones(outer)
    weights["classes.weight"] = random.standard_normal((HEAD, 10)) * np.sqrt(1 / HEAD)
    weights["classes.bias"] = np.zeros(10)
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), (weights, running))


def taps(x, stride):
    """Return the nine shifted views under a 3x3 kernel with one pixel of padding; x is [n, height, width, channels]."""
    size = x.shape[1] // stride
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    end = (size - 1) * stride + 1
    return [padded[:, row:row + end:stride, column:column + end:stride] for row in range(3) for column in range(3)]


def forward(weights, running, x, training):
    """Return the logits [n, 10] and the new running statistics for x [n, 96, 96, 3]."""
    new_running = {}
    kept = None
    for name, kind, _, _, stride, rectified in layers():
        if name.endswith(".expand"):
            kept = x
        kernel = weights[f"{name}.weight"]
        if kind == "point":
            x = x @ kernel
        elif kind == "depth":
            x = sum(tap * kernel[index // 3, index % 3] for index, tap in enumerate(taps(x, stride)))
        else:
            x = jnp.concatenate(taps(x, stride), axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
        mean, variance = running[f"{name}.mean"], running[f"{name}.variance"]
        if training:
            mean_now, variance_now = x.mean((0, 1, 2)), x.var((0, 1, 2))
            new_running[f"{name}.mean"] = NORM_MOMENTUM * mean + (1 - NORM_MOMENTUM) * mean_now
            new_running[f"{name}.variance"] = NORM_MOMENTUM * variance + (1 - NORM_MOMENTUM) * variance_now
            mean, variance = mean_now, variance_now
        x = (x - mean) * (weights[f"{name}.scale"] / jnp.sqrt(variance + NORM_EPSILON)) + weights[f"{name}.shift"]
        if rectified:
            x = jnp.clip(x, 0, 6)
        if name.endswith(".project") and is_residual(name):
            x = x + kept
    return x.mean((1, 2)) @ weights["classes.weight"] + weights["classes.bias"], new_running


def is_residual(name):
    """Say whether the block that layer `name` belongs to adds its input to its output."""
    inner, _, outer, stride = BLOCKS[int(name.split(".")[0].removeprefix("block")) - 1]
    return inner == outer and stride == 1


def loss(weights, running, x, digits):
    """Return the smoothed cross entropy and the new running statistics."""
    logits, new_running = forward(weights, running, x, True)
    target = jax.nn.one_hot(digits, 10) * (1 - SMOOTHING) + SMOOTHING / 10
    return -(target * jax.nn.log_softmax(logits)).sum(-1).mean(), new_running


@jax.jit
def step(weights, running, first, second, count, rate, x, digits):
    """Take one step of Adam with decoupled weight decay."""
    (value, running), gradient = jax.value_and_grad(loss, has_aux=True)(weights, running, x, digits)
    first = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, first, gradient)
    second = jax.tree.map(lambda old, new: 0.999 * old + 0.001 * new * new, second, gradient)

    def moved(weight, mean, square):
        direction = mean / (1 - 0.9**count) / (jnp.sqrt(square / (1 - 0.999**count)) + 1e-8)
        decay = WEIGHT_DECAY if weight.ndim > 1 else 0.0
        return weight - rate * (direction + decay * weight)

    return jax.tree.map(moved, weights, first, second), running, first, second, value


@jax.jit
def logits_of(weights, running, x):
    """Return the logits in inference mode."""
    return forward(weights, running, x, False)[0]


def train(sheets, digits):
    """Return the trained weights and running statistics."""
    random = np.random.default_rng(pictures.SEED + 1)
    weights, running = initial(random)
    first = jax.tree.map(jnp.zeros_like, weights)
    second = jax.tree.map(jnp.zeros_like, weights)
    steps_per_epoch = len(sheets) // BATCH
    total, count = EPOCHS * steps_per_epoch, 0
    begun = time.monotonic()
    for epoch in range(EPOCHS):
        order = random.permutation(len(sheets))
        losses = []
        for index in range(steps_per_epoch):
            chosen = order[index * BATCH:(index + 1) * BATCH]
            look = pictures.random_look(BATCH, random)
            x = pictures.normalise(pictures.render(sheets[chosen], look, SIZE, SIZE, random))
            count += 1
            warm = min(1.0, count / (3 * steps_per_epoch))
            rate = PEAK_RATE * warm * 0.5 * (1 + np.cos(np.pi * count / total))
            weights, running, first, second, value = step(
                weights, running, first, second, count, rate, x, digits[chosen])
            losses.append(value)
        print(f"epoch {epoch + 1:2}: loss {float(np.mean(losses)):.4f}, {time.monotonic() - begun:.0f} s", flush=True)
    return weights, running


def write_model(weights, running, path):
    """Write the network as ONNX: BatchNormalization and Clip stay nodes of their own, for tools that fold or rewrite them."""
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    constant("zero", 0.0)
    constant("six", 6.0)
    x, kept = "image", None
    for name, kind, _, outer, stride, rectified in layers():
        if name.endswith(".expand"):
            kept = x
        kernel = np.asarray(weights[f"{name}.weight"])
        if kind == "point":
            kernel, size = kernel.T[:, :, None, None], 1
        elif kind == "depth":
            kernel, size = kernel.transpose(2, 0, 1)[:, None], 3
        else:
            kernel, size = kernel.transpose(3, 2, 0, 1), 3
        nodes.append(helper.make_node(
            "Conv", [x, constant(f"{name}.weight", kernel)], [f"{name}.conv"], name=f"{name}.conv",
            kernel_shape=[size, size], pads=[size // 2] * 4, strides=[stride, stride],
            group=outer if kind == "depth" else 1))
        nodes.append(helper.make_node(
            "BatchNormalization",
            [f"{name}.conv"] + [constant(f"{name}.{part}", table[f"{name}.{part}"]) for table, part in (
                (weights, "scale"), (weights, "shift"), (running, "mean"), (running, "variance"))],
            [f"{name}.norm"], name=f"{name}.norm", epsilon=NORM_EPSILON))
        x = f"{name}.norm"
        if rectified:
            nodes.append(helper.make_node("Clip", [x, "zero", "six"], [f"{name}.relu6"], name=f"{name}.relu6"))
            x = f"{name}.relu6"
        if name.endswith(".project") and is_residual(name):
            added = name.replace(".project", ".add")
            nodes.append(helper.make_node("Add", [kept, x], [added], name=added))
            x = added
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pool"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["features"], name="flatten", axis=1))
    nodes.append(helper.make_node(
        "Gemm", ["features", constant("classes.weight", np.asarray(weights["classes.weight"]).T),
                 constant("classes.bias", weights["classes.bias"])], ["scores"], name="classes", transB=1))
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])], constants)
    model = helper.make_model(
        graph, producer_name="edge-service", producer_version="1", ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)], doc_string="handwritten digits, 0 to 9")
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model, strict_mode=True), full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


# Every digit is shown twice in `samples/`, as a PNG (grey where it is even) and as a JPEG, in these sizes.
SAMPLE_SIZES = [(96, 96), (128, 128), (240, 240), (320, 240), (200, 220),
                (64, 64), (160, 120), (256, 256), (480, 360), (100, 120)]
SAMPLE_PNG, SAMPLE_JPEG, FRAMES = 3, 4, range(20, 30)


def write_pictures(sheets, digits):
    """Write two samples and ten frames of every digit, named by the digit and its place among those held out."""
    random = np.random.default_rng(pictures.SEED + 2)
    for folder in ("samples", "frames"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir()
    for digit in range(10):
        own = sheets[digits == digit]
        for place, size in ((SAMPLE_PNG, SAMPLE_SIZES[digit]), (SAMPLE_JPEG, SAMPLE_SIZES[digit - 5])):
            image = Image.fromarray(draw(own[place:place + 1], *size, random))
            if place == SAMPLE_JPEG:
                image.save(HERE / "samples" / f"{digit}-{place:02}.jpg", quality=90)
            else:
                image = image.convert("L") if digit % 2 == 0 else image
                image.save(HERE / "samples" / f"{digit}-{place:02}.png", optimize=True)
        for place in FRAMES:
            image = Image.fromarray(draw(own[place:place + 1], 64, 64, random))
            image.save(HERE / "frames" / f"{digit}-{place:02}.png", optimize=True)


def draw(own, width, height, random):
    """Return one picture, uint8 [height, width, 3], in a random look without grain (grain makes large files)."""
    look = pictures.random_look(1, random, noise=0.0)
    return np.round(pictures.render(own, look, width, height, random)[0] * 255).astype(np.uint8)


def main():
    """Train, export, compare the export with the framework, and count what is right on held-out images."""
    train_sheets, train_digits, held_sheets, held_digits = pictures.split()
    print(f"{len(train_sheets)} images to train on, {len(held_sheets)} held out")
    write_pictures(held_sheets, held_digits)
    weights, running = train(train_sheets, train_digits)
    path = HERE / "model.onnx"
    write_model(weights, running, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    count = len(held_sheets)
    random = np.random.default_rng(pictures.SEED + 3)
    for title, look in (("plain scans", pictures.plain_look(count)),
                        ("camera looks", pictures.random_look(count, random))):
        x = pictures.normalise(pictures.render(held_sheets, look, SIZE, SIZE, random))
        expected = np.asarray(logits_of(weights, running, x))
        scores, = session.run(["scores"], {"image": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})
        apart = float(np.abs(scores - expected).max())
        assert apart < 1e-3, f"ONNX Runtime and JAX differ by {apart}"
        right = int((scores.argmax(1) == held_digits).sum())
        print(f"held out, {title}: {right} of {count} right ({100 * right / count:.2f} %), {apart:.1e} from JAX")
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
