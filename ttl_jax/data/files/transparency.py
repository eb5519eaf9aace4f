"""Colours under transparent pixels."""

from typing import Any

import numpy as np
from scipy import ndimage


def fill_hidden(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns colours in which each hidden pixel has that of the nearest visible one.

    What programs leave under alpha 0, such as black, must not reach a network: its
    restoration of the pixels around would depend on it.

    Args:
      colour: Pixels [H, W, C] of any type.
      alpha: Alpha [H, W] or [H, W, 1]; 0 hides a pixel. Without a channel, [H, W, 0],
        or without a visible pixel, the colours are returned as they are.
    """
    hidden = alpha.reshape(alpha.shape[:2] + (-1,)).min(axis=-1, initial=1) == 0
    if not hidden.any() or hidden.all():
        return colour
    nearest: Any = ndimage.distance_transform_edt(
        hidden, return_distances=False, return_indices=True
    )
    filled = colour.copy()
    filled[hidden] = colour[tuple(axis[hidden] for axis in nearest)]
    return filled
