import dataclasses
import io
import math

import numpy as np
import pytest
from PIL import Image

from tests import pictures
from ttl_jax.data.rain import camera

LEVELS = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2)


def vary(**changes):
    return dataclasses.replace(camera.NEUTRAL, **changes)


def decode(image):
    """sRGB to linear light after IEC 61966-2-1, in float64."""
    x = image.astype(np.float64) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def take(light, **changes):
    return vary(**changes).photograph(light, np.random.default_rng(0))


def test_light_through_a_neutral_camera_follows_the_srgb_standard():
    light = camera.NEUTRAL.scene_light(LEVELS)
    assert light.dtype == np.float32
    np.testing.assert_allclose(light, decode(LEVELS), rtol=1e-6)
    # 0.18, middle grey, is 0.4613561 = 117.6 / 255.
    grey = np.full((1, 1, 3), 0.18, np.float32)
    np.testing.assert_array_equal(take(grey)[0, 0], [118] * 3)
    np.testing.assert_array_equal(take(np.float32([[[-1, 0, 2]]]))[0, 0], [0, 0, 255])


@pytest.mark.parametrize("shoulder", [0, 0.5, 2, 5])
def test_each_tone_curve_restores_the_photograph_from_its_light(shoulder):
    light = vary(shoulder=shoulder).scene_light(LEVELS)
    assert np.all(np.diff(light[:, 0, 0]) > 0) and light.max() == pytest.approx(1)
    np.testing.assert_array_equal(take(light, shoulder=shoulder), LEVELS)


def test_the_tone_curve_compresses_bright_light():
    # (1 - exp(-2 * 0.5)) / (1 - exp(-2)) = 0.7310586: sRGB 0.8722 = 222.4 / 255.
    light = np.full((1, 1, 3), 0.5, np.float32)
    np.testing.assert_array_equal(take(light, shoulder=2)[0, 0], [222] * 3)


def test_noise_has_the_variance_of_photons_and_readout():
    for level in (0.2, 0.6):
        light = np.full((400, 400, 3), level, np.float32)
        noisy = decode(take(light, full_well=1000, read_noise=5))
        variance = level / 1000 + (5 / 1000) ** 2
        assert noisy.mean() == pytest.approx(level, abs=1e-3)
        assert noisy.var() == pytest.approx(variance, rel=0.02)


def test_compression_is_that_of_pillow():
    image = pictures.noise(33, 21, 3)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    compressed = take(camera.NEUTRAL.scene_light(image), jpeg_quality=60)
    np.testing.assert_array_equal(compressed, np.asarray(Image.open(file)))


@pytest.mark.parametrize(
    "fault", [{"full_well": 0}, {"shoulder": -1}, {"jpeg_quality": 100}]
)
def test_invalid_cameras_are_rejected(fault):
    with pytest.raises(ValueError, match=f"{next(iter(fault))} is .*; expected"):
        vary(**fault)
    with pytest.raises(ValueError, match="read_noise is nan"):
        vary(read_noise=math.nan)
