"""Layers of streaks, taken from pairs and added to other clean photographs.

Photographs are uint8 [H, W, 3]. A layer is the difference caused by rain, float32
[H, W, 3] in [0, 1], in sRGB.
"""

import numpy as np
from PIL import Image


def take_layer(rainy: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Returns the layer of a pair: rainy minus clean, and 0 where that is negative.

    Darker pixels are ignored. Streaks make pixels brighter. Haze, compression and
    motion of the camera between the photographs make pixels darker as often as
    brighter.
    """
    return np.maximum(_unit(rainy) - _unit(clean), 0)


def lay(clean: np.ndarray, layer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a photograph, uint8 [H, W, 3], with a random variation of a layer added.

    The layer is mirrored or not, scaled by 0.7 to 1.4, shifted cyclically by any amount,
    made 0.7 to 1.3 times as strong, and added to the pixels.

    Args:
      clean: Photograph of any size.
      layer: Layer of any size.
      rng: Random generator; the same state gives the same variation.
    """
    varied = scale(layer, np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
    if rng.random() < 0.5:
        varied = varied[:, ::-1]
    top, left = rng.integers(varied.shape[:2])
    varied = wrap(varied, top, left, *clean.shape[:2]) * rng.uniform(0.7, 1.3)
    return np.rint(np.minimum(_unit(clean) + varied, 1) * 255).astype(np.uint8)


def scale(layer: np.ndarray, factor: float) -> np.ndarray:
    """Returns the layer in another size, at least one pixel, with the same mean.

    Each new pixel is a mean over its area: thin streaks become fainter but are not lost,
    and no pixel overshoots.
    """
    height, width = (max(1, round(side * factor)) for side in layer.shape[:2])
    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(layer, -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def wrap(layer: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Returns the part [height, width] at (top, left) of the endlessly repeated layer."""
    rows = (top + np.arange(height)) % layer.shape[0]
    columns = (left + np.arange(width)) % layer.shape[1]
    return layer[rows[:, None], columns]


def _unit(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255
