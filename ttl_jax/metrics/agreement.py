"""Whether a restorer does the same to a crop as to the whole photograph around it.

Images are uint8 [H, W, 3]; changes and steps are in levels of 255. A network with
statistics of the whole image may restore a crop well and leave the photograph as it is.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

CROP = 480  # pixels
# Places of the crops, as fractions of the room that the photograph leaves them: two
# opposite corners, and two places that are rarely on the grid of the network's cells.
PLACES = ((0.0, 0.0), (0.37, 0.71), (0.61, 0.23), (1.0, 1.0))
# Where less changes on average, in levels, the disagreement is mostly rounding.
LEAST_CHANGE = 1.0
_ACROSS = 16  # pixels on which a step of brightness between two windows is averaged


class Agreement(NamedTuple):
    """How far restored crops and the same areas of the restored whole agree.

    Attributes:
      disagreement: Mean absolute difference of the two restorations over the mean of
        their changes to the input; 0 where they are equal.
      change_ratio: Mean change within the whole over that of the crops; below 1 where the
        whole is restored less.
    """

    disagreement: float
    change_ratio: float


def measure(
    image: np.ndarray,
    whole: np.ndarray,
    restore: Callable[[np.ndarray], np.ndarray],
    *,
    crop: int = CROP,
) -> Agreement | None:
    """Compares the restored whole with restored crops of it.

    Args:
      image: The photograph.
      whole: What it was restored to.
      restore: Restores an image of any size.
      crop: Side of the crops, in pixels; a shorter side of the photograph is taken whole.

    Returns:
      The agreement over all crops together. None if the photograph is no larger than a
      crop, or changes by less than `LEAST_CHANGE` in crops and whole.
    """
    height, width = (min(crop, side) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return None
    totals = np.zeros(3)  # of the difference, and both changes
    for down, right in PLACES:
        top = int(down * (image.shape[0] - height))
        left = int(right * (image.shape[1] - width))
        place = slice(top, top + height), slice(left, left + width)
        part = restore(np.ascontiguousarray(image[place]))
        totals += (
            _distance(part, whole[place]),
            _distance(whole[place], image[place]),
            _distance(part, image[place]),
        )
    difference, in_whole, in_crops = totals / len(PLACES)
    if max(in_whole, in_crops) < LEAST_CHANGE:
        return None
    # A network that changes no crop at all disagrees, with an infinite ratio: bounded, as
    # a mean is taken of it.
    return Agreement(
        disagreement=float(difference / ((in_whole + in_crops) / 2)),
        change_ratio=float(in_whole / max(in_crops, 0.01)),
    )


class Seams(NamedTuple):
    """Steps of brightness where two windows meet, in levels of 255.

    Attributes:
      mean: Along all borders.
      high: 95 % quantile of the same.
    """

    mean: float
    high: float


def measure_seams(
    windows: Iterable[tuple[tuple[int, int, int, int], np.ndarray]],
    size: tuple[int, int],
) -> Seams | None:
    """Steps in the middle of the pixels that neighbouring windows share.

    A step is the difference of two windows' brightness at a place of their border, mean
    over the channels and over 16 pixels across it.

    Args:
      windows: Top, left, height and width of each window, in pixels of the image, and
        what it was restored to, float [h, w, 3] in [0, 1]; from top to bottom. Those that
        no later one can meet are dropped, so that memory stays flat.
      size: Height and width of the image; what windows show beyond it does not count.

    Returns:
      None if there is one window only.
    """
    steps: list[np.ndarray] = []
    kept: list[tuple[tuple[int, int, int, int], np.ndarray]] = []
    for place, values in windows:
        kept = [one for one in kept if one[0][0] + one[0][2] > place[0]]
        new = (place, np.clip(values, 0, 1))
        steps += [_measure_border(one, new, size) for one in kept]
        kept.append(new)
    joined = np.concatenate([*steps, np.empty(0)])
    if not joined.size:
        return None
    return Seams(float(np.mean(joined)), float(np.quantile(joined, 0.95)))


def _measure_border(one, other, size: tuple[int, int]) -> np.ndarray:
    """Absolute steps along the border of two windows; none if they are no neighbours."""
    (top, left, height, width), (other_top, other_left, *_) = one[0], other[0]
    bottom = min(top + height, other_top + other[0][2], size[0])
    right = min(left + width, other_left + other[0][3], size[1])
    if top == other_top and left < other_left < left + width:
        middle = (other_left + left + width) // 2
        rows = slice(top, bottom)
        columns = slice(middle - _ACROSS // 2, min(middle + _ACROSS // 2, size[1]))
        across = 1
    elif left == other_left and top < other_top < top + height:
        middle = (other_top + top + height) // 2
        rows = slice(middle - _ACROSS // 2, min(middle + _ACROSS // 2, size[0]))
        columns = slice(left, right)
        across = 0
    else:
        return np.empty(0)
    difference = _cut(one, rows, columns) - _cut(other, rows, columns)
    return 255 * np.abs(difference.mean(axis=(across, 2)))


def _cut(window, rows: slice, columns: slice) -> np.ndarray:
    """The pixels of an area of the image in a window."""
    (top, left, *_), values = window
    return values[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.int16) - second).mean())
