"""Lettering on signs or on the scene itself, as a layer (see `paint`)."""

import functools
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ttl_jax.data import randomness
from ttl_jax.data.structures import paint


def letters(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Lines of lettering, slanted and stretched, on a sign or on the scene itself."""
    size = randomness.log_uniform(rng, 9, 0.35 * height + 10)
    rows = max(1, int(rng.uniform(0.1, 0.9) * height / (1.3 * size)))
    font = _font(int(size * 2))
    text = "\n".join(_words(rng, int(width / size) + 2) for _ in range(rows))
    # Drawn upright at twice the size, then transformed in one step.
    sheet = Image.new("L", (width * 2, height * 2))
    weight = int(rng.choice((0, 0, size / 24)))
    pen = ImageDraw.Draw(sheet)
    box = pen.textbbox((0, 0), text, font=font, stroke_width=weight)
    pen.text((4 - box[0], 4 - box[1]), text, 255, font, stroke_width=weight)
    stretch, lean = rng.uniform(0.6, 1.3), rng.normal(0, 0.12)
    turn = math.pi / 2 if rng.random() < 0.1 else rng.normal(0, 0.08)
    ink, panel = _place(sheet, box, (height, width), (stretch, lean, turn), rng)
    light = paint.unevenness(height, width, rng, 0.2)
    color, ground = paint.two_colors(rng)
    layer = paint.fill(ink, color, light)
    if rng.random() < 0.5:
        layer = paint.over(layer, paint.fill(panel, ground, light))
    return layer


def _place(sheet, box, shape, how, rng):
    """Returns the coverage [H, W] of letters on a sheet of twice the size, and of a sign.

    `box` is the left, top, right and bottom of the text, `shape` the height and width of
    the picture, and `how` the horizontal stretch, shear and rotation of the letters.
    """
    (height, width), (stretch, lean, turn) = shape, how
    cos, sin = math.cos(turn), math.sin(turn)
    to_picture = np.array([[cos, -sin], [sin, cos]]) @ [[stretch, -lean], [0, 1]]
    to_sheet = np.linalg.inv(to_picture)
    text = np.array([box[2] - box[0] + 8, box[3] - box[1] + 8])
    text = np.minimum(text, sheet.size)
    middle = rng.uniform(0.3, 0.7, 2) * (2 * width, 2 * height)
    matrix = np.column_stack([to_sheet, text / 2 - to_sheet @ middle])
    sign = Image.new("L", sheet.size)
    ImageDraw.Draw(sign).rectangle((1, 1, *(text - 1).tolist()), fill=255)
    return [_turned(image, matrix) for image in (sheet, sign)]


def _turned(sheet: Image.Image, matrix: np.ndarray) -> np.ndarray:
    """Transforms a sheet of twice the size to coverage [H, W] in [0, 1]."""
    turned = sheet.transform(
        sheet.size,
        Image.Transform.AFFINE,
        matrix.ravel().tolist(),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(turned.reduce(2), np.float32) / 255


def _words(rng: np.random.Generator, count: int) -> str:
    """Returns about `count` letters in words; many letters have vertical strokes."""
    text = "".join(rng.choice(list(_ALPHABET), count))
    for _ in range(count // 6):
        at = rng.integers(1, count)
        text = f"{text[:at]} {text[at:]}"
    return text.upper() if rng.random() < 0.3 else text


_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789IIllHHNMiit1"


@functools.lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # pyright: ignore[reportReturnType]
