"""A model of a camera: from the pixels of a photograph to the light of its scene, and back.

Photographs are uint8 sRGB [H, W, 3]; light is linear, float32, with white at 1.
"""

import dataclasses
import math

import numpy as np

from ttl_jax.data.files import images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """Noise, tone curve and compression of a camera.

    Attributes:
      full_well: Electrons of a white pixel, at least 1. The variance of shot noise is the
        number of electrons. Infinite means no noise.
      read_noise: Standard deviation of the read noise of a pixel, in electrons, 0 to 1000.
      shoulder: Strength s of the tone curve, 0 to 10. It compresses bright light: light x
        becomes (1 - exp(-s x)) / (1 - exp(-s)); 0 is linear.
      jpeg_quality: JPEG quality, 1 to 95, with colour at half the resolution; None means
        no compression.

    Raises:
      ValueError: If a value is out of range.
    """

    full_well: float
    read_noise: float
    shoulder: float
    jpeg_quality: int | None

    def __post_init__(self):
        for name, low, high in (
            ("full_well", 1, math.inf), ("read_noise", 0, 1000),
            ("shoulder", 0, 10), ("jpeg_quality", 1, 95),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} is {value}; expected {low} to {high}.")

    def scene_light(self, photograph: np.ndarray) -> np.ndarray:
        """Returns the light of a photographed scene, float32 [H, W, 3] in [0, 1].

        The tone curve is inverted here and applied in `photograph`, so it does not
        change a photograph without rain.
        """
        return self.untone(_LINEAR_OF_SRGB).astype(np.float32)[photograph]

    def untone(self, toned: np.ndarray) -> np.ndarray:
        """Returns the inverse of the tone curve for values in [0, 1]."""
        if self.shoulder == 0:
            return toned
        return -np.log1p(toned * math.expm1(-self.shoulder)) / self.shoulder

    def photograph(self, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the photograph of a scene, uint8 [H, W, 3]; light above 1 is clipped."""
        light = np.clip(self._read(light, rng), 0, 1)
        if self.shoulder > 0:
            light = np.expm1(-self.shoulder * light) / math.expm1(-self.shoulder)
        pixels = np.rint(encode(light) * 255).astype(np.uint8)
        quality = self.jpeg_quality
        return pixels if quality is None else images.jpeg(pixels, quality)

    def _read(self, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Adds noise; with so many electrons, Poisson noise is nearly normal."""
        if math.isinf(self.full_well):
            return light
        electrons = light * np.float32(self.full_well)
        deviation = np.sqrt(electrons + np.float32(self.read_noise**2))
        noise = rng.standard_normal(light.shape, np.float32)
        return (electrons + deviation * noise) / np.float32(self.full_well)


NEUTRAL = Camera(full_well=math.inf, read_noise=0, shoulder=0, jpeg_quality=None)


def draw_camera(rng: np.random.Generator) -> Camera:
    """Returns a random camera that resembles those of scaled photographs on the web."""
    return Camera(
        full_well=2000 * 10 ** rng.uniform(),
        read_noise=rng.uniform(2, 10),
        shoulder=rng.uniform(0, 2),
        jpeg_quality=int(rng.integers(70, 96)),
    )


def encode(light: np.ndarray) -> np.ndarray:
    """Converts linear light in [0, 1] to sRGB in [0, 1] (IEC 61966-2-1)."""
    power = np.float32(1.055) * light ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(light <= 0.0031308, np.float32(12.92) * light, power)


def decode(encoded: np.ndarray) -> np.ndarray:
    """Converts sRGB in [0, 1] to linear light in [0, 1]; the inverse of `encode`."""
    return np.where(
        encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    )


_LINEAR_OF_SRGB = decode(np.arange(256) / 255)
