"""NIQE: how far an image's statistics are from those of natural photographs.

An image is cut into blocks of 96 x 96 pixels with 36 features each. The features are
the parameters of two fitted distributions, at full and at half size: one of the locally
normalised luma, the other of products of its neighbouring values. The score is the
distance between the Gaussian of the image's blocks and that of blocks of pristine
photographs: 0 or more, lower is more natural. No reference image is needed.

The pristine model and the procedure are those of the authors' release, including the
rounding of luma and the treatment of blocks without texture. MATLAB's own `niqe` uses
another model; its scores are not comparable.

Note: The score depends on the number of blocks, because a few blocks estimate the
covariance poorly. On 60 photographs of up to 120 blocks, crops of 4, 15 and 30 blocks
scored higher than the whole photograph, by 2.7, 1.0 and 0.3 on average. Compare only images
of one size.

References:
  Mittal, Soundararajan and Bovik, Making a "completely blind" image quality analyzer,
  IEEE Signal Processing Letters 20(3), 2013. Equations are cited from there.
"""

import functools
import importlib.resources
import json
from typing import Any

import numpy as np
from scipy import ndimage, special

BLOCK = 96  # pixels, as the pristine model's blocks
MIN_SIDE = 2 * BLOCK  # pixels: four blocks; fewer give no useful covariance

# Offset of a pixel's neighbour: rows up, columns to the left.
_NEIGHBOURS = {
    "horizontal": (0, 1),
    "vertical": (1, 0),
    "main_diagonal": (1, 1),
    "anti_diagonal": (1, -1),
}
FEATURE_NAMES = tuple(
    f"{size}_{feature}"
    for size in ("full", "half")
    for feature in ("shape", "scale")
    + tuple(
        f"{neighbour}_{parameter}"
        for neighbour in _NEIGHBOURS
        for parameter in ("shape", "mean", "left_scale", "right_scale")
    )
)

_WINDOW = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))  # 7 x 7 pixels
_WINDOW /= _WINDOW.sum()

# Larger than the rounding error in an area of one colour (1e-13), and smaller than the
# effect of one pixel that differs by one level, at a window's corner (1e-8 after halving).
_FLAT = 1e-10

# MATLAB's `imresize(x, 0.5)` smooths with the cubic kernel (a = -1/2) of twice the width:
# its values at 7/4, 5/4, 3/4 and 1/4, over their sum, are exact in binary.
_HALVING = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256

# The shapes that a fit chooses from, and their ratios of moments, in increasing order.
_SHAPES = np.arange(200, 10_001) / 1000
_RATIOS = special.gamma(2 / _SHAPES) ** 2 / (
    special.gamma(1 / _SHAPES) * special.gamma(3 / _SHAPES)
)


def niqe(image: np.ndarray) -> float:
    """Returns the NIQE of an image, 0 or more; lower is more natural.

    Args:
      image: uint8, RGB [H, W, 3] or luma [H, W], each side of `MIN_SIDE` pixels or more.

    Raises:
      ValueError: As for `features` and `distance`.
    """
    return distance(features(image))


def features(image: np.ndarray) -> np.ndarray:
    """Returns the features of every whole block, float64 [B, 36].

    The columns are those of `FEATURE_NAMES`; the rows go from left to right and from top
    to bottom. A block of one colour, or nearly so, has NaN features.

    Note: Luma is MATLAB's `rgb2gray`, 0..255 and rounded, as in the release and its
    pristine model. Others score the luma of `rgb2ycbcr`, 16..235, which has 14% less
    contrast; such scores are not comparable. To compute them, pass that luma as [H, W].

    Note: The release accepts an image of a single block, whose covariance is undefined.
    Here at least two by two blocks are required.

    Args:
      image: uint8, RGB [H, W, 3] or luma [H, W], each side of `MIN_SIDE` pixels or more.

    Raises:
      ValueError: If the type, shape or size of the image differs.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.shape[2:] not in {(), (3,)} or image.ndim < 2:
        raise ValueError(
            f"NIQE takes uint8 images [H, W, 3] or [H, W], not {image.dtype} "
            f"{list(image.shape)}."
        )
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"NIQE needs {MIN_SIDE} x {MIN_SIDE} pixels or more; this image is "
            f"{height} x {width} (height x width). Leave it out; enlarging it would change "
            "the score."
        )
    luma = _luma(image[: height - height % BLOCK, : width - width % BLOCK])
    full = _block_features(_mscn(luma), BLOCK)
    half = _block_features(_mscn(_half_size(luma)), BLOCK // 2)
    return np.concatenate([full, half], axis=1)


def distance(blocks: np.ndarray) -> float:
    """Returns the distance of blocks from the pristine model (Eq. 10): their NIQE.

    As in the release, a block with a NaN feature is left out of the covariance, and the
    mean of each feature is over the blocks where it is a number.

    Args:
      blocks: Features of the blocks of an image [B, 36], in the order of `features`.

    Raises:
      ValueError: If fewer than two blocks have all features.
    """
    complete = blocks[~np.isnan(blocks).any(axis=1)]
    if len(complete) < 2:
        raise ValueError(
            f"NIQE needs at least two blocks with texture, not {len(complete)} of "
            f"{len(blocks)}: most of this image has one colour."
        )
    mean, covariance = _pristine_model()
    difference = np.nanmean(blocks, axis=0) - mean
    pooled = (covariance + np.cov(complete, rowvar=False)) / 2
    # The pristine covariance is positive definite, and so is the pooled one: its inverse
    # is the pseudo-inverse of the paper.
    return float(np.sqrt(difference @ np.linalg.solve(pooled, difference)))


@functools.cache
def _pristine_model() -> tuple[np.ndarray, np.ndarray]:
    """Mean [36] and covariance [36, 36] of the blocks of pristine photographs."""
    file = importlib.resources.files("ttl_jax.metrics") / "niqe_pristine.json"
    model = json.loads(file.read_text())
    rows, columns = np.triu_indices(len(FEATURE_NAMES))
    covariance = np.empty((len(FEATURE_NAMES),) * 2)
    covariance[rows, columns] = covariance[columns, rows] = np.concatenate(
        model["covariance_upper_triangle"]
    )
    return np.array(model["mean"]), covariance


def _luma(image: np.ndarray) -> np.ndarray:
    """Luma [H, W] in 0..255 as MATLAB's `rgb2gray` rounds it, float64.

    MATLAB's weights, 0.298936, 0.587043 and 0.114021, are the first row of the inverse
    of its matrix from YIQ to RGB, fractions of 1971656: the sum is exact in integers.
    """
    if image.ndim == 3:
        weights = np.array([589399, 1157447, 224810], np.int32)
        weighted = image.astype(np.int32) @ weights
        image = (weighted + 1971656 // 2) // 1971656  # half goes up
    return image.astype(np.float64)


def _half_size(image: np.ndarray) -> np.ndarray:
    """Returns an image [H, W] of even sides at half size, as MATLAB resizes it.

    Beyond its edges the image is mirrored.
    """
    for _ in range(2):  # rows, then columns
        padded = np.pad(image, ((3, 3), (0, 0)), mode="symmetric")
        taps = enumerate(_HALVING)
        half: Any = sum(tap * padded[i : i + len(image) : 2] for i, tap in taps)
        image = half.T
    return image


def _mscn(image: np.ndarray) -> np.ndarray:
    """Mean subtracted, contrast normalised coefficients [H, W] (Eqs. 1-3).

    Note: In an area of one colour they are 0 in theory. In the release they are rounding
    errors whose signs affect the features; here they are 0.
    """
    mean = _windowed_mean(image)
    deviation = np.sqrt(np.abs(_windowed_mean(image**2) - mean**2))
    centred = image - mean
    return np.where(np.abs(centred) < _FLAT, 0, centred / (deviation + 1))


def _windowed_mean(image: np.ndarray) -> np.ndarray:
    rows = ndimage.correlate1d(image, _WINDOW, axis=0, mode="nearest")
    return ndimage.correlate1d(rows, _WINDOW, axis=1, mode="nearest")


def _block_features(mscn: np.ndarray, block: int) -> np.ndarray:
    """Returns the 18 features of each block at one size, [B, 18], from MSCN [H, W]."""
    num_rows, num_columns = (side // block for side in mscn.shape)
    blocks = mscn.reshape(num_rows, block, num_columns, block).swapaxes(1, 2)
    blocks = blocks.reshape(-1, block, block)
    shape, left, right = _fit_aggd(blocks)
    columns = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS.values():
        # The neighbour of a pixel at a block's edge is at the opposite edge of the block.
        shape, left, right = _fit_aggd(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * special.gamma(2 / shape) / special.gamma(1 / shape)
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=1)


def _fit_aggd(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fits asymmetric generalised Gaussians (Eq. 7) to samples [B, ...] by their moments.

    As in the release, a side without samples has the scale NaN, and the shape is then the
    smallest of `_SHAPES`.

    Returns:
      Shape, left scale and right scale (alpha, beta_l and beta_r), each [B].

    References:
      Lasmar, Stitou and Berthoumieu, Multiscale skewed heavy tailed model for texture
      analysis, ICIP 2009.
    """
    samples = samples.reshape(len(samples), -1)
    squares = samples**2
    with np.errstate(invalid="ignore", divide="ignore"):
        left_std, right_std = (
            np.sqrt(np.einsum("bp,bp->b", squares, side) / side.sum(axis=1))
            for side in (samples < 0, samples > 0)
        )
        skew = left_std / right_std
        ratio = np.abs(samples).mean(axis=1) ** 2 / squares.mean(axis=1)
        ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    nearest = np.searchsorted((_RATIOS[1:] + _RATIOS[:-1]) / 2, ratio)
    shape = _SHAPES[np.where(np.isnan(ratio), 0, nearest)]
    scale = np.sqrt(special.gamma(1 / shape) / special.gamma(3 / shape))
    return shape, left_std * scale, right_std * scale
