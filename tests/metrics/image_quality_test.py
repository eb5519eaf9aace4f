"""Scores against values computed by hand, scikit-image, and numpy against jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity
from skimage.util import img_as_ubyte

from ttl_jax.metrics import image_quality

CONSTANT_COLOURS = {
    # Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, then rounded.
    (255, 255, 255): 235,  # 16 + 65.481 + 128.553 + 24.966 = 16 + 219
    (255, 0, 0): 81,  # 81.481
    (0, 255, 0): 145,  # 144.553
    (0, 0, 255): 41,  # 40.966
    (100, 150, 200): 137,  # 16 + (6548.1 + 19282.95 + 4993.2) / 255 = 136.87941
    (98, 20, 13): 53,  # 16 + (6417.138 + 2571.06 + 324.558) / 255 = 52.52061
}


def constant(colour, size=16):
    return np.full((1, size, size, 3), colour, np.uint8)


def noisy_pair(rng, shape, scale=12):
    target = rng.integers(0, 256, shape, dtype=np.uint8)
    noise = rng.normal(0, scale, shape)
    return np.clip(target + noise, 0, 255).round().astype(np.uint8), target


def luma(images):
    """The planes of y_uint8, from the formula as printed, in float64."""
    exact = 16 + images.astype(np.float64) @ [65.481, 128.553, 24.966] / 255
    return np.floor(exact + 0.5)


@pytest.mark.parametrize("colour, level", CONSTANT_COLOURS.items())
def test_luma_of_a_colour_is_matlabs(colour, level):
    # Black has level 16, so MSE = (level - 16)^2 against it.
    expected = 20 * np.log10(255 / (level - 16))
    score = image_quality.psnr(constant(colour), constant((0, 0, 0)))
    np.testing.assert_allclose(score, [expected], rtol=1e-12)


def test_luma_follows_the_printed_formula_for_random_colours():
    colours = np.random.default_rng(0).integers(0, 256, (50, 50, 50, 3), dtype=np.uint8)
    exact = 16 + colours @ np.array([65.481, 128.553, 24.966]) / 255
    tie = np.abs(exact % 1 - 0.5) < 1e-9  # left to the next test
    assert tie.sum() < 5
    planes = image_quality.PROTOCOLS["y_uint8"].planes(colours)
    np.testing.assert_array_equal(planes[~tie, 0], luma(colours)[~tie])


def test_luma_rounds_an_exact_tie_up():
    # 65.481 * 2 + 128.553 * 44 + 24.966 * 141 = 9307.5; / 255 = 36.5; Y = 52.5.
    planes = image_quality.PROTOCOLS["y_uint8"].planes(constant((2, 44, 141)))
    np.testing.assert_array_equal(planes, 53)


def test_psnr_of_one_changed_pixel_by_hand():
    # Red 255 has luma 81, black 16: one pixel of 64 is wrong by 65, MSE = 65^2 / 64,
    # PSNR = 10 log10(255^2 * 64 / 65^2) = 10 log10(984.99408) = 29.934336 dB.
    target = constant((0, 0, 0), size=8)
    restored = target.copy()
    restored[0, 3, 5] = (255, 0, 0)
    score = image_quality.psnr(restored, target)
    np.testing.assert_allclose(score, [29.934336], atol=1e-6)


def test_ssim_of_constant_images_by_hand():
    # Without variance only the luminance term remains. Luma 16 and 235:
    # (2 * 16 * 235 + 6.5025) / (16^2 + 235^2 + 6.5025) = 7526.5025 / 55487.5025.
    score = image_quality.ssim(constant((0, 0, 0)), constant((255, 255, 255)))
    np.testing.assert_allclose(score, [7526.5025 / 55487.5025], rtol=1e-10)


def test_identical_images_score_100_db_and_1():
    images, _ = noisy_pair(np.random.default_rng(0), (2, 16, 20, 3))
    np.testing.assert_array_equal(image_quality.psnr(images, images), [100, 100])
    np.testing.assert_allclose(image_quality.ssim(images, images), 1, rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 11, 11, 3), (2, 40, 57, 3)])
def test_ssim_matches_skimage_on_the_valid_interior(shape):
    restored, target = noisy_pair(np.random.default_rng(1), shape)
    expected = []
    for x, y in zip(luma(restored), luma(target)):
        _, full = structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            full=True,
        )
        expected.append(full[5:-5, 5:-5].mean())
    np.testing.assert_allclose(
        image_quality.ssim(restored, target), expected, rtol=1e-10
    )


def test_psnr_is_that_of_each_image():
    restored, target = noisy_pair(np.random.default_rng(2), (3, 20, 31, 3))
    errors = ((luma(restored) - luma(target)) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(
        image_quality.psnr(restored, target), 10 * np.log10(255**2 / errors)
    )


def test_float_images_score_as_the_8_bit_files_of_them():
    rng = np.random.default_rng(3)
    restored = rng.uniform(-0.1, 1.1, (1, 24, 24, 3))
    target = rng.integers(0, 256, (1, 24, 24, 3), dtype=np.uint8)
    saved = img_as_ubyte(np.clip(restored, 0, 1))
    for score in (image_quality.psnr, image_quality.ssim):
        np.testing.assert_array_equal(score(restored, target), score(saved, target))


@pytest.mark.parametrize("score", [image_quality.psnr, image_quality.ssim])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_jax_equals_numpy(score, dtype):
    restored, target = noisy_pair(np.random.default_rng(4), (2, 48, 33, 3), scale=3)
    if dtype == np.float32:
        restored, target = restored / dtype(255), target / dtype(255)
    expected = score(restored, target)
    assert expected.dtype == np.float64
    result = jax.jit(score)(jnp.asarray(restored), jnp.asarray(target))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_bfloat16_images_are_scored_in_float32():
    restored = jnp.full((1, 16, 16, 3), 0.5, jnp.bfloat16)
    score = image_quality.psnr(restored, jnp.zeros((1, 16, 16, 3), jnp.float32))
    assert score.dtype == jnp.float32
    # 0.5 * 255 = 127.5 is saved as 128 (even): luma 16 + 219 * 128 / 255 = 125.93.
    np.testing.assert_allclose(score, 20 * np.log10(255 / 110), rtol=1e-6)


@pytest.mark.parametrize("score", [image_quality.psnr, image_quality.ssim])
def test_nan_is_not_scored_as_a_dark_pixel(score):
    target = np.full((2, 16, 16, 3), 0.5)
    restored = target.copy()
    restored[0, 8, 8, 1] = np.nan
    for as_array in (np.asarray, jnp.asarray):
        result = score(as_array(restored), as_array(target))
        np.testing.assert_array_equal(np.isnan(result), [True, False])


@pytest.mark.parametrize("score", [image_quality.psnr, image_quality.ssim])
def test_different_shapes_are_refused_by_name(score):
    with pytest.raises(ValueError, match=r"\(1, 16, 16, 3\).*\(1, 16, 17, 3\)"):
        score(np.zeros((1, 16, 16, 3)), np.zeros((1, 16, 17, 3)))


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 16, 16, 1)])
def test_other_than_rgb_batches_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[N, H, W, 3\]"):
        image_quality.psnr(np.zeros(shape), np.zeros(shape))


def test_integers_other_than_uint8_are_refused():
    images = np.zeros((1, 16, 16, 3), np.uint16)
    with pytest.raises(ValueError, match="uint16"):
        image_quality.psnr(images, images)


def test_ssim_refuses_images_smaller_than_its_window():
    images = np.zeros((1, 10, 40, 3))
    with pytest.raises(ValueError, match="11 x 11 pixels.*10 x 40"):
        image_quality.ssim(images, images)


def test_unknown_protocol_suggests_the_near_one():
    images = np.zeros((1, 16, 16, 3))
    with pytest.raises(ValueError, match="Did you mean 'y_uint8'"):
        image_quality.psnr(images, images, "y_uint")
