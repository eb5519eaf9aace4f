"""Whether a restorer treats a crop as it treats the whole photograph.

Images are uint8 [H, W, 3]; changes and steps are in levels of 255. A network that uses
statistics of the whole image may restore a crop well and leave the photograph unchanged.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

CROP = 480  # pixels
# Places of the crops, as fractions of the largest offset: two opposite corners, and two
# places that are rarely on the grid of the network's cells.
PLACES = ((0.0, 0.0), (0.37, 0.71), (0.61, 0.23), (1.0, 1.0))
# Mean change in levels; if it is smaller, the disagreement is mostly rounding.
LEAST_CHANGE = 1.0
_ACROSS = 16  # pixels across a border over which a step of brightness is averaged


class Agreement(NamedTuple):
    """Agreement of restored crops with the same areas of the restored whole.

    Attributes:
      disagreement: Mean absolute difference of the two restorations, divided by the
        mean of their changes to the input; 0 if they are equal.
      change_ratio: Mean change within the whole, divided by the mean change of the
        crops; below 1 if the whole changes less.
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
      image: Photograph.
      whole: Restored photograph.
      restore: Function that restores an image of any size.
      crop: Largest side of the crops, in pixels.

    Returns:
      The agreement over all crops together. None if the photograph is not larger than a
      crop, or changes by less than `LEAST_CHANGE` in crops and whole.
    """
    height, width = (min(crop, side) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return None
    distances = []
    for down, right in PLACES:
        top = int(down * (image.shape[0] - height))
        left = int(right * (image.shape[1] - width))
        before, after = (
            array[top : top + height, left : left + width] for array in (image, whole)
        )
        part = restore(np.ascontiguousarray(before))
        pairs = (part, after), (after, before), (part, before)
        distances.append([_distance(*pair) for pair in pairs])
    difference, in_whole, in_crops = np.mean(distances, axis=0)
    if max(in_whole, in_crops) < LEAST_CHANGE:
        return None
    # The lower bound avoids an infinite ratio if no crop changes.
    return Agreement(
        disagreement=float(difference / ((in_whole + in_crops) / 2)),
        change_ratio=float(in_whole / max(in_crops, 0.01)),
    )


class Seams(NamedTuple):
    """Steps of brightness where two windows meet, in levels of 255.

    Attributes:
      mean: Mean along all borders.
      high: 95 % quantile along all borders.
    """

    mean: float
    high: float


def measure_seams(
    windows: Iterable[tuple[tuple[int, int, int, int], np.ndarray]],
    size: tuple[int, int],
) -> Seams | None:
    """Returns the steps of brightness in the middle of the overlaps of windows.

    At each place along a border, the difference of the two windows is averaged over the
    channels and over 16 pixels across the border. A step is its absolute value.

    Args:
      windows: Top, left, height and width of each window, in pixels of the image, and
        its restored pixels, float [h, w, 3] in [0, 1]; from top to bottom. A window is
        dropped when no later one can touch it, so memory does not grow.
      size: Height and width of the image; pixels of windows beyond it are ignored.

    Returns:
      Mean and quantile. None if no two windows meet.
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
    """Absolute steps along the border of two windows; empty if they do not touch."""
    starts = np.array([place[:2] for place, _ in (one, other)])  # rows, columns
    ends = starts + [place[2:] for place, _ in (one, other)]
    is_same, is_shifted = starts[0] == starts[1], starts[0] < starts[1]
    if is_same.sum() != 1 or not (is_same | (is_shifted & (starts[1] < ends[0]))).all():
        return np.empty(0)
    across = int(is_shifted.argmax())
    low, high = starts[1].copy(), np.minimum(ends.min(axis=0), size)
    middle = (starts[1, across] + ends[0, across]) // 2
    low[across] = max(low[across], middle - _ACROSS // 2)
    high[across] = min(high[across], middle + _ACROSS // 2)
    first, second = (
        values[tuple(map(slice, low - start, high - start))]
        for (_, values), start in zip((one, other), starts)
    )
    return 255 * np.abs((first - second).mean(axis=(across, 2)))


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.int16) - second).mean())
