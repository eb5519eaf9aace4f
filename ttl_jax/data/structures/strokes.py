"""Structures of single strokes: power lines, twigs, grass and hair.

The public functions take the height and the width of a picture, in pixels, and a random
generator, and return a layer (see `paint`). Points are x to the right and y down, in pixels;
a positive angle to the vertical leans to the right.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from ttl_jax.data import randomness
from ttl_jax.data.structures import paint

_FINE = 4  # drawn pixels per pixel of the photograph and axis, for smooth edges


def _strokes(
    shape: tuple[int, int],
    points: np.ndarray,
    widths: np.ndarray,
    colors: np.ndarray,
    light: float = 0.0,
) -> np.ndarray:
    """Returns the layer of curves that are drawn on top of each other.

    Args:
      shape: Height and width of the picture.
      points: Points x, y of each curve, [N, P, 2].
      widths: Width at each point, [N, P].
      colors: Colour of each curve, [N, 3].
      light: Brightening of the right side, from -1 (darker) to 1.
    """
    if light:  # the lit side of a curve follows it, so nearer curves cover both
        beside = points + np.stack([0.25 * widths, 0 * widths], axis=-1)
        points = _alternate(points, beside)
        widths = _alternate(widths, 0.4 * widths)
        colors = _alternate(colors, colors * (1 + light))
    # In CMYK, Pillow averages each band separately. In RGBA it would divide by alpha, which
    # takes four times as long.
    image = Image.new("CMYK", (shape[1] * _FINE, shape[0] * _FINE))
    pen = ImageDraw.Draw(image)
    fills = np.rint(np.clip(colors, 0, 1) * 255).astype(int).tolist()
    for outline, fill in zip(_outlines(points, widths), fills, strict=True):
        pen.polygon(outline, fill=(*fill, 255))
    drawn = np.asarray(image.reduce(_FINE), np.float32) / 255
    return np.ascontiguousarray(np.moveaxis(drawn, -1, 0))


def _outlines(points: np.ndarray, widths: np.ndarray) -> list[list[float]]:
    """Returns the corners (x, y, x, y, ...) of a polygon around each curve, in drawn pixels."""
    along = np.gradient(points, axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-6)
    normal = along[..., ::-1] * (-1, 1)
    # Pillow also fills the border of a polygon: half a drawn pixel on each side.
    half = np.maximum(widths * _FINE - 1, 0)[..., None] / 2
    sides = points * _FINE + normal * half, points * _FINE - normal * half
    around = np.concatenate([sides[0], sides[1][:, ::-1]], axis=1)
    return around.reshape(len(points), -1).tolist()


def _alternate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the rows of two arrays of the same shape, alternating."""
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def _bezier(start, control, end, count: int) -> np.ndarray:
    """Returns points of quadratic Bézier curves, [N, count, 2], from points [N, 2]."""
    t = np.linspace(0, 1, count)[None, :, None]
    start, control, end = (p[:, None] for p in (start, control, end))
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _varied(color, count: int, rng: np.random.Generator, spread: float) -> np.ndarray:
    """Returns variations of a colour, [count, 3], in brightness and slightly in hue."""
    brightness = np.exp(rng.normal(0, spread, (count, 1)))
    return np.clip(color * brightness * rng.normal(1, 0.25 * spread, (count, 3)), 0, 1)


def wires(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Power lines that sag between masts outside the picture, or hanging cables."""
    count, reach = int(rng.integers(1, 9)), math.hypot(height, width)
    angle = math.pi / 2 + paint.slant(rng) if rng.random() < 0.5 else rng.normal(0, 0.3)
    t = np.linspace(-0.7, 0.7, 28)
    spread = rng.uniform(4, 0.6 * height / count + 5)
    fan = rng.normal(0, 0.12)  # lines run together in the distance
    offsets = spread * (np.arange(count) - count / 2 + rng.normal(0, 0.3, count))
    sag = rng.uniform(0, 0.15) * reach * (t**2 - 0.25)
    across = offsets[:, None] * (1 + fan * 4 * t) - sag
    along = np.broadcast_to(t * reach, across.shape)
    cos, sin = math.cos(angle), math.sin(angle)
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    x, y = along * cos - across * sin, along * sin + across * cos
    points = np.stack([x, y], axis=-1) + centre
    thick = randomness.log_uniform(rng, 0.7, 3.5)
    widths = np.broadcast_to(thick * (1 + 1.2 * abs(fan) * t), across.shape)
    colors = _varied(paint.color(rng, "dark dark bright any"), count, rng, 0.1)
    shape = height, width
    return _strokes(shape, points, widths, colors, rng.uniform(-0.3, 0.6))


def twigs(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Bare branches that grow from a border into the picture."""
    branches, length = [], min(height, width)
    for _ in range(rng.integers(1, 4)):
        edge = rng.uniform(0, 2 * math.pi)
        direction = np.array([math.cos(edge), math.sin(edge)])
        on_border = direction / np.abs(direction).max()
        root = np.array([width, height]) * (0.5 + 0.52 * on_border)
        inward = edge + math.pi + rng.normal(0, 0.5)
        thick = rng.uniform(2.5, 8)
        branches += _grow(root, inward, thick, length * rng.uniform(0.25, 0.6), rng)
    points, widths = (np.stack(part) for part in zip(*branches, strict=True))
    bark = paint.color(rng, "dark dark any bright") * (1.05, 1.0, 0.92)  # brown
    colors = _varied(bark, len(points), rng, 0.15)
    return _strokes((height, width), points, widths, colors, rng.uniform(-0.4, 0.8))


_MOST_BRANCHES = 130  # of a tree


def _grow(root, angle, thick, length, rng):
    """Returns the branches of a tree as (points [8, 2], widths [8]), the thickest first."""
    waiting, branches = [(root, angle, thick, length)], []
    while waiting and len(branches) < _MOST_BRANCHES:
        start, angle, thick, length = waiting.pop(0)
        turns = angle + np.cumsum(rng.normal(0, 0.16, 7))
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=-1) * (length / 7)
        points = np.vstack([start, start + np.cumsum(steps, axis=0)])
        widths = np.linspace(thick, max(0.6 * thick, 0.5), 8)
        branches.append((points, widths))
        if thick < 0.9 or length < 10:
            continue
        # One branch continues at the end; others start at the sides.
        waiting.append((points[7], turns[6], widths[7], 0.8 * length))
        for _ in range(rng.integers(1, 5)):
            at = rng.integers(2, 8)
            aside = rng.choice((-1, 1)) * rng.uniform(0.3, 1.0)
            waiting.append((
                points[at],
                turns[at - 1] + aside,
                widths[at] * rng.uniform(0.45, 0.8),
                length * rng.uniform(0.35, 0.75),
            ))  # fmt: skip
    return branches


def grass(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Blades of grass at the lower border or on the ground; the nearest is drawn last."""
    count = int(rng.uniform(0.15, 0.9) * width)
    tall = min(height * rng.uniform(0.12, 0.6), 200)
    near = np.sort(rng.random(count))  # 0: far, 1: near
    ground = height * rng.uniform(0, 0.6) * rng.integers(0, 2)
    x = rng.uniform(-0.1, 1.1, count) * width
    y = height + 4 - ground * (1 - near)
    start = np.stack([x, y], axis=-1)
    size = tall * (0.4 + 0.6 * near) * rng.uniform(0.4, 1, count)
    wind = rng.normal(0, 0.2)
    lean = wind + rng.normal(0, rng.uniform(0.1, 0.4), count)
    bow = lean + rng.normal(0, 0.5, count)
    control = start + 0.6 * size[:, None] * _up(lean)
    end = control + 0.5 * size[:, None] * _up(bow)
    points = _bezier(start, control, end, 9)
    thick = (
        randomness.log_uniform(rng, 0.9, 4.5)
        * (0.5 + 0.5 * near)
        * rng.uniform(0.6, 1.4, count)
    )
    taper = 1 - 0.85 * np.linspace(0, 1, 9) ** 1.5
    color = np.array(_GRASS[rng.integers(len(_GRASS))]) * rng.uniform(0.5, 1.3)
    colors = _varied(color, count, rng, rng.uniform(0.15, 0.45))
    widths = thick[:, None] * taper
    return _strokes((height, width), points, widths, colors, rng.uniform(-0.3, 0.4))


# Fresh, dark, yellowish, dry and pale, reddish.
_GRASS = (
    (0.35, 0.55, 0.15), (0.12, 0.25, 0.08), (0.6, 0.62, 0.2), (0.75, 0.68, 0.45),
    (0.85, 0.85, 0.7), (0.5, 0.35, 0.2),
)  # fmt: skip


def _up(lean: np.ndarray) -> np.ndarray:
    """Returns the directions [N, 2] of angles to the vertical."""
    return np.stack([np.sin(lean), -np.cos(lean)], axis=-1)


def hair(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Fur, a lock of long hair, or a few single strands."""
    kind = rng.choice(("fur", "fur", "lock", "strands"))
    thick = randomness.log_uniform(rng, 0.8, 1.8)
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    points = {"fur": _coat, "lock": _lock, "strands": _loose}[kind](centre, thick, rng)
    count, length, _ = points.shape
    taper = 1 - 0.6 * np.linspace(-0.8, 1, length) ** 2
    widths = thick * rng.uniform(0.7, 1.3, (count, 1)) * taper
    # Single bright strands could be real rain, so they are rare.
    levels = "dark dark dark any" if kind == "strands" else "dark any bright"
    color = paint.color(rng, levels) * (1.1, 1.0, 0.88)  # brown
    colors = _varied(color, count, rng, rng.uniform(0.15, 0.4))
    strands = _strokes((height, width), points, widths, colors)
    if kind == "strands":
        return strands
    below = np.clip(1.5 * paint.blur(strands[3], 2.5) - 0.25, 0, 1)
    shade = paint.unevenness(height, width, rng, 0.2) * rng.uniform(0.4, 0.8)
    return paint.over(strands, paint.fill(below, color, shade))


def _coat(centre, thick, rng) -> np.ndarray:
    """Returns dense curves of fur, [N, 7, 2], around a centre; hairs are `thick` wide."""
    count, length = rng.integers(400, 700), rng.uniform(10, 40)
    radius = math.sqrt(0.5 * count * length * thick) * rng.uniform(0.6, 1.6, 2)
    reach = np.sqrt(rng.random(count)) * rng.normal(1, 0.05, count)
    around = rng.uniform(0, 2 * math.pi, count)
    offset = reach[:, None] * np.stack([np.cos(around), np.sin(around)], axis=-1)
    offset = offset[np.argsort(offset[:, 1])]  # lower hairs are drawn on top
    # The direction of the fur changes slowly over the picture.
    lean = rng.uniform(0, 2 * math.pi) + offset @ rng.normal(0, 0.6, 2)
    lean += rng.normal(0, rng.uniform(0.05, 0.25), count)
    size = length * rng.uniform(0.6, 1.2, (count, 1))
    start = centre + 0.5 * radius * offset
    control = start + 0.5 * size * _up(lean)
    return _bezier(start, control, control + 0.5 * size * _up(lean + 0.4), 7)


def _lock(centre, thick, rng) -> np.ndarray:
    """Returns curves of long hair, [N, 24, 2], side by side in waves."""
    count, length = rng.integers(80, 260), rng.uniform(120, 420)
    t = np.linspace(-0.5, 0.5, 24)
    place = rng.normal(0, 1, (count, 1))
    spread = 0.4 * count * thick * rng.uniform(0.15, 0.5)
    narrow = 1 + rng.uniform(-0.8, 0.8) * t
    waves = rng.uniform(0.5, 3) * 2 * math.pi * t + 0.6 * place + rng.uniform(0, 6)
    across = spread * place * narrow + rng.uniform(2, 14) * np.sin(waves)
    across += rng.normal(0, spread * 0.3, (count, 1)) * t
    along = length * (t + rng.normal(0, 0.06, (count, 1)))
    cos, sin = np.cos(angle := paint.slant(rng)), np.sin(angle)
    turned = np.stack([across * cos - along * sin, across * sin + along * cos], axis=-1)
    return centre + turned


def _loose(centre, _, rng) -> np.ndarray:
    """Returns single scattered curves, [N, 9, 2]."""
    count = rng.integers(8, 40)
    start = centre + rng.normal(0, 90, (count, 2))
    lean = paint.slant(rng) + rng.normal(0, 0.3, count)
    size = rng.uniform(30, 150, (count, 1))
    control = start + 0.5 * size * _up(lean)
    end = control + 0.5 * size * _up(lean + rng.normal(0, 0.5, count))
    return _bezier(start, control, end, 9)
