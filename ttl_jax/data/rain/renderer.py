"""Renders rain on clean photographs.

A streak is what a falling drop leaves while the shutter is open: at every moment the
drop hides its silhouette and shows the light that it refracts instead. Both happen
before the camera makes a picture of it, so everything here is composited in linear
light and photographed at the end. Rain that is added to finished pixels instead (`add`)
damages a photograph too little; "Removing Rain Streaks via Task Transfer Learning"
finds this the reason why networks trained on it do not transfer (Fig. 2).

Drops have the sizes and speeds of `raindrops`. Seen through a lens of focal length f
pixels, a drop of diameter D at depth z is D f / z wide and falls v t f / z far in the
exposure time t. Near drops are drawn one by one; those behind, too many to be told
apart, layer by layer as a random field of the same mean, variance, streak and blur; what
lies behind these is veil.

Photographs are uint8 RGB [H, W, 3]; light is linear, 1 what comes out white. Nothing
depends on where in a larger photograph a crop was, but for its ambient light, which
may be given.

References:
  Garg and Nayar, Vision and rain, IJCV 75, 2007: geometry and light of streaks.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
import scipy.fft

from ttl_jax.data.rain import camera as cameras
from ttl_jax.data.rain import raindrops, streaks


@dataclasses.dataclass(frozen=True, kw_only=True)
class RainParameters:
    """How it rains in one photograph, and how it is taken.

    Attributes:
      rain_rate: In mm/h; 0 to 500.
      wind: Horizontal speed of the drops across the view, in m/s; -30 to 30. Positive
        wind carries them to the right.
      gust: Standard deviation of the wind from drop to drop, in m/s; 0 to 10.
      roll: Tilt of the camera, in degrees; -90 to 90. Positive roll turns the streaks
        towards falling to the right.
      exposure: Time the shutter is open, in s; 0.0001 to 1.
      focal_length: In pixels: that in mm over the sensor's width in mm, times the width
        of the whole photograph in pixels; 10 to 100,000.
      aperture: Diameter of the lens's opening, in mm (focal length over f-number); 0 to
        100. The larger, the more is out of focus.
      focus: Distance that is sharp, in m; 0.1 to 10,000.
      near: Distance from which on it rains, in m; 0.1 to 10,000.
      distance: Distance up to which drops are drawn, in m; `near` to 10,000.
      brightness: Light of a drop relative to the ambient light of the scene (see
        `ambient_light`); 0 to 10. Above 1 the sky is brighter than the photograph shows.
      veil: Share of the scene's light that is replaced by ambient light on its way
        through the rain behind `distance` and through mist; 0 to 1.
      camera: What makes a file of the light.
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
                f"The nearest drops reach over {reach:.0f} pixels, more than "
                f"{_MAX_REACH}; raise near, or lower exposure, aperture or focal_length."
            )


_BOUNDS = {
    "rain_rate": (0, 500),
    "wind": (-30, 30),
    "gust": (0, 10),
    "roll": (-90, 90),
    "exposure": (1e-4, 1),
    "focal_length": (10, 100_000),
    "aperture": (0, 100),
    "focus": (0.1, 10_000),
    "near": (0.1, 10_000),
    "distance": (0.1, 10_000),
    "brightness": (0, 10),
    "veil": (0, 1),
}
_MAX_REACH = 8000  # pixels; more would fill the memory

INTENSITIES = ("light", "medium", "heavy")

# Bounds in mm/h of the rain rate, and in m of the way through rain and mist behind the
# drops that are drawn. Chosen by eye beside real photographs, as were all the ranges
# that `draw_parameters` names. What is photographed as rain is a shower: by the terms of
# meteorology all of it is moderate to violent. The mean PSNR of rainy against clean is
# then about 27 dB in light, 23 dB in medium and 18 dB in heavy rain, give or take 8 dB.
_RAIN_RATES = {"light": (12, 35), "medium": (35, 80), "heavy": (80, 220)}
_VEILED_WAYS = {"light": (1, 15), "medium": (3, 25), "heavy": (5, 40)}

_STREAKS_PER_PIXEL = 0.04  # that are drawn one by one
_NUM_LAYERS = 3  # of those behind


def draw_parameters(
    rng: np.random.Generator, intensity: str, *, longer_side: int = 512
) -> RainParameters:
    """Random parameters of "light", "medium" or "heavy" rain.

    The intensity decides the rain rate, 12 to 35, 35 to 80 or 80 to 220 mm/h, and the way
    through the veil, 1 to 15, 3 to 25 or 5 to 40 m. Everything else is as likely in all:

    | exposure | 1/600 to 1/60 s | focal length | 50 to 200 mm on film 36 mm wide |
    | aperture | 2 to 12 mm | focus | 3 to 30 m |
    | near | 1 to 4 m | distance | 5 to 12 m |
    | wind | normal, deviation 1.2 m/s | gust | 0.1 to 0.6 m/s |
    | roll | normal, deviation 3, at most 10 degrees | brightness | 1.5 to 5 |

    and the camera of `camera.draw_camera`.

    Args:
      rng: State of the draw.
      intensity: One of `INTENSITIES`.
      longer_side: Of the whole photograph, in pixels: streaks grow with it, from 64 to
        8000 pixels.

    Raises:
      ValueError: For any other intensity.
    """
    if intensity not in INTENSITIES:
        raise ValueError(f"Rain is one of {', '.join(INTENSITIES)}, not {intensity!r}.")
    rain_rate = _log_uniform(rng, *_RAIN_RATES[intensity])
    veiled_way = _log_uniform(rng, *_VEILED_WAYS[intensity])
    return RainParameters(
        rain_rate=rain_rate,
        wind=rng.normal(0, 1.2),
        gust=rng.uniform(0.1, 0.6),
        roll=float(np.clip(rng.normal(0, 3), -10, 10)),
        exposure=_log_uniform(rng, 1 / 600, 1 / 60),
        focal_length=_log_uniform(rng, 50, 200) / 36 * np.clip(longer_side, 64, 8000),
        aperture=_log_uniform(rng, 2, 12),
        focus=_log_uniform(rng, 3, 30),
        near=_log_uniform(rng, 1, 4),
        distance=rng.uniform(5, 12),
        brightness=_log_uniform(rng, 1.5, 5),
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
    """The photograph as it would have come out in the rain.

    Args:
      clean: uint8 [H, W, 3].
      parameters: How it rains and how it is taken. Without drops and veil the result is
        `clean` through the camera alone, and `clean` itself if that is neutral.
      rng: Where each drop is, and the noise; the same state gives the same rain.
      ambient: `ambient_light` of the whole photograph where `clean` is a part of it;
        that of `clean` by default.

    Returns:
      A new uint8 array [H, W, 3].

    Raises:
      ValueError: If `clean` is no such array, or `ambient` no light [3] in [0, 1].
    """
    _check(clean)
    ambient = ambient_light(clean) if ambient is None else np.asarray(ambient)
    if ambient.shape != (3,) or not np.all((ambient >= 0) & (ambient <= 1)):
        raise ValueError(f"Ambient light is [3] in [0, 1], not {ambient.tolist()}.")
    alpha = cover(*clean.shape[:2], parameters, rng)
    return composite(clean, alpha, parameters, rng, ambient)


def add(
    clean: np.ndarray, parameters: RainParameters, rng: np.random.Generator
) -> np.ndarray:
    """The plain additive form, as Rain100 and Rain1200 have it: the control.

    The streaks of the same rain, `255 brightness cover(...)`, are added to the finished
    pixels, whatever is behind them, and clipped: no veil, no camera.

    Args, Returns, Raises: As `render`.
    """
    _check(clean)
    layer = 255 * parameters.brightness * cover(*clean.shape[:2], parameters, rng)
    return np.rint(np.minimum(clean + layer[..., None], 255)).astype(np.uint8)


def composite(
    clean: np.ndarray,
    alpha: np.ndarray,
    parameters: RainParameters,
    rng: np.random.Generator,
    ambient: np.ndarray,
) -> np.ndarray:
    """Puts the veil and, before it, drops that hide `alpha` of the light, on a scene.

    Args:
      clean: uint8 [H, W, 3].
      alpha: float32 [H, W] in [0, 1].
      parameters: Of these, `veil`, `brightness` and `camera`.
      rng: The camera's noise.
      ambient: As of `ambient_light`.

    Returns:
      uint8 [H, W, 3].
    """
    light = parameters.camera.scene_light(clean)
    ambient = parameters.camera.untone(ambient.astype(np.float32))
    light += np.float32(parameters.veil) * (ambient - light)
    light += alpha[..., None] * (np.float32(parameters.brightness) * ambient - light)
    return parameters.camera.photograph(light, rng)


def ambient_light(photograph: np.ndarray) -> np.ndarray:
    """Light that comes from everywhere at once, through a neutral camera: float32 [3].

    A drop refracts nearly the whole surroundings, of which the sky is most of the light:
    the mean of the brightest tenth, three quarters of the way to grey, stands in for it.

    Args:
      photograph: uint8 [H, W, 3].
    """
    # A subset of the pixels is enough for a mean and several times faster.
    pixels = cameras.NEUTRAL.scene_light(photograph[::3, ::3]).reshape(-1, 3)
    brightness = pixels.mean(axis=1)
    num_brightest = max(1, len(pixels) // 10)
    brightest = np.argpartition(brightness, -num_brightest)[-num_brightest:]
    color = pixels[brightest].mean(axis=0)
    return (color + 3 * color.mean()) / 4


def cover(
    height: int, width: int, parameters: RainParameters, rng: np.random.Generator
) -> np.ndarray:
    """Share of each pixel's light that drops hide: float32 [height, width] in [0, 1).

    Drops lie one behind the other, so the light that passes is a product: the share is
    1 - exp(-sum of what each hides).
    """
    if parameters.rain_rate == 0:
        return np.zeros((height, width), np.float32)
    # Blurs by spectra wrap around; the frame holds what would reach in from the other
    # side.
    frame = math.ceil(3 * _widest_blur(parameters))
    canvas = tuple(
        scipy.fft.next_fast_len(side + 2 * frame, real=True) for side in (height, width)
    )
    split = _split_depth(parameters)
    near = _near_streaks(canvas, parameters, split, rng)
    spectrum = streaks.draw_streaks(canvas, near)
    for field in _far_fields(parameters, split):
        spectrum += streaks.draw_field(canvas, field, rng)
    hidden = scipy.fft.irfft2(spectrum, canvas, overwrite_x=True)
    hidden = hidden[frame : frame + height, frame : frame + width]
    return -np.expm1(-np.maximum(hidden, 0))


def _split_depth(parameters: RainParameters) -> float:
    """Depth in m that parts drops drawn one by one from those behind.

    A pixel sees z ** 3 / (3 f ** 2) of the air up to depth z.
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
    """Streaks of the drops between `near` and `split`, at random places of the view."""
    # Streaks whose middle lies outside still reach in.
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
    ).reaching(canvas)


def _far_fields(parameters: RainParameters, split: float) -> Iterator[streaks.Field]:
    """The rain between `split` and `distance`, in layers."""
    if split == parameters.distance:
        return
    rate, focal_length = parameters.rain_rate, parameters.focal_length
    moments = [raindrops.moment(rate, order) for order in range(6)]
    # Drops and depths count by the square of what they hide: so they make the texture.
    diameter = moments[5] / moments[4]
    ends = np.geomspace(split, parameters.distance, _NUM_LAYERS + 1)
    for near, far in itertools.pairwise(ends):
        parallax = 1 / near - 1 / far
        depth = math.log(far / near) / parallax
        speed = raindrops.fall_speed(diameter)
        down, right = _trail(parameters, depth, speed, parameters.wind)
        yield streaks.Field(
            mean=raindrops.extinction(rate) * (far - near),
            # Integral of _silhouette ** 2 over drops and the air that a pixel sees.
            variance=(math.pi / 4 * 1e-6 * focal_length) ** 2 * moments[4] * parallax,
            down=down,
            right=right,
            blur=_blur(parameters, depth, diameter),
        )


def _silhouette(
    parameters: RainParameters, depth: np.ndarray, diameter: np.ndarray
) -> np.ndarray:
    """Area of drops in the photograph, in pixels.

    A drop hides its silhouette at every moment, so this is also the sum of what its
    streak hides: diameter over way fallen, times the area that the streak sweeps.
    """
    return math.pi / 4 * (1e-3 * parameters.focal_length * diameter / depth) ** 2


def _trail(
    parameters: RainParameters,
    depth: np.ndarray | float,
    fall: np.ndarray | float,
    wind: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """How far drops move, down and right, in pixels while the shutter is open."""
    roll = math.radians(parameters.roll)
    cos, sin = math.cos(roll), math.sin(roll)
    scale = parameters.exposure * parameters.focal_length / depth
    return scale * (cos * fall - sin * wind), scale * (sin * fall + cos * wind)


def _longest_trail(parameters: RainParameters) -> tuple[float, float]:
    """Bounds of what `_trail` gives, both positive; gusts of 4 deviations pass them."""
    fall = raindrops.fall_speed(raindrops.MAX_DIAMETER)
    winds = (
        parameters.wind - 4 * parameters.gust,
        parameters.wind + 4 * parameters.gust,
    )
    trails = [_trail(parameters, parameters.near, fall, wind) for wind in (*winds, 0)]
    return tuple(np.abs(trails).max(axis=0))


def _blur(
    parameters: RainParameters, depth: np.ndarray | float, diameter: np.ndarray | float
) -> np.ndarray:
    """Standard deviation in pixels of a drop, defocus and lens together.

    That of a disc, along any line, is a quarter of its diameter. The circle of confusion
    of a thin lens is aperture * focal length * |1 / depth - 1 / focus|, far beyond the
    focal length.
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
    if (
        clean.dtype != np.uint8
        or clean.ndim != 3
        or clean.shape[2] != 3
        or not clean.size
    ):
        raise ValueError(
            f"Rain falls on uint8 [H, W, 3], not on {clean.dtype} {list(clean.shape)}; "
            "repeat the channel of a grey photograph."
        )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
