"""Finds where images of one scene differ, to enlarge these windows in a comparison."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Box(NamedTuple):
    """Rectangle in pixels; x from the left, y from the top."""

    x: int
    y: int
    width: int
    height: int


def most_different(
    panels: Sequence[np.ndarray], count: int, width: int, height: int
) -> list[Box]:
    """Returns the windows in which the images differ most from each other.

    The first window has the largest variance between images, summed over its pixels and
    channels. Each further one has the largest among windows that do not touch the earlier
    ones. If several are equal, the upper left one is chosen. Windows keep a distance of a
    twentieth of the image's side from the border, where methods differ in their padding.

    Args:
      panels: Images, uint8 [H, W, 3], all of one size.

    Raises:
      ValueError: If the image is too small for that many windows.
    """
    # n² times the variance, in integers, so that sums and ties are exact.
    total = sum(panel.astype(np.int64) for panel in panels)
    squares: Any = sum(panel.astype(np.int64) ** 2 for panel in panels)
    variance = (len(panels) * squares - total**2).sum(axis=-1)
    integral = np.pad(variance.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops, lefts = (size // 20 for size in variance.shape)
    rows, columns = variance.shape[0] - height + 1, variance.shape[1] - width + 1
    sums = np.full((max(rows, 0), max(columns, 0)), -1)
    inside = np.s_[tops : rows - tops, lefts : columns - lefts]
    sums[inside] = (
        integral[height:, width:]
        - integral[:-height, width:]
        - integral[height:, :-width]
        + integral[:-height, :-width]
    )[inside]
    boxes = []
    for _ in range(count):
        if sums.max(initial=-1) < 0:
            raise ValueError(
                f"An image of {variance.shape[1]} x {variance.shape[0]} pixels has no "
                f"room for {count} close-ups of {width} x {height}; place them by hand "
                "or request fewer."
            )
        y, x = map(int, np.unravel_index(sums.argmax(), sums.shape))
        boxes.append(Box(x, y, width, height))
        above, left = max(y - height - tops, 0), max(x - width - lefts, 0)
        sums[above : y + height + tops, left : x + width + lefts] = -1
    return boxes
