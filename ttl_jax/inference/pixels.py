"""Converts pixels of all types to the input of networks, and back."""

import numpy as np

_ROUNDING = 0.1  # beyond [0, 1]; that much comes from resizing, not from another range


def split_alpha(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits [H, W] or [H, W, C] into colour [H, W, 1 or 3] and alpha [H, W, 0 or 1].

    Raises:
      ValueError: If the shape or type is not that of an image.
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


def check_range(image: np.ndarray) -> None:
    """Raises ValueError if floating-point pixels are outside [0, 1]."""
    if not np.issubdtype(image.dtype, np.floating):
        return
    least, most = image.min(), image.max()
    if np.isnan(least):
        raise ValueError("Pixels are NaN; replace them by numbers within [0, 1].")
    if least < 0 or most > 1:
        is_close = least > -_ROUNDING and most < 1 + _ROUNDING
        way_out = "Divide by 255, or convert to uint8."
        if is_close:
            way_out = "Clip them by numpy.clip(image, 0, 1)."
        raise ValueError(
            f"The pixels go from {least:.9g} to {most:.9g}; pixels of type {image.dtype} "
            f"must be within [0, 1]. {way_out}"
        )


def check_rgb8(image: np.ndarray) -> None:
    """Raises ValueError if an image is not uint8 RGB [H, W, 3], or is empty."""
    if image.dtype != np.uint8 or image.shape[2:] != (3,) or 0 in image.shape:
        raise ValueError(
            f"An image is uint8 RGB [H, W, 3], not {image.dtype} of shape {image.shape}."
        )


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """Returns float32 in [0, 1] from uint8, uint16 or float in [0, 1]."""
    return image.astype(np.float32) / np.float32(_peak(image.dtype))


def from_unit_range(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Inverts `to_unit_range`, with clipping and rounding.

    Raises:
      ValueError: If a pixel is NaN.
    """
    if np.isnan(image).any():  # would become an arbitrary level
        raise ValueError(
            "the network returned NaN: the image or the network is damaged"
        )
    image = np.clip(image, 0, 1)
    if np.issubdtype(dtype, np.integer):
        image = np.round(image * _peak(dtype))
    return image.astype(dtype)


def _peak(dtype: np.dtype) -> int:
    dtype = dtype.newbyteorder("=")  # files may store the other one
    if dtype in (np.uint8, np.uint16):
        return np.iinfo(dtype).max
    if np.issubdtype(dtype, np.floating):
        return 1
    raise ValueError(f"An image is uint8, uint16 or float in [0, 1], not {dtype}.")
