"""Windows of an image, which are restored one by one and blended.

If a window starts at a multiple of the network's `grid`, a network with local sums uses the
same cells and pools in the window as in the whole image. Restoring is therefore defined by
windows, and gives the same result on every machine:

1. An image with a side under half of the grid is left as it is: its window would be
   mostly reflection, whose repetition resembles rain. Other images are padded to
   multiples of the grid by reflection, at the bottom and on the right.
2. Each axis is covered by the fewest windows of at most `side` pixels that share
   `overlap` pixels with their neighbours. Their sides are equal; where they do not
   divide evenly, the first ones are one step of the grid larger.
3. Each window is restored alone.
4. Across shared pixels, weights go linearly from one window to the next.

An axis of P padded pixels is read as fewer than P * side / (side - overlap) pixels: 1.25 P
with 960 and 192. So the windows of an image have less than 1.57 times its padded
pixels, and 1.38 to 1.5 times its own pixels for common cameras. In an image of one
window, padding multiplies the pixels by at most 1.35 if the sides have 390 pixels or
more (grid 64). With sides of 32 pixels the factor is up to 4, but the time is small.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

# benchmarks/NOTES.md, "Windows", compares sizes and overlaps.
SIDE = 960  # pixels
OVERLAP = 192  # pixels

# Rows that `blend` yields at once; few, since callers make several copies of them.
_STRIP = 64


class Window(NamedTuple):
    """A rectangle of the padded image, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Axis:
    """Windows along one axis of an image.

    Attributes:
      length: Side of the image, in pixels.
      starts: First pixel of each window.
      sides: Number of pixels of each window; the last one may end beyond the image.
      overlap: Number of pixels that two neighbours share.
    """

    length: int
    starts: Sequence[int]
    sides: Sequence[int]
    overlap: int = 0

    def weights(self) -> list[np.ndarray]:
        """Returns the weight of each pixel of each window, float32 [side].

        Weights have the sum 1 at each pixel of the image, and are 0 beyond it.
        """
        ramp = (np.arange(self.overlap, dtype=np.float32) + 0.5) / self.overlap
        weights = [np.ones(side, np.float32) for side in self.sides]
        for before, after in itertools.pairwise(weights):
            before[-self.overlap :] = 1 - ramp
            after[: self.overlap] = ramp
        weights[-1][self.length - self.starts[-1] :] = 0
        return weights


@dataclasses.dataclass(frozen=True)
class Plan:
    """Windows of an image: all combinations of rows and columns of windows."""

    rows: Axis
    columns: Axis

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def __iter__(self) -> Iterator[Window]:
        """Yields the windows, row by row."""
        for top, height in zip(self.rows.starts, self.rows.sides):
            for left, width in zip(self.columns.starts, self.columns.sides):
                yield Window(top, left, height, width)


def plan(
    height: int,
    width: int,
    *,
    grid: int | None,
    side: int = SIDE,
    overlap: int = OVERLAP,
) -> Plan:
    """Returns the windows of an image.

    Args:
      grid: Grid on which windows must start, in pixels. None means one window without
        padding, for networks that need the whole image.
      side: Largest side of a window, in pixels; rounded down to a multiple of the grid, and
        at least three overlaps.
      overlap: Overlap of neighbouring windows, in pixels; rounded up to a multiple of the
        grid.
    """
    if grid is None:
        return Plan(Axis(height, (0,), (height,)), Axis(width, (0,), (width,)))
    shared = _ceil_divide(overlap, grid)
    most = largest_side(grid, side, overlap) // grid
    return Plan(_divide(height, grid, most, shared), _divide(width, grid, most, shared))


def largest_side(grid: int, side: int, overlap: int) -> int:
    """Returns the side of the largest windows that `plan` makes, in pixels."""
    return max(side // grid, 3 * _ceil_divide(overlap, grid)) * grid


def is_too_small(height: int, width: int, grid: int | None) -> bool:
    """Whether an image is left as it is, see above."""
    return grid is not None and 2 * min(height, width) < grid


def _divide(length: int, grid: int, most: int, shared: int) -> Axis:
    """Returns the windows of one axis; `most` and `shared` count steps of the grid."""
    steps = _ceil_divide(length, grid)
    count = max(_ceil_divide(steps - shared, most - shared), 1)
    # Divide the sum of all sides equally; the first windows get the remainder.
    least, num_larger = divmod(steps + (count - 1) * shared, count)
    sides = [(least + (k < num_larger)) * grid for k in range(count)]
    steps_between = [side - shared * grid for side in sides[:-1]]
    starts = itertools.accumulate(steps_between, initial=0)
    return Axis(length, tuple(starts), tuple(sides), shared * grid)


def read(image: np.ndarray, window: Window) -> np.ndarray:
    """Returns the pixels of a window, [h, w, C], with reflection beyond the image."""
    rows = _reflect(window.top, window.height, image.shape[0])
    columns = _reflect(window.left, window.width, image.shape[1])
    return image[rows[:, None], columns]


def blend(
    plan: Plan, restored: Iterable[np.ndarray]
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blends restored windows, with memory for one row of windows.

    Args:
      restored: Values of each window, float32 [h, w, 3], in the order of the plan; read as
        rows of the image are needed.

    Yields:
      A slice of rows of the image and their values, float32 [rows, W, 3], from top to
      bottom. Later steps overwrite the values.
    """
    rows, columns = plan.rows, plan.columns
    restored = iter(restored)
    band = np.zeros((max(rows.sides), columns.length, 3), np.float32)
    stops = (*rows.starts[1:], rows.length)
    for start, stop, row_weights in zip(rows.starts, stops, rows.weights()):
        height, num_done = len(row_weights), stop - start
        for left, column_weights in zip(columns.starts, columns.weights()):
            weights = row_weights[:, None] * column_weights
            weighted = weights[..., None] * next(restored)
            target = band[:height, left : left + len(column_weights)]
            target += weighted[:, : target.shape[1]]
        for top in range(0, num_done, _STRIP):
            strip = slice(top, min(top + _STRIP, num_done))
            yield slice(start + strip.start, start + strip.stop), band[strip]
        # Keep the rows of the overlap with the next windows.
        band[: height - num_done] = band[num_done:height]
        band[height - num_done :] = 0


def _reflect(start: int, count: int, length: int) -> np.ndarray:
    """Returns indices from `start` on, reflected at the ends; no end is repeated."""
    period = max(2 * (length - 1), 1)
    indices = np.arange(start, start + count) % period
    return np.minimum(indices, period - indices)


def _ceil_divide(number: int, divisor: int) -> int:
    return -(-number // divisor)
