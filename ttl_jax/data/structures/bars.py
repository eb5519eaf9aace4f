"""Structures of bars at equal distances in a plane: grids, fences, blinds, walls.

The public functions take the height and the width of a picture, in pixels, and a random
generator, and return a layer (see `paint`). Coordinates in a plane are in pixels, measured
at the centre of the picture, since the plane is in perspective.
"""

import math
from typing import NamedTuple

import numpy as np

from ttl_jax.data import randomness
from ttl_jax.data.structures import paint

_WIDTHS = 0.7, 6.0  # pixels, as for streaks


class _Plane(NamedTuple):
    """Coordinates of a plane seen at an angle, by pixel.

    Attributes:
      u: Across the bars, float32 [H, W], in pixels at the centre of the picture.
      v: Along the bars, likewise.
      step: Change of `u` per pixel, [H, W]; 1 at the centre.
    """

    u: np.ndarray
    v: np.ndarray
    step: np.ndarray


def _plane(
    height: int, width: int, rng: np.random.Generator, angle: float, bend: float = 0.0
) -> _Plane:
    """Returns a plane with bars at an angle to the vertical, in random perspective.

    `bend` is the largest deflection of the bars, divided by half the diagonal.
    """
    radius = math.hypot(height, width) / 2
    x = np.arange(width, dtype=np.float32)[None] - width / 2
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    cos, sin = math.cos(angle), math.sin(angle)
    away_x, away_y = (rng.uniform(-0.35, 0.35, 2) / radius).tolist()
    depth = 1 + away_x * x + away_y * y
    u = (x * cos + y * sin) / depth
    v = (y * cos - x * sin) / depth
    u += rng.uniform(-bend, bend) / radius * v * v
    return _Plane(u, v, _slope(u))


def _slope(u: np.ndarray) -> np.ndarray:
    """Returns the length of the gradient, [H, W], at least 0.001."""
    down, right = np.gradient(u)
    return np.maximum(np.sqrt(down * down + right * right), 1e-3)


def _bars(
    u: np.ndarray, step: np.ndarray, period: float, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws bars at every multiple of a period; `period` and `width` have the unit of `u`.

    Returns coverage [H, W]; the position across the bar from -1 to 1, [H, W]; and the
    number of the nearest bar, int [H, W].
    """
    number = np.rint(u / period)
    offset = u - number * period
    half = width / 2 / step  # pixels
    coverage = np.clip(half + 0.5 - np.abs(offset) / step, 0, np.minimum(1, 2 * half))
    return coverage, np.clip(offset * (2 / width), -1, 1), number.astype(int)


def _lit_bars(
    plane: _Plane, axis: str, period: float, width: float, color, rng
) -> np.ndarray:
    """Returns a layer of bars across the axis "u" or "v": flat, round or lit from a side."""
    across = getattr(plane, axis) + rng.uniform(0, period)
    step = plane.step if axis == "u" else _slope(plane.v)
    coverage, place, number = _bars(across, step, period, width)
    light = rng.normal(1, 0.06, 64).astype(np.float32)[number % 64]
    shape = rng.choice(("flat", "round", "side"))
    if shape == "round":
        light = light * (1.1 - rng.uniform(0.2, 0.7) * place * place)
    elif shape == "side":
        light = light * (1 + rng.uniform(-0.5, 0.5) * place)
    dirt = paint.unevenness(*light.shape, rng=rng, strength=0.25)
    return paint.fill(coverage, color, light * dirt)


def _patch(plane: _Plane, rng: np.random.Generator) -> list[float]:
    """Returns random bounds in a plane: left, right, top and bottom; some are infinite."""
    whole = 1.0 if rng.random() < 0.2 else 0.4
    bounds = []
    for coordinate in (plane.u, plane.v):
        low, high = float(coordinate.min()), float(coordinate.max())
        middle = low + (high - low) * rng.uniform(0.3, 0.7)
        before, after = ((high - low) * rng.uniform(0.15, 0.4, 2)).tolist()
        bounds += [middle - before, middle + after]
    for i in range(4):
        if rng.random() < whole:
            bounds[i] = math.copysign(math.inf, i % 2 - 0.5)
    return bounds


def _inside(plane: _Plane, bounds, margin: float = 0.0) -> np.ndarray:
    """Returns the coverage [H, W] of a part of a plane, enlarged by a margin."""
    left, right, top, bottom = bounds
    covered = np.ones_like(plane.u)
    distances = plane.u - left, right - plane.u, plane.v - top, bottom - plane.v
    for distance in distances:
        covered *= np.clip(distance + (margin + 0.5), 0, 1)
    return covered


def _framed(
    layer: np.ndarray, plane: _Plane, rng: np.random.Generator, frame: float
) -> np.ndarray:
    """Returns a part of a layer; with probability `frame`, it has a frame or posts."""
    bounds = _patch(plane, rng)
    part = layer * _inside(plane, bounds)
    if rng.random() >= frame:
        return part
    width = rng.uniform(2, 9)
    border = _inside(plane, bounds, width) - _inside(plane, bounds)
    light = paint.unevenness(*border.shape, rng=rng, strength=0.3)
    return paint.over(part, paint.fill(border, paint.color(rng), light))


def grid(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Bars in both directions: window bars, tiles, a cage."""
    plane = _plane(height, width, rng, paint.slant(rng), bend=0.1)
    thick = randomness.log_uniform(rng, *_WIDTHS)
    period = randomness.log_uniform(rng, max(5, 2.5 * thick), 70)
    other = max(5, 2.5 * thick, period * float(rng.choice((1, 1, rng.uniform(0.4, 4)))))
    color = paint.color(rng)
    upright = _lit_bars(plane, "u", period, thick, color, rng)
    level = _lit_bars(plane, "v", other, thick * rng.uniform(0.6, 1.4), color, rng)
    return _framed(paint.over(upright, level), plane, rng, frame=0.3)


def mesh(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A fence of woven wire, with diamond-shaped meshes."""
    plane = _plane(height, width, rng, rng.normal(0, 0.1), bend=0.15)
    thick = randomness.log_uniform(rng, 0.7, 3)
    period = randomness.log_uniform(rng, max(6, 4 * thick), 45)
    lean = rng.uniform(0.5, 1.0)
    color, wires, numbers = paint.color(rng), [], []
    for side in (-1, 1):
        across = plane.u * math.cos(lean) + plane.v * (side * math.sin(lean))
        coverage, place, number = _bars(across, _slope(across), period, thick)
        light = 1 + rng.uniform(0.1, 0.5) * place
        light *= paint.unevenness(height, width, rng, 0.25)
        wires.append(paint.fill(coverage, color, light))
        numbers.append(number)
    first_on_top = (numbers[0] + numbers[1]) % 2 == 0
    woven = np.where(first_on_top, paint.over(*wires), paint.over(*wires[::-1]))
    return _framed(woven, plane, rng, frame=0.5)


def wire_fence(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Parallel wires, close together or far apart, held by a few posts."""
    plane = _plane(height, width, rng, paint.slant(rng), bend=0.1)
    thick = randomness.log_uniform(rng, 0.7, 2.5)
    period = randomness.log_uniform(rng, max(5, 3 * thick), 60)
    wires = _lit_bars(plane, "u", period, thick, paint.color(rng), rng)
    apart, post = rng.uniform(60, 250), rng.uniform(2, 9)
    posts = _lit_bars(plane, "v", apart, post, paint.color(rng), rng)
    return _framed(paint.over(posts, wires), plane, rng, frame=0.2)


def railing(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Upright bars between two rails."""
    plane = _plane(height, width, rng, rng.normal(0, 0.08), bend=0.05)
    thick = randomness.log_uniform(rng, 1.2, _WIDTHS[1])
    period = thick * rng.uniform(2, 8)
    color = paint.color(rng)
    bars = _lit_bars(plane, "u", period, thick, color, rng)
    tall = height * rng.uniform(0.25, 0.9)
    top = rng.uniform(-0.5, 0.5) * height - tall / 2
    across = (plane.v - top, top + tall - plane.v)
    bars *= np.clip(np.minimum(*across) + 0.5, 0, 1)
    rail = thick * rng.uniform(1, 2.5)
    light = paint.unevenness(height, width, rng, 0.25)
    for distance in across:
        covered = np.clip(rail / 2 + 0.5 - np.abs(distance - rail), 0, 1)
        shade = color * rng.uniform(0.7, 1.3)
        bars = paint.over(paint.fill(covered, shade, light), bars)
    return bars


def blinds(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Slats with gaps or dark seams between them, shaded across, and their cords."""
    lie = math.pi / 2 if rng.random() < 0.6 else 0.0
    plane = _plane(height, width, rng, lie + rng.normal(0, 0.05), bend=0.02)
    period = randomness.log_uniform(rng, 4, 26)
    across = plane.u + rng.uniform(0, period)
    share = rng.uniform(0.5, 0.95)
    coverage, place, number = _bars(across, plane.step, period, share * period)
    light = 1 + rng.uniform(-0.35, 0.35) * place - rng.uniform(0, 0.25) * place**2
    light *= rng.normal(1, 0.03, 64).astype(np.float32)[number % 64]
    light *= paint.unevenness(height, width, rng, 0.2)
    slats = paint.fill(coverage, paint.color(rng, "bright bright any"), light)
    if rng.random() < 0.5:  # closed: the seams are dark
        dark = np.full_like(coverage, rng.uniform(0.5, 1))
        seams = paint.fill(dark, paint.color(rng, "dark"), np.ones_like(dark))
        slats = paint.over(slats, seams)
    apart, cord = rng.uniform(50, 160), rng.uniform(0.7, 2.5)
    cords = _lit_bars(plane, "v", apart, cord, paint.color(rng), rng)
    return _framed(paint.over(cords, slats), plane, rng, frame=0.7)


def wall(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A ribbed wall: corrugated sheet, boards, grooves or flutes, lit from one side."""
    plane = _plane(height, width, rng, paint.slant(rng), bend=0.03)
    period = randomness.log_uniform(rng, 3.5, 28)
    phase = (plane.u / period + rng.random()) % 1
    # Size of a pixel in periods; edges have this width, so they are smooth.
    soft = np.minimum(plane.step / period, 0.5)
    shape = rng.choice(("wave", "boards", "grooves", "flutes"))
    if shape == "wave":
        relief = np.cos(2 * math.pi * phase)
    elif shape == "boards":
        relief = 2 * np.minimum(phase / (1 - soft), (1 - phase) / soft) - 1
    elif shape == "grooves":
        groove = rng.uniform(0.04, 0.2)
        inside = np.clip((groove - np.abs(phase - 0.5)) / soft + 0.5, 0, 1)
        relief = 0.3 - 1.3 * inside
    else:
        relief = np.clip(np.sin(2 * math.pi * phase) * rng.uniform(1.5, 4), -1, 1)
    # Ribs finer than a pixel average out.
    relief *= np.clip(0.5 / soft - 1, 0, 1)
    light = 1 + math.copysign(rng.uniform(0.08, 0.5), rng.normal()) * relief
    light *= paint.unevenness(height, width, rng, 0.2)
    color = paint.color(rng, "dark bright any any any")
    ribbed = paint.fill(np.ones_like(light), color, light)
    return _framed(ribbed, plane, rng, frame=0.3)


def stripes(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Pin stripes on folded cloth, or shadows of bars on the scene."""
    plane = _plane(height, width, rng, paint.slant(rng), bend=0.2)
    thick = randomness.log_uniform(rng, 0.7, 4)
    period = randomness.log_uniform(rng, max(4, 2 * thick), 40)
    is_shadow = rng.random() < 0.4
    folds = paint.unevenness(
        height, width, rng, 0 if is_shadow else rng.uniform(0, 0.9)
    )
    across = plane.u + rng.uniform(6, 20) * folds
    coverage, _, _ = _bars(across, _slope(across), period, thick)
    light = np.ones_like(coverage)
    if is_shadow:
        shadow = coverage * rng.uniform(0.25, 0.7)
        shade = paint.fill(shadow, paint.color(rng, "dark"), light)
        return _framed(shade, plane, rng, frame=0)
    light *= 0.5 + 0.5 * folds
    ink, ground = paint.two_colors(rng)
    pin = paint.fill(coverage * rng.uniform(0.5, 1), ink, light)
    cloth = paint.fill(np.ones_like(light), ground, light)
    return _framed(paint.over(pin, cloth), plane, rng, frame=0)
