"""Hard negatives: thin structures that look like streaks of rain, drawn on photographs.

A network that removes rain may also remove wires, twigs and hairs. Photographs that
show many of them, and must stay unchanged, teach it to keep them. Most lines are nearly
vertical, like streaks.
"""

import itertools
import math

import numpy as np

from ttl_jax.data.structures import bars, letters, paint, strokes

# Pixels. Larger photographs are processed in parts, so that memory is bounded.
_MAX_SIDE = 1024

# Functions of the height and the width of a picture and a random generator.
KINDS = {
    "grid": bars.grid,
    "mesh": bars.mesh,
    "wire_fence": bars.wire_fence,
    "railing": bars.railing,
    "blinds": bars.blinds,
    "wall": bars.wall,
    "stripes": bars.stripes,
    "wires": strokes.wires,
    "twigs": strokes.twigs,
    "grass": strokes.grass,
    "hair": strokes.hair,
    "letters": letters.letters,
}


def draw(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the photograph with one to three kinds of structures drawn on it.

    Args:
      image: Photograph, uint8 [H, W, 3], at least 8 pixels on each side.
      rng: Random generator; the same state draws the same structures.

    Returns:
      A new array uint8 [H, W, 3]. Pixels without a structure or a shadow are unchanged.

    Raises:
      ValueError: If `image` has another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"Expected a photograph uint8 [H, W, 3], not {image.dtype} "
            f"{list(image.shape)}."
        )
    if min(image.shape[:2]) < 8:
        raise ValueError(
            f"Expected at least 8 pixels on each side, not {list(image.shape[:2])}."
        )
    drawn = np.empty_like(image)
    rows, columns = (_split(side) for side in image.shape[:2])
    for row in rows:
        for column in columns:
            drawn[row, column] = _draw_part(image[row, column], rng)
    return drawn


def _split(side: int) -> list[slice]:
    """Divides a side into equal parts of at most `_MAX_SIDE` pixels."""
    count = math.ceil(side / _MAX_SIDE)
    ends = [side * i // count for i in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _draw_part(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws on one part of a photograph, as `draw`."""
    height, width, _ = image.shape
    count = rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1))
    pixels = np.moveaxis(image, -1, 0).astype(np.float32)
    for kind in rng.choice(list(KINDS), count, replace=False):
        pixels = _lay(pixels, KINDS[kind](height, width, rng), rng)
    return np.moveaxis(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), 0, -1)


def _lay(pixels: np.ndarray, layer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns pixels [3, H, W] from 0 to 255 with a layer on them.

    The layer may be out of focus and may cast a shadow. It gets grain like a photograph;
    otherwise a network could recognize layers because they have none.
    """
    if rng.random() < 0.3:
        layer = np.stack([paint.blur(plane, 1.0) for plane in layer])
    coverage = layer[3]
    if rng.random() < 0.3:
        pixels = pixels * (1 - _shadow(coverage, rng))
    grain = rng.uniform(0, 4) * rng.standard_normal(coverage.shape, np.float32)
    return pixels * (1 - coverage) + 255 * layer[:3] + coverage * grain


def _shadow(coverage: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the share of light that a shadow of the coverage removes, both [H, W]."""
    farthest = np.minimum(12, np.array(coverage.shape) - 1)
    down, right = np.rint(rng.uniform(-farthest, farthest)).astype(int)
    shifted = np.roll(coverage, (down, right), axis=(0, 1))
    # np.roll wraps around.
    shifted[slice(down, None) if down < 0 else slice(down)] = 0
    shifted[:, slice(right, None) if right < 0 else slice(right)] = 0
    return rng.uniform(0.2, 0.6) * paint.blur(shifted, rng.uniform(0.8, 3))
