"""The blur of the reconstruction task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from configs import recon as config_file
from ttl_jax.stages import image_degradations, recon

random_blur = jax.jit(image_degradations.random_blur, static_argnums=(2, 3))


def test_blur_matches_scipy_cut_at_three_sigma(key):
    image = jax.random.uniform(key, (1, 40, 44, 3))
    for sigma in (0.5, 1.3, 3.0):
        blurred = random_blur(image, key, sigma, sigma)
        margin = image_degradations.blur_margin(sigma)
        wide = ndimage.gaussian_filter(
            np.asarray(image, np.float64), sigma, axes=(1, 2), radius=margin
        )
        expected = wide[:, margin:-margin, margin:-margin]
        assert np.abs(np.asarray(blurred) - expected).max() <= 0.5 / 255 + 1e-6


def test_blur_comes_rounded_to_8_bits(key):
    image = jax.random.uniform(key, (8, 30, 30, 3))
    values = np.asarray(random_blur(image, key, 0.5, 3.0)) * 255
    np.testing.assert_allclose(values, np.round(values), atol=1e-4)


def test_blur_differs_from_image_to_image_and_from_key_to_key(key):
    image = jnp.tile(jax.random.uniform(key, (1, 30, 30, 3)), (8, 1, 1, 1))
    blurred = random_blur(image, key, 0.5, 3.0)
    again = random_blur(image, key, 0.5, 3.0)
    other = random_blur(image, jax.random.fold_in(key, 1), 0.5, 3.0)
    assert np.ptp(blurred, axis=0).max() > 0.01
    np.testing.assert_array_equal(blurred, again)
    assert np.abs(blurred - other).max() > 0.01


@pytest.mark.parametrize(("sigma", "margin"), [(0.5, 2), (1.0, 3), (1.1, 4), (3.0, 9)])
def test_blur_margin_is_three_sigma_rounded_up(sigma, margin):
    assert image_degradations.blur_margin(sigma) == margin


def test_a_crop_margin_smaller_than_the_blur_is_rejected():
    config = config_file.get_config("smoke")
    config.max_sigma = 2.0
    with pytest.raises(ValueError, match="a radius of 6 pixels; set crop_margin"):
        recon.make_stage(config)
