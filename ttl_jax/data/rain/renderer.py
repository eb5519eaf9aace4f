"""Renders rain on clean photographs.

A streak is the trace of a falling drop while the shutter is open. At every moment the drop
blocks the light behind its silhouette and shows the light that it refracts. Both happen in
front of the camera, so everything is composited in linear light and photographed at the
end. Rain that is added to pixel values (`add`) damages a photograph too little. According to
"Removing Rain Streaks via Task Transfer Learning", this is why networks trained on it do not
transfer (Fig. 2).

Drops have the sizes and speeds of `raindrops`. For a lens with a focal length of f pixels, a
drop of diameter D at depth z is D f / z wide and falls v t f / z far in the exposure time
t. Near drops are drawn one by one. Farther drops are drawn in layers, as random fields with
the same mean, variance, streak and blur. Rain beyond these is a uniform veil.

Photographs are uint8 RGB [H, W, 3]; light is linear, with white at 1. The place
of a crop in its photograph does not matter; only its ambient light may be given.

References:
  Garg and Nayar, Vision and rain, IJCV 75, 2007: geometry and light of streaks.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage
from PIL import Image

from ttl_jax.data import randomness
from ttl_jax.data.rain import camera as cameras
from ttl_jax.data.rain import raindrops, streaks

Real = Any  # a number, or an array of numbers


@dataclasses.dataclass(frozen=True, kw_only=True)
class RainParameters:
    """The rain in one photograph, and the camera settings. `_BOUNDS` has the valid ranges.

    Attributes:
      rain_rate: Rain rate, in mm/h.
      wind: Horizontal speed of the drops across the view, in m/s; positive to the right.
      gust: Standard deviation of the wind from drop to drop, in m/s.
      roll: Tilt of the camera, in degrees; if positive, streaks fall to the right.
      exposure: Exposure time, in s.
      focal_length: Focal length, in pixels of the whole photograph.
      aperture: Diameter of the aperture, in mm; larger means more defocus.
      focus: Distance in focus, in m.
      near: Distance of the nearest drops, in m.
      distance: Distance up to which drops are drawn, in m.
      brightness: Light of a drop divided by the ambient light of the scene
        (`ambient_light`); above 1, the sky is brighter than the photograph shows.
      veil: Share of the scene's light that is replaced by ambient light, because of mist
        and of the rain beyond `distance`.
      camera: Camera that turns light into pixels.
      lamp_rate: Frequency at which lamps flicker, in Hz. Near streaks then consist of
        dashes. Garg and Nayar (2007) explain similar dashes by the oscillation of drops.
      lamplight: Share of a drop's light that comes from the lamps of the scene instead of
        the sky, so that rain shows only around them.

    Raises:
      ValueError: If a value is out of range, or drops would be larger than 8000 pixels.
    """

    rain_rate: float
    wind: float
    gust: float
    roll: float
    exposure: float
    focal_length: float
    aperture: float
    focus: float
    near: float
    distance: float
    brightness: float
    veil: float
    camera: cameras.Camera = cameras.NEUTRAL
    lamp_rate: float = 0.0
    lamplight: float = 0.0

    def __post_init__(self):
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; expected {low} to {high}.")
        if self.distance < self.near:
            raise ValueError(
                f"distance is {self.distance}; expected near, {self.near}, or more."
            )
        reach = max(*_longest_trail(self), 6 * _widest_blur(self))
        if reach > _MAX_REACH:
            raise ValueError(
                f"The nearest drops extend over {reach:.0f} pixels, more than "
                f"{_MAX_REACH}; raise near, or lower exposure, aperture or focal_length."
            )


_BOUNDS = {
    "rain_rate": (0, 500), "wind": (-30, 30), "gust": (0, 10), "roll": (-90, 90),
    "exposure": (1e-4, 1), "focal_length": (10, 100_000), "aperture": (0, 100),
    "focus": (0.1, 10_000), "near": (0.1, 10_000), "distance": (0.1, 10_000),
    "brightness": (0, 10), "veil": (0, 1), "lamp_rate": (0, 1000), "lamplight": (0, 1),
}  # fmt: skip
_MAX_REACH = 8000  # pixels; more would fill the memory

INTENSITIES = ("light", "medium", "heavy")

# Rain rates in mm/h, and distances in m through rain and mist beyond the drawn drops. These
# and all ranges in `draw_parameters` were chosen by comparing pictures with real
# photographs. People photograph showers: in meteorology, all of these rates are moderate to
# violent. The mean PSNR of rainy against clean is about 27 dB in light, 23 dB in medium and
# 18 dB in heavy rain, with a spread of 8 dB.
_RAIN_RATES = {"light": (12, 35), "medium": (35, 80), "heavy": (80, 220)}
_VEILED_WAYS = {"light": (1, 15), "medium": (3, 25), "heavy": (5, 40)}

_STREAKS_PER_PIXEL = 0.04  # number of streaks drawn one by one, per pixel
_NUM_LAYERS = 3  # of the drops behind them

_HOLE_SHARES = (0.02, 0.25)  # smallest and largest share of the pixels
_SMEAR_SHARES = (0.02, 0.5)


def draw_parameters(
    rng: np.random.Generator, intensity: str, *, longer_side: int = 512
) -> RainParameters:
    """Returns random parameters of "light", "medium" or "heavy" rain.

    Only the rain rate and the veil depend on the intensity.

    Args:
      rng: Random generator.
      intensity: One of `INTENSITIES`.
      longer_side: Longer side of the whole photograph, in pixels, clipped to 64 to 8000;
        the size of streaks is proportional to it.

    Raises:
      ValueError: If the intensity is unknown.
    """
    if intensity not in INTENSITIES:
        raise ValueError(f"Rain is one of {', '.join(INTENSITIES)}, not {intensity!r}.")
    rain_rate = randomness.log_uniform(rng, *_RAIN_RATES[intensity])
    veiled_way = randomness.log_uniform(rng, *_VEILED_WAYS[intensity])
    return RainParameters(
        rain_rate=rain_rate,
        wind=rng.normal(0, 1.2),
        gust=rng.uniform(0.1, 0.6),
        roll=float(np.clip(rng.normal(0, 3), -10, 10)),
        exposure=randomness.log_uniform(rng, 1 / 600, 1 / 60),
        # 50 to 200 mm on film 36 mm wide.
        focal_length=randomness.log_uniform(rng, 50, 200)
        / 36
        * np.clip(longer_side, 64, 8000),
        aperture=randomness.log_uniform(rng, 2, 12),
        focus=randomness.log_uniform(rng, 3, 30),
        near=randomness.log_uniform(rng, 1, 4),
        distance=rng.uniform(5, 12),
        brightness=randomness.log_uniform(rng, 1.5, 5),
        veil=-math.expm1(-raindrops.extinction(rain_rate) * veiled_way),
        camera=cameras.draw_camera(rng),
    )


def render(
    clean: np.ndarray,
    parameters: RainParameters,
    rng: np.random.Generator,
    *,
    ambient: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the photograph with rain, a new uint8 array [H, W, 3].

    Without drops and veil, the result is `clean` as the camera would take it, which equals
    `clean` if the camera is neutral.

    Args:
      clean: Photograph, uint8 [H, W, 3].
      parameters: Rain and camera.
      rng: Random generator for drops and noise; the same state gives the same rain.
      ambient: `ambient_light` of the whole photograph if `clean` is a crop; by default
        that of `clean`.

    Raises:
      ValueError: If `clean` is not uint8 [H, W, 3], or `ambient` is not [3] in [0, 1].
    """
    _check(clean)
    ambient = ambient_light(clean) if ambient is None else np.asarray(ambient)
    if ambient.shape != (3,) or not np.all((ambient >= 0) & (ambient <= 1)):
        raise ValueError(f"Ambient light is [3] in [0, 1], not {ambient.tolist()}.")
    alpha = cover(*clean.shape[:2], parameters=parameters, rng=rng)
    return composite(clean, alpha, parameters, rng, ambient)


def add(
    clean: np.ndarray, parameters: RainParameters, rng: np.random.Generator
) -> np.ndarray:
    """Returns the photograph with additive rain, as a control.

    As in Rain100 and Rain1200, the streaks, `255 brightness cover(...)`, are added to
    the pixel values, and the sum is clipped. There is no veil and no camera. Arguments
    and errors are those of `render`.
    """
    _check(clean)
    alpha = cover(*clean.shape[:2], parameters=parameters, rng=rng)
    layer = 255 * parameters.brightness * alpha
    return np.rint(np.minimum(clean + layer[..., None], 255)).astype(np.uint8)


def occlude(
    clean: np.ndarray, parameters: RainParameters, rng: np.random.Generator
) -> np.ndarray:
    """Returns the photograph with holes in the shape of rain, in one random grey.

    The 2 to 25 % of the pixels that rain covers most become holes. Arguments and errors are
    those of `render`.
    """
    _check(clean)
    alpha = cover(*clean.shape[:2], parameters=parameters, rng=rng)
    threshold = np.quantile(alpha, 1 - rng.uniform(*_HOLE_SHARES))
    grey = rng.integers(256)
    return np.where((alpha > threshold)[..., None], np.uint8(grey), clean)


def smear(
    clean: np.ndarray, parameters: RainParameters, rng: np.random.Generator
) -> np.ndarray:
    """Returns the photograph behind translucent smears in the shape of rain, of one grey.

    As `occlude`, for 2 to 50 % of the pixels, with soft edges. If t is the threshold of
    `occlude`, opacity rises from 0 at t / 2 to its maximum, 0.05 to 1, at 3 t / 2. A
    smear only brightens, since a drop shows light from the sky and is brighter than
    nearly all that it hides (Garg and Nayar, 2007). Arguments and errors are those of
    `render`.
    """
    _check(clean)
    alpha = cover(*clean.shape[:2], parameters=parameters, rng=rng)
    edge = max(np.quantile(alpha, 1 - rng.uniform(*_SMEAR_SHARES)), 1e-6)
    opacity = rng.uniform(0.05, 1) * np.clip(alpha / edge - 0.5, 0, 1)
    gap = np.maximum(rng.integers(160, 256) - clean.astype(np.float32), 0)
    return np.rint(clean + opacity[..., None] * gap).astype(np.uint8)


def composite(
    clean: np.ndarray,
    alpha: np.ndarray,
    parameters: RainParameters,
    rng: np.random.Generator,
    ambient: np.ndarray,
) -> np.ndarray:
    """Returns a scene behind veil and drops, uint8 [H, W, 3].

    Args:
      clean: Photograph of the scene, uint8 [H, W, 3].
      alpha: Share of the light that drops block, float32 [H, W] in [0, 1].
      parameters: Rain and camera, of which `veil`, `brightness`, `lamplight` and `camera`
        are used.
      rng: Random generator for the camera's noise.
      ambient: Light as `ambient_light` returns it.
    """
    light = parameters.camera.scene_light(clean)
    ambient = parameters.camera.untone(ambient.astype(np.float32))
    light += np.float32(parameters.veil) * (ambient - light)
    drops = np.float32(parameters.brightness) * ambient
    if parameters.lamplight:
        drops = drops * _glow(light, parameters.lamplight)
    light += alpha[..., None] * (drops - light)
    return parameters.camera.photograph(light, rng)


def _glow(light: np.ndarray, share: float) -> np.ndarray:
    """Returns the light that falls on drops, relative to the largest, float32 [H, W, 1].

    A `share` of it comes from lamps. This part is the scene's light, blurred by a
    Gaussian with a standard deviation of a tenth of the shorter side. In a crop, only
    lamps within the crop are known.
    """
    height, width = light.shape[:2]
    factor = max(1, min(height, width) // 100)  # the blur needs no fine grid
    size = math.ceil(width / factor), math.ceil(height / factor)
    grey = Image.fromarray(light.mean(axis=-1, dtype=np.float32))
    coarse = np.asarray(grey.resize(size, Image.Resampling.BOX))
    lamps = scipy.ndimage.gaussian_filter(coarse, min(coarse.shape) / 10)
    lamps = Image.fromarray(lamps / max(lamps.max(), 1e-6))
    glow = np.asarray(lamps.resize((width, height), Image.Resampling.BILINEAR))
    return (1 - share + share * glow)[..., None]


def ambient_light(photograph: np.ndarray) -> np.ndarray:
    """Estimates the ambient light of a photograph, linear, float32 [3] in [0, 1].

    A drop refracts light from nearly all directions, most of it from the sky. The estimate
    is the mean of the brightest tenth of the pixels, desaturated by three quarters.

    Args:
      photograph: uint8 [H, W, 3].
    """
    # A subset of the pixels is enough for a mean, and several times as fast.
    pixels = cameras.NEUTRAL.scene_light(photograph[::3, ::3]).reshape(-1, 3)
    brightness = pixels.mean(axis=1)
    num_brightest = max(1, len(pixels) // 10)
    brightest = np.argpartition(brightness, -num_brightest)[-num_brightest:]
    color = pixels[brightest].mean(axis=0)
    return (color + 3 * color.mean()) / 4


def cover(
    height: int, width: int, parameters: RainParameters, rng: np.random.Generator
) -> np.ndarray:
    """Returns the share of light that drops block, float32 [height, width] in [0, 1).

    Drops are behind each other, so the transmitted light is a product: the blocked share
    is 1 - exp(-sum of the shares of all drops).
    """
    if parameters.rain_rate == 0:
        return np.zeros((height, width), np.float32)
    # Blurs in the Fourier domain wrap around, so a frame is added and cut off again.
    frame = math.ceil(3 * _widest_blur(parameters))
    canvas: Any = tuple(
        scipy.fft.next_fast_len(side + 2 * frame, real=True) for side in (height, width)
    )
    split = _split_depth(parameters)
    near = _near_streaks(canvas, parameters, split, rng)
    spectrum = streaks.draw_streaks(canvas, near)
    for field in _far_fields(parameters, split):
        spectrum += streaks.draw_field(canvas, field, rng)
    hidden: Any = scipy.fft.irfft2(spectrum, canvas, overwrite_x=True)
    hidden = hidden[frame : frame + height, frame : frame + width]
    return -np.expm1(-np.maximum(hidden, 0))


def _split_depth(parameters: RainParameters) -> float:
    """Returns the depth in m up to which drops are drawn one by one.

    The air in front of a pixel up to depth z has a volume of z ** 3 / (3 f ** 2).
    """
    drops = raindrops.moment(parameters.rain_rate, 0)
    air = 3 * parameters.focal_length**2 * _STREAKS_PER_PIXEL / drops
    return min(parameters.distance, (parameters.near**3 + air) ** (1 / 3))


def _near_streaks(
    canvas: tuple[int, int],
    parameters: RainParameters,
    split: float,
    rng: np.random.Generator,
) -> streaks.Streaks:
    """Returns the streaks of drops between `near` and `split`, at random positions."""
    # Streaks whose middle is outside may reach into the canvas.
    height, width = np.add(canvas, _longest_trail(parameters))
    near, far = parameters.near**3, split**3
    air = height * width * (far - near) / (3 * parameters.focal_length**2)
    count = rng.poisson(raindrops.moment(parameters.rain_rate, 0) * air)
    depth = np.cbrt(rng.uniform(near, far, count))
    diameter = raindrops.draw_diameters(rng, count, parameters.rain_rate)
    wind = rng.normal(parameters.wind, parameters.gust, count)
    down, right = _trail(parameters, depth, raindrops.fall_speed(diameter), wind)
    return streaks.Streaks(
        y=(canvas[0] - 1) / 2 + height * (rng.random(count) - 0.5),
        x=(canvas[1] - 1) / 2 + width * (rng.random(count) - 0.5),
        down=down,
        right=right,
        area=_silhouette(parameters, depth, diameter),
        blur=_blur(parameters, depth, diameter),
        dashes=np.full(count, parameters.lamp_rate * parameters.exposure),
    ).reaching(canvas)


def _far_fields(parameters: RainParameters, split: float) -> Iterator[streaks.Field]:
    """Yields the rain between `split` and `distance`, in layers."""
    if split == parameters.distance:
        return
    rate, focal_length = parameters.rain_rate, parameters.focal_length
    moments = [raindrops.moment(rate, order) for order in range(6)]
    # Drops and depths are weighted by the square of the light that they block, since this
    # determines the texture.
    diameter = moments[5] / moments[4]
    ends = np.geomspace(split, parameters.distance, _NUM_LAYERS + 1)
    for near, far in itertools.pairwise(ends):
        parallax = 1 / near - 1 / far
        depth = math.log(far / near) / parallax
        speed = raindrops.fall_speed(diameter)
        down, right = _trail(parameters, depth, speed, parameters.wind)
        yield streaks.Field(
            mean=raindrops.extinction(rate) * (far - near),
            # Integral of _silhouette ** 2 over all drops in front of a pixel.
            variance=(math.pi / 4 * 1e-6 * focal_length) ** 2 * moments[4] * parallax,
            down=down,
            right=right,
            blur=_blur(parameters, depth, diameter),
        )


def _silhouette(parameters: RainParameters, depth: Real, diameter: Real) -> Real:
    """Returns the area of drops in the photograph, in pixels.

    This is also the blocked share summed over a streak, since the share in a streak is the
    diameter divided by the length of the trail.
    """
    return math.pi / 4 * (1e-3 * parameters.focal_length * diameter / depth) ** 2


def _trail(
    parameters: RainParameters, depth: Real, fall: Real, wind: Real
) -> tuple[Real, Real]:
    """Returns the motion of drops during the exposure, down and right, in pixels."""
    roll = math.radians(parameters.roll)
    cos, sin = math.cos(roll), math.sin(roll)
    scale = parameters.exposure * parameters.focal_length / depth
    return scale * (cos * fall - sin * wind), scale * (sin * fall + cos * wind)


def _longest_trail(parameters: RainParameters) -> tuple[float, float]:
    """Returns the largest motion, down and right, for gusts up to 4 deviations."""
    fall, gust = raindrops.fall_speed(raindrops.MAX_DIAMETER), 4 * parameters.gust
    winds = parameters.wind - gust, parameters.wind + gust, 0
    trails = [_trail(parameters, parameters.near, fall, wind) for wind in winds]
    return tuple(np.abs(trails).max(axis=0))


def _blur(parameters: RainParameters, depth: Real, diameter: Real) -> Real:
    """Returns the standard deviation in pixels of drop, defocus and lens together.

    The standard deviation of a disc is a quarter of its diameter, along any line. The
    circle of confusion of a thin lens is aperture * focal length * |1 / depth - 1 / focus|,
    if the depth is much larger than the focal length.
    """
    confusion = parameters.aperture * np.abs(1 / depth - 1 / parameters.focus)
    quarter = 1e-3 * parameters.focal_length / 4
    return np.sqrt(
        (quarter * diameter / depth) ** 2
        + (quarter * confusion) ** 2
        + streaks.LENS_BLUR**2
    )


def _widest_blur(parameters: RainParameters) -> float:
    depths = np.array([parameters.near, parameters.distance])
    return float(_blur(parameters, depths, raindrops.MAX_DIAMETER).max())


def _check(clean: np.ndarray) -> None:
    if clean.dtype != np.uint8 or clean.shape[2:] != (3,) or not clean.size:
        raise ValueError(
            f"Expected a photograph uint8 [H, W, 3], not {clean.dtype} "
            f"{list(clean.shape)}; repeat the channel of a grey photograph."
        )
