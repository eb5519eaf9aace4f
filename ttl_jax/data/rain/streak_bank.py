"""Layers of streaks, taken from one's own pairs and laid on other clean photographs.

A layer is float32 [H, W, 3], >= 0, in finished pixels from 0 to 1: what rain added.
"""

import numpy as np
from PIL import Image


def take_layer(rainy: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """What the rain of a pair added: rainy minus clean, where that is brighter.

    What darkens is left behind: streaks brighten, while haze, compression and cameras
    that moved between the two darken as often.

    Args:
      rainy: uint8, or floating of [0, 1], [H, W, 3].
      clean: As `rainy`.

    Returns:
      The layer, of the pair's size.

    Raises:
      ValueError: If the two are not such arrays of one shape.
    """
    if rainy.shape != clean.shape:
        raise ValueError(
            f"A pair is of one shape, not {list(rainy.shape)} rainy and "
            f"{list(clean.shape)} clean; crop the larger side."
        )
    return np.maximum(_unit(rainy) - _unit(clean), 0)


def lay(clean: np.ndarray, layer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clean photograph with the layer on it, varied at random.

    The layer is mirrored or not, scaled by 0.7 to 1.4, shifted by any way around itself,
    made 0.7 to 1.3 times as strong, and added to the finished pixels.

    Args:
      clean: uint8, or floating of [0, 1], [H, W, 3].
      layer: Of `take_layer`, of any size.
      rng: The same state gives the same variation.

    Returns:
      uint8 [H, W, 3], nowhere darker than `clean`.

    Raises:
      ValueError: If `clean` or `layer` is no such array.
    """
    clean = _unit(clean)
    varied = scale(_unit(layer), np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
    if rng.random() < 0.5:
        varied = varied[:, ::-1]
    top, left = rng.integers(varied.shape[:2])
    varied = wrap(varied, top, left, *clean.shape[:2]) * rng.uniform(0.7, 1.3)
    return np.rint(np.minimum(clean + varied, 1) * 255).astype(np.uint8)


def scale(layer: np.ndarray, factor: float) -> np.ndarray:
    """The layer in another size, at least one pixel; its mean stays.

    Averages over the area of each new pixel, so that thin streaks get fainter and not
    lost, and none overshoots.
    """
    height, width = (max(1, round(side * factor)) for side in layer.shape[:2])
    channels = (
        Image.fromarray(layer[..., c]).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for c in range(layer.shape[2])
    )
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def wrap(layer: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The part [height, width] at (top, left) of the layer repeated without end."""
    rows = (top + np.arange(height)) % layer.shape[0]
    columns = (left + np.arange(width)) % layer.shape[1]
    return layer[rows[:, None], columns]


def _unit(image: np.ndarray) -> np.ndarray:
    """float32 of [0, 1] of uint8, or of what is so already."""
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"Expected an image [H, W, 3], not {list(image.shape)}.")
    if image.dtype == np.uint8:
        return image.astype(np.float32) / 255
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"Expected uint8 or floating pixels, not {image.dtype}.")
    if not 0 <= image.min() <= image.max() <= 1:
        raise ValueError(
            f"Expected floating pixels of 0 to 1, not {image.min()} to {image.max()}; "
            "divide by the brightest level."
        )
    return image.astype(np.float32)
