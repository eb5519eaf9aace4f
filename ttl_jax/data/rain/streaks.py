"""Draws streaks: from positions, lengths and blurs to the share of light they block.

Sums and blurs are computed on spectra (`scipy.fft.rfft2` of a canvas [H, W]), so that any
number of blurs needs only one inverse transform.
"""

import dataclasses
import math

import numpy as np
import scipy.fft

LENS_BLUR = 0.5  # standard deviation in pixels, the smallest blur
_BLUR_RATIO = 1.5  # between successive levels to which blurs are rounded
_SPREAD = math.sqrt(1 / 6)  # mean deviation of a point spread over four pixels


@dataclasses.dataclass(frozen=True)
class Streaks:
    """Straight streaks, in pixels; each field is an array [num_streaks].

    Attributes:
      y: Row of the middle.
      x: Column of the middle.
      down: Rows from one end to the other.
      right: Columns from one end to the other.
      area: Blocked share of light, summed over the pixels.
      blur: Standard deviation of the profile, at least `LENS_BLUR`.
      dashes: Number of times that a streak swells and fades along its length; 0 for a
        uniform streak. One dash is brightest in the middle of the streak.
    """

    y: np.ndarray
    x: np.ndarray
    down: np.ndarray
    right: np.ndarray
    area: np.ndarray
    blur: np.ndarray
    dashes: np.ndarray

    def select(self, chosen: np.ndarray) -> "Streaks":
        """Returns the streaks for which `chosen`, bool [num_streaks], is true."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Streaks(*(values[chosen] for values in fields))

    def reaching(self, canvas: tuple[int, int]) -> "Streaks":
        """Returns the streaks that reach a canvas [H, W], without their blur."""
        height, width = canvas
        return self.select(
            (np.abs(2 * self.y - height + 1) <= height + 1 + np.abs(self.down))
            & (np.abs(2 * self.x - width + 1) <= width + 1 + np.abs(self.right))
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """Many streaks as a homogeneous random field.

    Attributes:
      mean: Sum of the shares of light that streaks block, per pixel.
      variance: Sum of the squares of these shares, per pixel.
      down: Rows from one end of a streak to the other.
      right: Columns from one end to the other.
      blur: Standard deviation of the streaks' profile, in pixels.
    """

    mean: float
    variance: float
    down: float
    right: float
    blur: float


def draw_streaks(canvas: tuple[int, int], streaks: Streaks) -> np.ndarray:
    """Returns the spectrum of the sum of streaks, complex64.

    Blurs are rounded to a few levels.
    """
    levels = np.rint(np.log(streaks.blur / LENS_BLUR) / math.log(_BLUR_RATIO))
    spectrum = np.zeros((canvas[0], canvas[1] // 2 + 1), np.complex64)
    for level in np.unique(levels):
        blur = LENS_BLUR * _BLUR_RATIO**level
        # Points at most 1.6 deviations apart are blurred to an even line.
        step = max(1, int(1.6 * blur))
        points = _splat(canvas, streaks.select(levels == level), step)
        spectrum += scipy.fft.rfft2(points) * _gaussian(canvas, blur)  # pyright: ignore[reportOperatorIssue]
    return spectrum


def draw_field(
    canvas: tuple[int, int], field: Field, rng: np.random.Generator
) -> np.ndarray:
    """Returns the spectrum of a random field of streaks, complex64.

    Streaks of many sizes are replaced by streaks of one size whose sum has the same mean
    and variance (a scaled Poisson variable instead of a compound one). The points are on
    the grid, so they get an additional blur: the one that spreading a point over four
    pixels has on average.
    """
    area = field.variance / field.mean
    points = rng.poisson(field.mean / area, canvas).astype(np.float32)
    return (  # pyright: ignore[reportReturnType]
        scipy.fft.rfft2(np.float32(area) * points)
        * _gaussian(canvas, math.hypot(field.blur, _SPREAD))
        * _motion(canvas, field.down, field.right)
    )


def _frequencies(canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frequencies of rows [H, 1] and columns [W // 2 + 1], cycles per pixel."""
    rows, columns = scipy.fft.fftfreq(canvas[0]), scipy.fft.rfftfreq(canvas[1])
    return rows[:, None].astype(np.float32), columns.astype(np.float32)


def _gaussian(canvas: tuple[int, int], deviation: float) -> np.ndarray:
    """Returns the spectrum of a discrete Gaussian blur, whose kernel is positive.

    The kernel is exp(-v) I_n(v) for the variance v (Lindeberg, Scale-space for discrete
    signals, PAMI 12, 1990). The spectrum of a continuous Gaussian would cause ringing at
    such small deviations.
    """
    rows, columns = (
        np.exp(np.float32(deviation**2) * (np.cos(2 * np.pi * frequencies) - 1))
        for frequencies in _frequencies(canvas)
    )
    return rows * columns


def _motion(canvas: tuple[int, int], down: float, right: float) -> np.ndarray:
    """Returns the spectrum of the blur of a straight motion at constant speed."""
    rows, columns = _frequencies(canvas)
    return np.sinc(rows * np.float32(down) + columns * np.float32(right))


def _splat(canvas: tuple[int, int], streaks: Streaks, step: int) -> np.ndarray:
    """Returns streaks as lines of points, `step` rows or columns apart, float32 [H, W].

    Each point is spread over four pixels; parts outside the canvas are lost. Steps are
    nearly integers, so all points of a streak are spread in nearly the same way, and no
    moiré appears.
    """
    lengths = np.maximum(np.abs(streaks.down), np.abs(streaks.right))
    counts = np.maximum(1, np.rint(lengths / step)).astype(int)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    along = (number + 0.5) / counts[owner] - 0.5
    y = streaks.y[owner] + along * streaks.down[owner]
    x = streaks.x[owner] + along * streaks.right[owner]
    # The mean of 1 + cos over the length is 1 + sinc.
    swell = 1 + np.cos(2 * np.pi * streaks.dashes[owner] * along)
    swell /= 1 + np.sinc(streaks.dashes)[owner]
    return _splat_points(canvas, y, x, (streaks.area / counts)[owner] * swell)


def _splat_points(
    canvas: tuple[int, int], y: np.ndarray, x: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Adds each weight to the four pixels around (y, x)."""
    height, width = canvas
    # A frame of one pixel is for points just outside, which reach into the canvas.
    inside = (y >= -1) & (y < height) & (x >= -1) & (x < width)
    y, x, weights = y[inside], x[inside], weights[inside]
    row, column = np.floor(y).astype(int), np.floor(x).astype(int)
    below, right = y - row, x - column
    stride = width + 2
    corner = (row + 1) * stride + column + 1
    total = np.zeros((height + 2) * stride)
    for offset, share in (
        (0, (1 - below) * (1 - right)),
        (1, (1 - below) * right),
        (stride, below * (1 - right)),
        (stride + 1, below * right),
    ):
        total += np.bincount(corner + offset, weights * share, minlength=len(total))
    return total.reshape(height + 2, stride)[1:-1, 1:-1].astype(np.float32)
