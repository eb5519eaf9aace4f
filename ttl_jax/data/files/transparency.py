"""Colours under transparent pixels."""

import numpy as np


def fill_hidden(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns colours in which each hidden pixel has that of the nearest visible one.

    Colours under alpha 0, such as black, must not reach a network, because the restoration
    of the surrounding pixels would depend on them.

    Args:
      colour: Pixels [H, W, C] of any type.
      alpha: Alpha [H, W] or [H, W, 1]; 0 hides a pixel. If there is no alpha, [H, W, 0],
        or no visible pixel, the colours are returned unchanged.
    """
    hidden = alpha.reshape(alpha.shape[:2] + (-1,)).min(axis=-1, initial=1) == 0
    if not hidden.any() or hidden.all():
        return colour
    filled = colour.copy()
    filled[hidden] = colour[_find_nearest(hidden)]
    return filled


def _find_nearest(hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row and column of the visible pixel nearest to each hidden one.

    The exact Euclidean distance, along one axis after the other (Felzenszwalb and
    Huttenlocher, Distance Transforms of Sampled Functions, 2012). All rows with a hidden
    pixel are treated at once. SciPy has such a function; this one needs only NumPy.
    """
    y, x = np.nonzero(hidden)
    nearest_row = _find_nearest_in_column(hidden)
    rows, places = np.unique(y, return_inverse=True)
    nearest_row = nearest_row[rows]
    heights = (nearest_row - rows[:, None]).astype(float) ** 2
    heights[nearest_row < 0] = np.inf
    column = _find_lowest_parabola(heights)[places, x]
    return nearest_row[places, column], column


def _find_nearest_in_column(hidden: np.ndarray) -> np.ndarray:
    """Returns the row of the nearest visible pixel of the column, [H, W]; -1 if none."""
    height = len(hidden)
    rows = np.arange(height)[:, None]
    above = np.maximum.accumulate(np.where(hidden, -1, rows))
    below = np.minimum.accumulate(np.where(hidden, height, rows)[::-1])[::-1]
    is_below = (below < height) & ((above < 0) | (below - rows < rows - above))
    return np.where(is_below, below, above)


def _find_lowest_parabola(heights: np.ndarray) -> np.ndarray:
    """Returns the column q of the least (x - q)² + heights[q] for each x, by row.

    Args:
      heights: Array [R, W]; infinite where a column has no parabola. Each row has at
        least one.
    """
    num_rows, width = heights.shape
    each = np.arange(num_rows)
    # Parabolas of the lower envelope, from left to right, and where each begins.
    vertices = np.zeros((num_rows, width), int)
    starts = np.full((num_rows, width + 1), np.inf)
    last = np.full(num_rows, -1)
    for q in range(width):
        rows = each[np.isfinite(heights[:, q])]
        start = np.full(len(rows), -np.inf)
        remaining = np.flatnonzero(last[rows] >= 0)
        while len(remaining):
            row = rows[remaining]
            v = vertices[row, last[row]]
            difference = heights[row, q] + q**2 - heights[row, v] - v**2
            start[remaining] = difference / (2 * (q - v))
            hides = start[remaining] <= starts[row, last[row]]
            last[row[hides]] -= 1
            remaining = remaining[hides]
        last[rows] += 1
        vertices[rows, last[rows]] = q
        starts[rows, last[rows]] = start
        starts[rows, last[rows] + 1] = np.inf
    nearest = np.empty((num_rows, width), int)
    at = np.zeros(num_rows, int)
    for x in range(width):
        while (passed := starts[each, at + 1] < x).any():
            at[passed] += 1
        nearest[:, x] = vertices[each, at]
    return nearest
