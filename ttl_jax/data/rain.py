"""Renders rain on clean photographs.

A streak is what a falling drop leaves while the shutter is open: it covers part of the
light that comes from the scene and adds the light that it refracts itself. Both happen
before the camera makes a picture of it, so everything here is composited in linear
light and encoded as sRGB at the end. Rain that is added to finished pixels instead
damages a photograph too little; "Removing Rain Streaks via Task Transfer Learning"
finds this the reason why networks trained on it do not transfer (Fig. 2).

Photographs are uint8 RGB [H, W, 3]; light is float32 in [0, 1], 1 the brightest that
sRGB can show. Lengths are in pixels of the photograph: the ranges suit sides of about
300 to 1000 pixels.
"""

import dataclasses
import math

import numpy as np
import scipy.ndimage


@dataclasses.dataclass(frozen=True, kw_only=True)
class RainParameters:
    """How it rains in one photograph.

    Attributes:
      density: Streaks per 10,000 pixels, all depths together; 0 to 400.
      length: Mean length of the nearest streaks, in pixels; 5 to 120.
      width: Width of the nearest streaks, in pixels (full width at half maximum);
        0.5 to 4. What is thinner than a pixel covers it only partly.
      angle: Tilt from the vertical, in degrees; -60 to 60. Streaks of positive angle
        fall towards the right.
      angle_spread: Standard deviation of the angle from streak to streak, in degrees;
        0 to 5.
      brightness: Light of a streak relative to the ambient light of the scene (see
        `ambient_light`); 0.5 to 1.2.
      opacity: How much of the scene the middle of a streak hides, on average; 0 to
        0.33, most streaks being fainter and a few much stronger. The longer the
        exposure, the longer the streaks and the lower this is.
      num_layers: Depths at which it rains; 1 to 4. Each lies 1.7 times as far as the one
        before: streaks shorter and thinner by that factor, and by its square more.
      defocus: Standard deviation, in pixels, of the blur of the nearest streaks, the
        camera being focused far away; 0 to 3.
      veil: Share of the scene's light that far rain and mist replace by ambient light;
        0 to 0.4.
    """

    density: float
    length: float
    width: float
    angle: float
    angle_spread: float
    brightness: float
    opacity: float
    num_layers: int
    defocus: float
    veil: float


INTENSITIES = ("light", "medium", "heavy")

# Lower and upper bound of each parameter that depends on the intensity. Chosen by eye
# beside real photographs; the PSNR of rainy against clean is then about 26 dB in light,
# 20 dB in medium and 16 dB in heavy rain, give or take 5 dB with the scene.
_RANGES = {
    "light": {
        "density": (30, 80),
        "length": (25, 70),
        "width": (0.8, 1.8),
        "opacity": (0.1, 0.25),
        "defocus": (0.0, 0.8),
        "veil": (0.0, 0.04),
    },
    "medium": {
        "density": (80, 180),
        "length": (35, 90),
        "width": (1.0, 2.2),
        "opacity": (0.12, 0.25),
        "defocus": (0.0, 1.0),
        "veil": (0.02, 0.1),
    },
    "heavy": {
        "density": (160, 320),
        "length": (45, 100),
        "width": (1.2, 2.6),
        "opacity": (0.12, 0.25),
        "defocus": (0.0, 1.2),
        "veil": (0.05, 0.18),
    },
}
_DEPTH_RATIO = 1.7  # from one layer to the next


def draw_parameters(rng: np.random.Generator, intensity: str) -> RainParameters:
    """Random parameters of "light", "medium" or "heavy" rain.

    Raises:
      ValueError: For any other intensity.
    """
    if intensity not in _RANGES:
        raise ValueError(f"Rain is one of {', '.join(INTENSITIES)}, not {intensity!r}.")
    drawn = {name: rng.uniform(*bounds) for name, bounds in _RANGES[intensity].items()}
    return RainParameters(
        **drawn,
        angle=float(np.clip(rng.normal(0, 15), -45, 45)),
        angle_spread=rng.uniform(0.5, 2.5),
        brightness=rng.uniform(0.75, 1.05),
        num_layers=int(rng.integers(3, 5)),
    )


def render(
    clean: np.ndarray, parameters: RainParameters, rng: np.random.Generator
) -> np.ndarray:
    """The photograph as it would have come out in the rain.

    Args:
      clean: uint8 [H, W, 3].
      parameters: How it rains; without streaks and veil the result equals `clean`.
      rng: Where each drop is; the same state gives the same rain.

    Returns:
      A new uint8 array [H, W, 3].
    """
    height, width, _ = clean.shape
    return composite(clean, cover(height, width, parameters, rng), parameters)


def cover(
    height: int, width: int, parameters: RainParameters, rng: np.random.Generator
) -> np.ndarray:
    """Share of each pixel's light that streaks hide: float32 [height, width] in [0, 1).

    Layers lie one behind the other, and streaks of one layer over another, so the light
    that passes is a product: the share is 1 - exp(-sum of what each streak covers).
    """
    depths = _DEPTH_RATIO ** np.arange(parameters.num_layers)
    num_streaks = parameters.density * height * width / 10_000
    shares = depths**2 / np.sum(depths**2)
    covered = np.zeros((height, width), np.float32)
    for depth, share in zip(depths, shares, strict=True):
        covered += _cover_layer(
            height, width, parameters, depth, num_streaks * share, rng
        )
    return -np.expm1(-covered)


def composite(
    clean: np.ndarray, alpha: np.ndarray, parameters: RainParameters
) -> np.ndarray:
    """Puts the veil and, before it, streaks that hide `alpha` of the light, on a scene.

    Note: the veil is the sum of the rain too far away to be seen as streaks, hence
    behind those that are.

    Args:
      clean: uint8 [H, W, 3].
      alpha: float32 [H, W] in [0, 1].
      parameters: Of these, `veil` and `brightness`.

    Returns:
      uint8 [H, W, 3].
    """
    light = srgb_to_linear(clean)
    ambient = ambient_light(light)
    light += np.float32(parameters.veil) * (ambient - light)
    light += alpha[..., None] * (np.float32(parameters.brightness) * ambient - light)
    return linear_to_srgb(light)


def ambient_light(light: np.ndarray) -> np.ndarray:
    """Light that comes from everywhere at once: float32 [3].

    A drop refracts nearly the whole surroundings, of which the sky is most of the light:
    the mean of the brightest tenth of the scene, three quarters of the way to grey, stands in for it.

    Args:
      light: float32 [H, W, 3].
    """
    # A subset of the pixels is enough for a mean and several times faster.
    pixels = light[::3, ::3].reshape(-1, 3)
    brightness = pixels.mean(axis=1)
    num_brightest = max(1, len(pixels) // 10)
    brightest = np.argpartition(brightness, -num_brightest)[-num_brightest:]
    colour = pixels[brightest].mean(axis=0)
    return (colour + 3 * colour.mean()) / 4


def srgb_to_linear(image: np.ndarray) -> np.ndarray:
    """Linear light, float32, of sRGB pixels, uint8 (IEC 61966-2-1)."""
    return _LINEAR_OF_SRGB[image]


def linear_to_srgb(light: np.ndarray) -> np.ndarray:
    """sRGB pixels, uint8, of linear light; the inverse of `srgb_to_linear`."""
    light = np.clip(light, 0, 1)
    encoded = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    return np.rint(encoded * 255).astype(np.uint8)


def _decode(encoded: np.ndarray) -> np.ndarray:
    return np.where(
        encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    )


_LINEAR_OF_SRGB = _decode(np.arange(256) / 255).astype(np.float32)


def _cover_layer(
    height: int,
    width: int,
    parameters: RainParameters,
    depth: float,
    num_streaks: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Sum of what the streaks of one layer cover, float32 [height, width], >= 0.

    Each streak is a line of points, spread over the four pixels around each; the blur
    that gives it its width is the same for the layer. So a streak covers
    opacity * width * length in total, whatever its place between the pixels.
    """
    length, thickness = parameters.length / depth, parameters.width / depth
    # Streaks whose middle lies outside still reach in; the wider area has more of them.
    margin = length
    area_ratio = (1 + 2 * margin / height) * (1 + 2 * margin / width)
    count = rng.poisson(num_streaks * area_ratio)
    middle_y = rng.uniform(-margin, height + margin, count)
    middle_x = rng.uniform(-margin, width + margin, count)
    lengths = length * rng.uniform(0.6, 1.4, count)
    angles = np.radians(rng.normal(parameters.angle, parameters.angle_spread, count))
    # Squaring makes most drops faint and a few strong; 3 keeps the mean.
    opacities = np.minimum(parameters.opacity * 3 * rng.uniform(0, 1, count) ** 2, 1)
    weights = opacities * thickness * lengths

    # Points about 0.7 pixels apart, along [-1/2, 1/2] of the streak's length.
    num_points = max(2, math.ceil(2 * length))
    along = (np.arange(num_points) + 0.5) / num_points - 0.5
    profile = np.cos(np.pi * along) ** 0.5  # the ends of a streak fade
    profile /= profile.sum()
    y = middle_y[:, None] + along * (lengths * np.cos(angles))[:, None]
    x = middle_x[:, None] + along * (lengths * np.sin(angles))[:, None]
    covered = _splat(height, width, y, x, weights[:, None] * profile)
    sigma = math.hypot(thickness / 2.355, parameters.defocus / depth)
    return scipy.ndimage.gaussian_filter(covered, sigma, mode="reflect", truncate=3)


def _splat(
    height: int, width: int, y: np.ndarray, x: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Adds each weight to the four pixels around (y, x); what falls outside is lost."""
    row, column = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    below, right = y - row, x - column
    # One pixel of frame on each side takes what reaches in from outside by half.
    inside = (row >= -1) & (row < height) & (column >= -1) & (column < width)
    below, right, weights = below[inside], right[inside], weights[inside]
    stride = width + 2
    corner = (row[inside] + 1) * stride + column[inside] + 1
    size = (height + 2) * stride
    total = np.zeros(size)
    for offset, share in (
        (0, (1 - below) * (1 - right)),
        (1, (1 - below) * right),
        (stride, below * (1 - right)),
        (stride + 1, below * right),
    ):
        total += np.bincount(corner + offset, weights * share, minlength=size)
    return total.reshape(height + 2, stride)[1:-1, 1:-1].astype(np.float32)
