"""What happens to an image between its file and the batch.

Images are uint8 [H, W, 3]. All chance is drawn beforehand, as a `View`; the functions
that apply it are pure, so two images under the same view are treated alike.
"""

import dataclasses
import math

import numpy as np
from PIL import Image

from ttl_jax.data.files import images


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """How an image is looked at.

    Attributes:
      vertical: Where the crop lies, from 0 (top) to 1 (bottom).
      horizontal: The same from left to right.
      mirrored: Whether left and right are exchanged.
      quarter_turns: Turns by 90 degrees counter-clockwise, 0 to 3.
      channels: Which of the image's channels become red, green and blue.
      gamma: Exponent of the values, counted from 0 to 1; above 1 it darkens.
      scale: Side of a couple's images over the smaller of their sides; in (0, 1].
      jpeg_quality: Of re-encoding a couple's images, as libjpeg counts.
      zoom: Side of a pair's images over that of their files.
      is_whole: Whether a pair's crop shows a square as wide as its shorter side, reduced
        to the crop's size, where that is smaller; `zoom` then does not count.
      resave_quality: Of re-encoding a pair's images, as libjpeg counts; None: they stay as
        they are.
      rain_seed: Of rain that is rendered on the image, which is another one each time;
        None for that which the image always has.
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
        """Side of the square of a pair's files that becomes a crop, in pixels."""
        shorter = min(height, width)
        if self.is_whole and shorter > size:
            return shorter
        return max(1, round(size / self.zoom))


CENTRE = View()  # of evaluation


def draw_view(
    rng: np.random.Generator,
    *,
    mirror: bool = False,
    quarter_turns: bool = False,
    color_jitter: bool = False,
    resave_pairs: bool = False,
    whole_share: float = 0.0,
) -> View:
    """A random view; mirrored, turned or in other colours only where that is asked for.

    Rain falls: mirrored it is still rain, turned it is not. It has no colour of its own,
    so that it stays rain in whatever order the channels are. With `resave_pairs`, one
    view in two has a zoom of 0.5 to 2, evenly in the logarithm, and re-encodes pairs at
    a quality of 40 to 95. The share `whole_share` of the views is whole.
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
    return dataclasses.replace(
        view,
        zoom=2 ** rng.uniform(-1, 1),
        resave_quality=int(rng.integers(40, 96)),
    )


def crop(image: np.ndarray, size: int, view: View) -> np.ndarray:
    """A copy of a square of the image, [size, size, 3], as the view turns and tints it.

    Where the image is smaller than the square, it is continued by its mirror image
    (as `np.pad` does in mode "reflect"), as often as needed; the view's place is then
    that of the image within the square.
    """
    height, width, _ = image.shape
    top, left = (
        _start(height, size, view.vertical),
        _start(width, size, view.horizontal),
    )
    if height >= size and width >= size:
        square = image[top : top + size, left : left + size]
    else:
        rows, columns = _reflect(top, size, height), _reflect(left, size, width)
        square = image[rows[:, None], columns]
    square = np.rot90(square, view.quarter_turns)
    return tint(square[:, ::-1] if view.mirrored else square, view)


def resave(square: np.ndarray, size: int, view: View) -> np.ndarray:
    """A square in the size, [size, size, 3], and the compression that the view has."""
    if len(square) != size:
        square = np.asarray(
            Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC)
        )
    quality = view.resave_quality
    return square if quality is None else images.jpeg(square, quality)


def tint(image: np.ndarray, view: View) -> np.ndarray:
    """A copy of the image in the colours of the view, [H, W, 3]."""
    if view.channels == CENTRE.channels and image.strides[1] == image.shape[2]:
        tinted = image.copy()
    else:
        # Channel by channel: four times as fast as mirrored pixels one by one.
        tinted = np.empty(image.shape, image.dtype)
        for target, channel in enumerate(view.channels):
            tinted[..., target] = image[..., channel]
    if view.gamma != CENTRE.gamma:
        levels = 255 * (np.arange(256) / 255) ** view.gamma
        tinted = np.take(np.rint(levels).astype(np.uint8), tinted)
    return tinted


def coarse(image: np.ndarray, num_pixels: int = 10_000) -> np.ndarray:
    """About so many pixels of an image, evenly spaced, or all if they are fewer."""
    stride = max(1, round(math.sqrt(image.shape[0] * image.shape[1] / num_pixels)))
    return image[::stride, ::stride]


def equalize(image: np.ndarray, side: int, size: int, view: View) -> np.ndarray:
    """A crop in which only the content tells where the image came from.

    The image is down-scaled until its smaller side is `side`, a square of it is cut out
    and continued by reflection to [size, size, 3] where `side` is less, and the result
    goes through JPEG. So images of whatever size and format that are given the same
    side, size and view have the same size, padding and re-encoding.

    Args:
      image: uint8 [H, W, 3] with min(H, W) >= side.
      side: Smaller side to scale to, in pixels.
      size: Side of the crop, in pixels.
      view: Its `scale` is not read: it is in `side`.
    """
    part = _resized_square(image, side, min(side, size), view)
    inner = dataclasses.replace(view, vertical=0.5, horizontal=0.5)
    return images.jpeg(crop(part, size, inner), view.jpeg_quality)


def couple_side(
    first: tuple[int, int], second: tuple[int, int], size: int, scale: float
) -> int:
    """Smaller side, in pixels, to which both images of a couple are scaled.

    It is `scale` times the smallest of their sides, but not below the crop's size
    unless that is larger than the smallest side already.

    Args:
      first: Height and width of one image.
      second: Height and width of the other.
      size: Side of the crop.
      scale: In (0, 1].
    """
    smallest = min(*first, *second)
    scaled = max(1, round(scale * smallest))
    return scaled if smallest < size else max(scaled, size)


def _resized_square(
    image: np.ndarray, side: int, square: int, view: View
) -> np.ndarray:
    """A square of the image that has been scaled to the smaller side `side`.

    Only the square is computed. Pillow's bicubic filter widens with the scale and
    reaches beyond the box, so this equals a crop of the whole scaled image.
    """
    height, width, _ = image.shape
    factor = min(height, width) / side  # pixels of the image per pixel of the result
    top = _start(round(height / factor), square, view.vertical)
    left = _start(round(width / factor), square, view.horizontal)
    box = (left, top, left + square, top + square)
    within = (width, height, width, height)
    return np.asarray(
        Image.fromarray(image).resize(
            (square, square),
            Image.Resampling.BICUBIC,
            box=[
                min(edge * factor, end) for edge, end in zip(box, within, strict=True)
            ],
        )
    )


def _start(length: int, size: int, place: float) -> int:
    """First index of a window: uniform over all whole places for uniform `place`.

    Negative where the window is larger than the length.
    """
    room = abs(length - size)
    offset = min(int(place * (room + 1)), room)
    return offset if length >= size else -offset


def _reflect(start: int, size: int, length: int) -> np.ndarray:
    """Indices start, start + 1, ... folded back into [0, length) at both ends."""
    period = max(2 * (length - 1), 1)
    index = np.arange(start, start + size) % period
    return np.minimum(index, period - index) if length > 1 else np.zeros_like(index)
