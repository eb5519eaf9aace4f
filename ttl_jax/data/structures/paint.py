"""Layers of colour, and the random colours, angles and light that structures share.

A layer is float32 [4, H, W]: red, green and blue times coverage, and coverage, all in
[0, 1]. Channels come first because drawing is then twice as fast. A colour is three
numbers in [0, 1]. Angles are in radians.
"""

import math

import numpy as np
from PIL import Image, ImageFilter


def fill(coverage: np.ndarray, color: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Returns the layer of a coverage [H, W] in one colour times light [H, W]."""
    layer = np.empty((4, *coverage.shape), np.float32)
    for i, channel in enumerate(color.tolist()):
        np.clip(light * channel, 0, 1, out=layer[i])
    layer[:3] *= coverage
    layer[3] = coverage
    return layer


def over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Returns the composite of one layer over another."""
    return top + bottom * (1 - top[3])


def blur(plane: np.ndarray, radius: float) -> np.ndarray:
    """Returns a plane [H, W] in [0, 1] after a Gaussian blur of `radius` pixels."""
    image = Image.fromarray((255 * plane + 0.5).astype(np.uint8))
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    return blurred / 255


def slant(rng: np.random.Generator) -> float:
    """Returns a random angle of lines to the vertical, small in most cases, as for rain."""
    kind = rng.random()
    if kind < 0.6:
        return rng.normal(0, 0.08)
    if kind < 0.85:
        return math.pi / 2 + rng.normal(0, 0.08)
    return rng.uniform(-math.pi / 2, math.pi / 2)


_LEVELS = {"dark": (0.02, 0.25), "bright": (0.7, 1.0), "any": (0.1, 0.95)}


def color(rng: np.random.Generator, levels: str = "dark bright any") -> np.ndarray:
    """Returns a colour of random brightness, nearly grey in most cases.

    Args:
      rng: Random generator.
      levels: Ranges of brightness to choose from: "dark", "bright" and "any", separated
        by spaces; a range named twice is twice as probable.
    """
    low, high = _LEVELS[str(rng.choice(levels.split()))]
    saturation = rng.choice((0.03, 0.15, 0.5), p=(0.55, 0.35, 0.1))
    tint = 1 + saturation * rng.uniform(-1, 1, 3)
    return np.clip(rng.uniform(low, high) * tint, 0, 1)


def two_colors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns two colours of different brightness, in random order."""
    dark, bright = color(rng, "dark any"), color(rng, "bright")
    bright = dark + (bright - dark) * rng.uniform(0.25, 1)
    return (dark, bright) if rng.random() < 0.5 else (bright, dark)


def unevenness(
    height: int, width: int, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Returns slowly varying factors around 1 for light or dirt, [H, W]."""
    cells = rng.uniform(1 - strength, 1 + strength, (4, 5)).astype(np.float32)
    smooth = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth)
