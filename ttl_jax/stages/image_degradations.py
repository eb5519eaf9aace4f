"""Degradations of images, drawn at random inside a train step.

Images are float [N, H, W, 3] in [0, 1]. The last two arguments of each degradation
are bounds. The strength is drawn between them, uniformly for each image.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_PATCH = 8  # pixels, side of the blocks of JPEG

# Quantization of luminance at quality 50 (ITU-T T.81, table K.1).
_LUMINANCE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
], np.float32)  # fmt: skip


def _cosines(size: int) -> np.ndarray:
    """Returns the orthonormal discrete cosine transform, float32 [size, size]."""
    places, waves = np.arange(size) + 0.5, np.arange(size)
    matrix = np.cos(np.pi / size * np.outer(waves, places)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.astype(np.float32)


_COSINES = _cosines(_PATCH)


def streaks(images: jax.Array, key: jax.Array, low: float, high: float) -> jax.Array:
    """Returns images with straight slanted streaks.

    Args:
      images: Float [N, H, W, 3] in [0, 1].
      low: Smallest share of pixels at which a streak starts; drawn per image.
      high: Largest share.
    """
    count, height, width, _ = images.shape
    keys = jax.random.split(key, 4)
    share = jax.random.uniform(keys[0], (count, 1, 1), minval=low, maxval=high)
    length = max(1, height // 5)
    # Streaks also start above the image.
    points = jax.random.bernoulli(keys[1], share, (count, length + height, width))
    sums = jnp.cumsum(points.astype(images.dtype), axis=1)
    upright = jnp.clip(sums[:, length:] - sums[:, :-length], 0, 1)
    slope = jax.random.uniform(keys[2], (count, 1, 1), minval=-0.4, maxval=0.4)
    rows, columns = jnp.arange(height)[None, :, None], jnp.arange(width)[None, None]
    places = jnp.round(columns + slope * rows).astype(int) % width
    slanted = jnp.take_along_axis(upright, places, axis=2)[..., None]
    light = jax.random.uniform(keys[3], (count, 1, 1, 1), minval=0.2, maxval=0.5)
    return jnp.minimum(images + light * slanted, 1)


def blur(images: jax.Array, key: jax.Array, low: float, high: float) -> jax.Array:
    """Returns images blurred by Gaussians with deviations of `low` to `high` pixels."""
    margin = blur_margin(high)
    padded = jnp.pad(
        images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge"
    )
    return random_blur(padded, key, low, high)


def noise(images: jax.Array, key: jax.Array, low: float, high: float) -> jax.Array:
    """Returns images with Gaussian noise with deviations of `low` to `high`."""
    keys = jax.random.split(key)
    deviation = _draw(keys[0], images, low, high)
    noisy = images + deviation * jax.random.normal(keys[1], images.shape)
    return jnp.clip(noisy, 0, 1)


def veil(images: jax.Array, key: jax.Array, low: float, high: float) -> jax.Array:
    """Returns images blended with pale grey, whose share is `low` to `high`."""
    keys = jax.random.split(key)
    share, grey = _draw(keys[0], images, low, high), _draw(keys[1], images, 0.7, 0.95)
    return images + share * (grey - images)


def jpeg(images: jax.Array, key: jax.Array, low: float, high: float) -> jax.Array:
    """Returns images with the artefacts of JPEG qualities `low` to `high`, per channel.

    A grey image becomes what an encoder of grey images makes of it. Each colour channel
    is quantized like luminance, so its artefacts are finer than those of an encoder.
    """
    table = luminance_tables(jnp.round(_draw(key, images, low, high))[:, 0, 0, 0])
    height, width = images.shape[1:3]
    padded = jnp.pad(
        images, ((0, 0), (0, -height % _PATCH), (0, -width % _PATCH), (0, 0)), "edge"
    )
    count, rows, columns, channels = padded.shape
    shape = (count, rows // _PATCH, _PATCH, columns // _PATCH, _PATCH, channels)
    blocks = jnp.round(padded * 255).reshape(shape).transpose(0, 1, 3, 2, 4, 5) - 128
    waves = jnp.einsum("ui,nyxijc,vj->nyxuvc", _COSINES, blocks, _COSINES)
    table = table.reshape(count, 1, 1, _PATCH, _PATCH, 1)
    waves = jnp.round(waves / table) * table
    blocks = jnp.einsum("ui,nyxuvc,vj->nyxijc", _COSINES, waves, _COSINES) + 128
    decoded = jnp.round(jnp.clip(blocks, 0, 255)).transpose(0, 1, 3, 2, 4, 5) / 255
    return decoded.reshape(padded.shape)[:, :height, :width].astype(images.dtype)


def luminance_tables(quality: jax.Array) -> jax.Array:
    """Returns the quantization of luminance in libjpeg, [N, 8, 8], by quality [N]."""
    # libjpeg computes with integers.
    scale = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    levels = jnp.floor((_LUMINANCE[None] * scale[:, None, None] + 50) / 100)
    return jnp.clip(levels, 1, 255)


def _draw(key, images, low, high):
    """Returns a uniform number for each image, [N, 1, 1, 1]."""
    return jax.random.uniform(key, (len(images), 1, 1, 1), minval=low, maxval=high)


def blur_margin(sigma: float) -> int:
    """Returns the radius in pixels of a Gaussian kernel of 2 * ceil(3 sigma) + 1 taps."""
    return math.ceil(3 * sigma)


def random_blur(
    images: jax.Array, key: jax.Array, min_sigma: float, max_sigma: float
) -> jax.Array:
    """Returns images blurred by Gaussians of random widths and rounded to 8-bit levels.

    Note: the paper says "a Gaussian kernel"; the range of its widths is our choice.

    Args:
      images: Float [N, H + 2m, W + 2m, C] in [0, 1], m = `blur_margin(max_sigma)`.
      min_sigma: Smallest standard deviation, in pixels; drawn uniformly per image.
      max_sigma: Largest standard deviation, in pixels.

    Returns:
      Array [N, H, W, C].
    """
    margin = blur_margin(max_sigma)
    count = len(images)
    sigma = jax.random.uniform(key, (count, 1), minval=min_sigma, maxval=max_sigma)
    offsets = jnp.arange(-margin, margin + 1)[None]
    taps = jnp.exp(-0.5 * jnp.square(offsets / sigma))
    taps = jnp.where(jnp.abs(offsets) <= jnp.ceil(3 * sigma), taps, 0.0)
    taps = (taps / taps.sum(axis=1, keepdims=True))[:, :, None, None, None]

    h, w = images.shape[1] - 2 * margin, images.shape[2] - 2 * margin
    rows: Any = sum(taps[:, i] * images[:, i : i + h] for i in range(2 * margin + 1))
    blurred = sum(taps[:, i] * rows[:, :, i : i + w] for i in range(2 * margin + 1))
    return jnp.round(blurred * 255) / 255
