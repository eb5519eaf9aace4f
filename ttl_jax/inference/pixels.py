"""Pixels of images of every kind as the networks take them, and back."""

import numpy as np


def split_alpha(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour [H, W, 1 or 3] and alpha [H, W, 0 or 1], of [H, W] or [H, W, C].

    Raises:
      ValueError: If the shape or type is none of an image.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"An image is [H, W] or [H, W, C] with C from 1 to 4, not {image.shape}."
        )
    _peak(image.dtype)
    num_colours = 1 if image.shape[-1] < 3 else 3
    return image[..., :num_colours], image[..., num_colours:]


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """Float32 in [0, 1] from uint8, uint16 or float in [0, 1]."""
    return image.astype(np.float32) / np.float32(_peak(image.dtype))


def from_unit_range(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The inverse of `to_unit_range`, rounded.

    Raises:
      ValueError: If a pixel is not a number.
    """
    if np.isnan(image).any():  # as an integer it would be any level
        raise ValueError(
            "what the network restores is not a number somewhere: the image or the "
            "network is damaged"
        )
    image = np.clip(image, 0, 1)
    if np.issubdtype(dtype, np.integer):
        image = np.round(image * _peak(dtype))
    return image.astype(dtype)


def _peak(dtype: np.dtype) -> int:
    if dtype in (np.uint8, np.uint16):
        return np.iinfo(dtype).max
    if np.issubdtype(dtype, np.floating):
        return 1
    raise ValueError(f"An image is uint8, uint16 or float in [0, 1], not {dtype}.")
