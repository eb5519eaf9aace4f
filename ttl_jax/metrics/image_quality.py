"""PSNR and SSIM under named protocols.

Papers of this field score the same files in at least five incompatible ways, up to
3 dB apart, so a score means something only together with the name of its protocol.

All functions take images [N, H, W, 3], RGB, either uint8 or floating point in [0, 1],
and return one score per image, [N]. They run on numpy arrays, in float64, and on jax
arrays, in jax's default precision and inside `jax.jit`, through the array's own
namespace. An image that holds NaN scores NaN.
"""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or jax.Array

PEAK = 255.0  # L: the dynamic range of the planes that every protocol compares
IDENTICAL_PSNR = 100.0  # dB, in place of infinity: JSON has none, nor has a mean

# The window and the constants of Wang et al., 2004, section III-C.
SSIM_WINDOW = 11  # pixels
SSIM_SIGMA = 1.5  # pixels
SSIM_C1 = (0.01 * PEAK) ** 2
SSIM_C2 = (0.03 * PEAK) ** 2


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What of two images is compared.

    Attributes:
      description: What is compared and who reports it, for the foot of a table.
      planes: From images [N, H, W, 3] to the planes compared, [N, H, W, K], floating
        point in [0, 255]; NaN pixels of the images may come out as anything.
    """

    description: str
    planes: Callable[[Array], Array]


def _levels(images: Array) -> Array:
    """The levels 0..255 that an 8-bit file of the images holds, int32."""
    xp = images.__array_namespace__()
    if images.dtype == xp.uint8:
        return images.astype(xp.int32)
    # Ties go to even: so does skimage.img_as_ubyte, which Restormer and MPRNet save
    # their outputs with. (Of 8-bit data none arise.)
    levels = xp.round(xp.clip(xp.nan_to_num(images.astype(float)), 0, 1) * PEAK)
    return levels.astype(xp.int32)


def _matlab_uint8_luma(images: Array) -> Array:
    """Luma in [16, 235] as MATLAB's `rgb2ycbcr` returns it for uint8 RGB, rounded.

    Y = round(16 + (65.481 R + 128.553 G + 24.966 B) / 255), the luma of BT.601. With
    65.481, 128.553, 24.966 = 0.219 * (299, 587, 114) it is computed in integers, and
    so is the same in float32 and float64, on every device.

    Note: MATLAB rounds ties away from zero, numpy and jax to even. Integers make the
    tie exact: half goes up. 194 of the 16.7 million colours are such ties; which way
    MATLAB's own floating-point sum falls there is not published.
    """
    xp = images.__array_namespace__()
    red, green, blue = (_levels(images[..., channel]) for channel in range(3))
    weighted = 299 * red + 587 * green + 114 * blue  # 0..255000
    luma = 16 + (2 * 73 * weighted + 85000) // (2 * 85000)  # floor(x + 1/2)
    return xp.expand_dims(luma, -1).astype(float)


PROTOCOLS = {
    "y_uint8": Protocol(
        description="8-bit luma as MATLAB rounds it (the scripts of Restormer, MPRNet)",
        planes=_matlab_uint8_luma,
    ),
}
DEFAULT_PROTOCOL = "y_uint8"


def psnr(restored: Array, target: Array, protocol: str = DEFAULT_PROTOCOL) -> Array:
    """Peak signal-to-noise ratio of each image, in dB; 100 where they are identical.

    10 log10(255^2 / MSE), the mean over all pixels; nothing is cropped.

    Note: 100 dB stands for infinity by definition. Two large images that differ in
    only a few pixels can score above it.

    Args:
      restored: Images [N, H, W, 3], RGB, uint8 or floating point in [0, 1].
      target: Clean images of the same shape.
      protocol: A name in `PROTOCOLS`.

    Returns:
      Array [N].

    Raises:
      ValueError: The shapes differ or are not [N, H, W, 3], an array is neither uint8
        nor floating point, or the protocol is unknown.
    """
    restored, target = _compared_planes(restored, target, protocol)
    error = ((restored - target) ** 2).mean(axis=(1, 2, 3))
    xp = error.__array_namespace__()
    identical = error == 0
    decibels = 10 * xp.log10(PEAK**2 / xp.where(identical, 1.0, error))
    return xp.where(identical, IDENTICAL_PSNR, decibels)


def ssim(restored: Array, target: Array, protocol: str = DEFAULT_PROTOCOL) -> Array:
    """Mean structural similarity of each image, in [-1, 1].

    The authors' `ssim_index`: an 11 x 11 Gaussian window of 1.5 pixels, K = (0.01,
    0.03), L = 255, only windows that lie within the image, no downsampling.

    Args:
      restored: Images [N, H, W, 3], RGB, uint8 or floating point in [0, 1].
      target: Clean images of the same shape.
      protocol: A name in `PROTOCOLS`.

    Returns:
      Array [N]; in float32 within 1e-4 of float64.

    Raises:
      ValueError: As for `psnr`, or an image is smaller than the window.

    References:
      Wang et al., Image quality assessment: from error visibility to structural
      similarity, 2004, Eq. (13).
    """
    x, y = _compared_planes(restored, target, protocol)
    if min(x.shape[1:3]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels; these images "
            f"are {x.shape[1]} x {x.shape[2]} (height x width)."
        )
    mean_x, mean_y = _windowed_mean(x), _windowed_mean(y)
    variance_x = _windowed_mean(x * x) - mean_x**2
    variance_y = _windowed_mean(y * y) - mean_y**2
    covariance = _windowed_mean(x * y) - mean_x * mean_y
    similarity = (
        (2 * mean_x * mean_y + SSIM_C1)
        * (2 * covariance + SSIM_C2)
        / (mean_x**2 + mean_y**2 + SSIM_C1)
        / (variance_x + variance_y + SSIM_C2)
    )
    return similarity.mean(axis=(1, 2, 3))


def _compared_planes(
    restored: Array, target: Array, protocol: str
) -> tuple[Array, Array]:
    """The planes [N, H, W, K] of both, after every argument was checked."""
    if protocol not in PROTOCOLS:
        near = difflib.get_close_matches(protocol, PROTOCOLS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"Unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}.{hint}"
        )
    if restored.shape != target.shape:
        raise ValueError(
            f"Restored images of shape {restored.shape} cannot be compared with "
            f"targets of shape {target.shape}."
        )
    return _planes(restored, protocol), _planes(target, protocol)


def _planes(images: Array, protocol: str) -> Array:
    """The planes [N, H, W, K] that the protocol compares, NaN where the images are."""
    xp = images.__array_namespace__()
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"Expected images [N, H, W, 3], not shape {images.shape}.")
    if images.dtype == xp.uint8:
        return PROTOCOLS[protocol].planes(images)
    if not xp.issubdtype(images.dtype, xp.floating):
        raise ValueError(
            f"Expected uint8 or floating point in [0, 1], not {images.dtype}."
        )
    # Rounding to integers would turn a network's NaN into a dark, valid pixel.
    undefined = xp.isnan(images).any(axis=-1, keepdims=True)
    return xp.where(undefined, xp.nan, PROTOCOLS[protocol].planes(images))


def _windowed_mean(planes: Array) -> Array:
    """The Gaussian mean of every window within the planes, [N, H - 10, W - 10, K]."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    taps = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    taps = (taps / taps.sum()).tolist()
    height, width = (size - SSIM_WINDOW + 1 for size in planes.shape[1:3])
    rows = sum(tap * planes[:, i : i + height] for i, tap in enumerate(taps))
    return sum(tap * rows[:, :, i : i + width] for i, tap in enumerate(taps))
