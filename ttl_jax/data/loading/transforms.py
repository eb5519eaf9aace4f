"""Crops, colours and compression of images for a batch.

Images are uint8 [H, W, 3]. All random choices are in a `View`, which is drawn beforehand.
Its methods are pure, so images with the same view are treated in the same way.
"""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from ttl_jax.data.files import images


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """Place, orientation, colours and compression of a crop.

    Attributes:
      vertical: Position of the crop, from 0 (top) to 1 (bottom).
      horizontal: Position of the crop, from 0 (left) to 1 (right).
      mirrored: Whether left and right are exchanged.
      quarter_turns: Turns by 90 degrees counter-clockwise, 0 to 3.
      channels: Channels of the image that become red, green and blue.
      gamma: Exponent applied to values in [0, 1]; above 1, images become darker.
      scale: Factor by which images of couples are scaled down, relative to the smallest
        of their sides, in (0, 1].
      jpeg_quality: JPEG quality of couples.
      zoom: Factor by which images of pairs are scaled.
      is_whole: Whether crops of pairs show the largest square of the image, scaled down
        to the size of the crop, instead of a square scaled by `zoom`. It has no effect
        if the shorter side of the image is not larger than the crop.
      resave_quality: JPEG quality of pairs; None does not re-encode them.
      rain_seed: Seed of rendered rain; None gives the same rain each time.
    """

    vertical: float = 0.5
    horizontal: float = 0.5
    mirrored: bool = False
    quarter_turns: int = 0
    channels: tuple[int, int, int] = (0, 1, 2)
    gamma: float = 1.0
    scale: float = 0.75
    jpeg_quality: int = 80
    zoom: float = 1.0
    is_whole: bool = False
    resave_quality: int | None = None
    rain_seed: int | None = None

    def reach(self, size: int, height: int, width: int) -> int:
        """Returns the side of the square that a crop of a pair shows, in pixels."""
        shorter = min(height, width)
        if self.is_whole and shorter > size:
            return shorter
        return max(1, round(size / self.zoom))

    def crop(self, image: np.ndarray, size: int) -> np.ndarray:
        """Returns a copy of a square of the image, [size, size, 3], turned and tinted.

        If the image is smaller than the square, it is padded by reflection (as `np.pad`
        does in mode "reflect"); the position of the view is then that of the image within
        the square.
        """
        height, width, _ = image.shape
        top = _start(height, size, self.vertical)
        left = _start(width, size, self.horizontal)
        square = image[max(top, 0) :, max(left, 0) :][:size, :size]
        if square.shape[:2] != (size, size):
            padding = [_padding(top, height, size), _padding(left, width, size), (0, 0)]
            square = np.pad(square, padding, "reflect")
        square = np.rot90(square, self.quarter_turns)
        return self.tint(square[:, ::-1] if self.mirrored else square)

    def tint(self, image: np.ndarray) -> np.ndarray:
        """Returns a copy of the image with the colours of the view, [H, W, 3]."""
        if self.channels == (0, 1, 2) and image.strides[1] == image.shape[2]:
            tinted = image.copy()
        else:
            # For mirrored images, this is four times as fast as copying whole pixels.
            tinted = np.empty(image.shape, image.dtype)
            for target, channel in enumerate(self.channels):
                tinted[..., target] = image[..., channel]
        if self.gamma != 1:
            levels = 255 * (np.arange(256) / 255) ** self.gamma
            tinted = np.take(np.rint(levels).astype(np.uint8), tinted)
        return tinted

    def resave(self, square: np.ndarray, size: int) -> np.ndarray:
        """Returns a square, resized to [size, size, 3] and compressed as in the view."""
        if len(square) != size:
            square = _resized(square, size)
        quality = self.resave_quality
        return square if quality is None else images.jpeg(square, quality)


CENTRE = View()  # for evaluation


def draw_view(
    rng: np.random.Generator,
    *,
    mirror: bool = False,
    quarter_turns: bool = False,
    color_jitter: bool = False,
    resave_pairs: bool = False,
    whole_share: float = 0.0,
) -> View:
    """Returns a random view.

    Args:
      mirror: Whether to mirror half of the views.
      quarter_turns: Whether to turn views, which makes rain unrealistic.
      color_jitter: Whether to permute channels and to draw gamma from 0.5 to 2. Rain has
        no colour, so any order of the channels is realistic.
      resave_pairs: Whether half of the views scale pairs by 0.5 to 2 (log-uniform) and
        re-encode them with a quality of 40 to 95.
      whole_share: Share of the views that are whole.
    """
    vertical, horizontal = rng.random(2)
    mirrored, turns = rng.integers((2, 4)) * (mirror, quarter_turns)
    channels, gamma = rng.permutation(3), 2 ** rng.uniform(-1, 1)
    colors = {"channels": tuple(channels.tolist()), "gamma": gamma}
    view = View(
        vertical=vertical,
        horizontal=horizontal,
        mirrored=bool(mirrored),
        quarter_turns=int(turns),
        **(colors if color_jitter else {}),
        scale=rng.uniform(0.5, 1.0),
        jpeg_quality=int(rng.integers(60, 96)),
        rain_seed=int(rng.integers(2**63)),
    )
    if whole_share and rng.random() < whole_share:
        view = dataclasses.replace(view, is_whole=True)
    if not resave_pairs or rng.random() < 0.5:
        return view
    zoom = 2 ** rng.uniform(-1, 1)
    quality = int(rng.integers(40, 96))
    return dataclasses.replace(view, zoom=zoom, resave_quality=quality)


def equalize(image: np.ndarray, side: int, size: int, view: View) -> np.ndarray:
    """Returns a crop [size, size, 3] that hides the size and the format of the file.

    The image is scaled down until its smaller side is `side`. A square is cut out, padded
    by reflection if `side` is less than `size`, and compressed as JPEG. Images with the
    same side, size and view therefore have the same scale, padding and compression.

    Args:
      image: uint8 [H, W, 3] with min(H, W) >= side.
      side: Smaller side after scaling, in pixels.
      size: Side of the crop, in pixels.
      view: View, whose `scale` is ignored, since `side` includes it.
    """
    # Only the square is computed. Pillow's bicubic filter widens with the scale and
    # reaches beyond the box, so this equals a crop of the whole scaled image.
    height, width, _ = image.shape
    factor = min(height, width) / side  # pixels of the image per pixel of the result
    square = min(side, size)
    top = _start(round(height / factor), square, view.vertical)
    left = _start(round(width / factor), square, view.horizontal)
    edges = np.array([left, top, left + square, top + square]) * factor
    box = np.minimum(edges, [width, height, width, height])
    part = _resized(image, square, box.tolist())
    inner = dataclasses.replace(view, vertical=0.5, horizontal=0.5)
    return images.jpeg(inner.crop(part, size), view.jpeg_quality)


def couple_side(
    first: tuple[int, int], second: tuple[int, int], size: int, scale: float
) -> int:
    """Returns the smaller side, in pixels, to which both images of a couple are scaled.

    This is `scale` times the smallest of their sides, but not below the size of the crop,
    unless the smallest side itself is below it.

    Args:
      first: Height and width of one image.
      second: Height and width of the other image.
      size: Side of the crop, in pixels.
      scale: Factor in (0, 1].
    """
    smallest = min(*first, *second)
    scaled = max(1, round(scale * smallest))
    return scaled if smallest < size else max(scaled, size)


def _resized(image: np.ndarray, size: int, box: Any = None) -> np.ndarray:
    """Returns a box of an image, or all of it, scaled to [size, size, 3]."""
    resized = Image.fromarray(image).resize(
        (size, size), Image.Resampling.BICUBIC, box=box
    )
    return np.asarray(resized)


def _start(length: int, size: int, place: float) -> int:
    """Returns the first index of a window, uniform over all positions for uniform `place`.

    It is negative if the window is larger than the length.
    """
    room = abs(length - size)
    offset = min(int(place * (room + 1)), room)
    return offset if length >= size else -offset


def _padding(start: int, length: int, size: int) -> tuple[int, int]:
    """Returns how many pixels of a window are before and after the image."""
    before = max(-start, 0)
    return before, max(size - length - before, 0)
