"""The digits as pictures: which are held out, and how an 8x8 scan becomes a frame that a camera might have taken."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SEED = 20240817
HELD_OUT_PER_DIGIT = 40

# The scan covers the middle 8 of 12 cells of its sheet; the sheet is upsampled to this many pixels a side.
SHEET = 96
SHEET_CELLS = 12
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def split():
    """Return (train_sheets, train_digits, held_sheets, held_digits); the held-out ones are sorted by digit.

    Sheets are float32 [n, 96, 96], 0 for paper and 1 for ink. Forty images of every digit are held out, drawn with a
    fixed seed, and no held-out image is equal to one that is trained on.
    """
    bunch = load_digits()
    images, digits = bunch.images, bunch.target
    random = np.random.default_rng(SEED)
    held = np.concatenate([
        random.permutation(np.flatnonzero(digits == digit))[:HELD_OUT_PER_DIGIT] for digit in range(10)
    ])
    train = np.setdiff1d(np.arange(len(digits)), held)
    seen = {images[index].tobytes() for index in train}
    assert not any(images[index].tobytes() in seen for index in held), "a held-out image is in the training set"
    sheets = np.stack([sheet(image) for image in images])
    return sheets[train], digits[train], sheets[held], digits[held]


def sheet(scan):
    """Upsample one 8x8 scan (0 to 16) bicubically, with two cells of empty paper around it."""
    cells = np.zeros((SHEET_CELLS, SHEET_CELLS), np.float32)
    cells[2:10, 2:10] = scan / 16.0
    large = Image.fromarray(cells).resize((SHEET, SHEET), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(large, np.float32), 0.0, 1.0)


def plain_look(count):
    """Return the look of a clean scan: upright, centred, white on black."""
    return {
        "angle": np.zeros(count), "scale": np.ones(count), "aspect": np.ones(count),
        "shift": np.zeros((count, 2)), "sharpness": np.ones(count),
        "ink": np.ones((count, 3)), "paper": np.zeros((count, 3)), "slope": np.zeros((count, 2)),
        "noise": np.zeros(count),
    }


def random_look(count, random, noise=0.04):
    """Draw a look for each of `count` pictures: place, size, colours of ink and paper, light, sharpness, noise."""
    ink = np.empty((count, 3))
    paper = np.empty((count, 3))
    for index in range(count):
        while True:
            ink[index], paper[index] = random.uniform(0, 1, 3), random.uniform(0, 1, 3)
            if random.random() < 0.5:  # grey, as in ink on paper
                ink[index], paper[index] = ink[index].mean(), paper[index].mean()
            if abs((ink[index] - paper[index]) @ LUMA) > 0.3:
                break
    return {
        "angle": np.radians(random.uniform(-12, 12, count)), "scale": random.uniform(0.75, 1.2, count),
        "aspect": np.exp(random.uniform(-0.3, 0.3, count)), "shift": random.uniform(-0.08, 0.08, (count, 2)),
        "sharpness": random.uniform(1, 3, count), "ink": ink, "paper": paper,
        "slope": random.uniform(-0.1, 0.1, (count, 2)), "noise": random.uniform(0, noise, count),
    }


def render(sheets, look, width, height, random):
    """Return the pictures, float32 [n, height, width, 3] in 0 to 1, of `sheets` under `look`."""
    count = len(sheets)
    y, x = np.meshgrid((np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5) / width - 0.5, indexing="ij")

    def per_picture(values):
        return np.asarray(values, np.float32).reshape(count, 1, 1)

    x, y = x[None].astype(np.float32), y[None].astype(np.float32)
    moved_x, moved_y = x - per_picture(look["shift"][:, 0]), y - per_picture(look["shift"][:, 1])
    cosine, sine = per_picture(np.cos(look["angle"])), per_picture(np.sin(look["angle"]))
    stretch = per_picture(np.sqrt(look["aspect"]))
    scale = per_picture(look["scale"])
    sheet_x = ((cosine * moved_x + sine * moved_y) / (scale * stretch) + 0.5) * SHEET - 0.5
    sheet_y = ((cosine * moved_y - sine * moved_x) * stretch / scale + 0.5) * SHEET - 0.5

    left = np.clip(np.floor(sheet_x), 0, SHEET - 2).astype(np.int32)
    top = np.clip(np.floor(sheet_y), 0, SHEET - 2).astype(np.int32)
    across = np.clip(sheet_x - left.astype(np.float32), 0, 1)
    down = np.clip(sheet_y - top.astype(np.float32), 0, 1)
    flat = sheets.reshape(-1)
    base = np.arange(count, dtype=np.int32).reshape(count, 1, 1) * (SHEET * SHEET) + top * SHEET + left
    upper = flat[base] * (1 - across) + flat[base + 1] * across
    lower = flat[base + SHEET] * (1 - across) + flat[base + SHEET + 1] * across
    alpha = upper * (1 - down) + lower * down
    alpha = np.clip((alpha - 0.5) * per_picture(look["sharpness"]) + 0.5, 0, 1)[..., None]

    ink = np.asarray(look["ink"], np.float32).reshape(count, 1, 1, 3)
    paper = np.asarray(look["paper"], np.float32).reshape(count, 1, 1, 3)
    light = 1 + 2 * (per_picture(look["slope"][:, 0]) * x + per_picture(look["slope"][:, 1]) * y)
    pictures = (paper + (ink - paper) * alpha) * light[..., None]
    if np.any(look["noise"]):
        grain = random.standard_normal(pictures.shape, np.float32)
        pictures += grain * np.asarray(look["noise"], np.float32).reshape(count, 1, 1, 1)
    return np.clip(pictures, 0, 1)


def normalise(pictures):
    """Return pictures (0 to 1) as the network takes them: the ImageNet mean and spread, as `model.toml` says."""
    return (pictures - MEAN) / SPREAD


MEAN = np.array([0.485, 0.456, 0.406], np.float32)
SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
