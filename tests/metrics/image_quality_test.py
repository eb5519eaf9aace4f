"""Scores against values computed by hand, scikit-image, and numpy against jax."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
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


def noisy_copy(rng, images, scale):
    noise = rng.normal(0, scale, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


def noisy_pair(rng, shape, scale=12):
    target = rng.integers(0, 256, shape, dtype=np.uint8)
    return noisy_copy(rng, target, scale), target


def smooth_picture(rng, size):
    coarse = rng.uniform(0, 255, (1, size // 8, size // 8, 3))
    return ndimage.zoom(coarse, (1, 8, 8, 1), order=1).round().astype(np.uint8)


def luma(images):
    """The planes of y_uint8, from the formula as printed, in float64."""
    exact = 16 + images.astype(np.float64) @ [65.481, 128.553, 24.966] / 255
    return np.floor(exact + 0.5)


def basicsr_luma(images):
    """The planes of y_float, through float32 as BasicSR takes them."""
    scaled = images.astype(np.float32) / np.float32(255)
    exact = scaled.astype(np.float64) @ [65.481, 128.553, 24.966] + 16
    return (exact / 255).astype(np.float32) * np.float32(255)


def matlab_luma(images):
    """The planes of y_double: rgb2ycbcr of im2double, times 255."""
    matrix = np.array([65.481, 128.553, 24.966])  # first row, for R, G, B in [0, 1]
    return (16 / 255 + images / 255 @ matrix / 255) * 255


REFERENCE_PLANES = {
    "y_uint8": luma,
    "y_float": basicsr_luma,
    "y_double": matlab_luma,
    "rgb": lambda images: images.astype(np.float64),
}


def ssim_m(x, y):
    """ssim.m of two planes [H, W]: a plain one, by SciPy's filters in two dimensions."""
    ratio = decimal.Decimal(min(x.shape)) / 256
    f = max(1, int(ratio.quantize(decimal.Decimal(1), decimal.ROUND_HALF_UP)))
    # MATLAB's centre of the window counts from 1: floor((f + 1) / 2). SciPy's is f // 2
    # from 0, one further where f is even, which a negative origin takes back.
    origin = -1 if f % 2 == 0 else 0
    box = np.ones((f, f)) / f**2
    x, y = (
        ndimage.correlate(plane, box, mode="reflect", origin=origin)[::f, ::f]
        for plane in (x, y)
    )
    squares = np.arange(-5, 6) ** 2
    window = np.exp(-(squares[:, np.newaxis] + squares) / (2 * 1.5**2))
    window /= window.sum()
    mu1, mu2, xx, yy, xy = (
        signal.convolve2d(plane, window, mode="valid")
        for plane in (x, y, x * x, y * y, x * y)
    )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mu1 * mu2 + c1) / (mu1**2 + mu2**2 + c1)
    structure = (2 * (xy - mu1 * mu2) + c2) / (xx - mu1**2 + yy - mu2**2 + c2)
    return (luminance * structure).mean()


@pytest.mark.parametrize(("colour", "level"), CONSTANT_COLOURS.items())
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
    np.testing.assert_array_equal(planes[:, 0][~tie], luma(colours)[~tie])


def test_luma_rounds_an_exact_tie_up():
    # 65.481 * 2 + 128.553 * 44 + 24.966 * 141 = 9307.5; / 255 = 36.5; Y = 52.5.
    planes = image_quality.PROTOCOLS["y_uint8"].planes(constant((2, 44, 141)))
    np.testing.assert_array_equal(planes, 53)


UNROUNDED = ["y_float", "y_double"]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        # One pixel of 64 is red. Red 255 has luma 81, black 16: MSE = 65^2 / 64,
        # PSNR = 10 log10(255^2 * 64 / 65^2) = 10 log10(984.99408) = 29.934336 dB.
        ("y_uint8", 29.934336),
        # Luma 81.481 against 16: MSE = 65.481^2 / 64,
        # PSNR = 10 log10(255^2 * 64 / 65.481^2) = 10 log10(970.57640) = 29.870297 dB.
        ("y_float", 29.870297),
        ("y_double", 29.870297),
        # 255 against 0 in one of 3 * 64 numbers: PSNR = 10 log10(192) = 22.833012 dB.
        ("rgb", 22.833012),
    ],
)
def test_psnr_of_one_changed_pixel_by_hand(protocol, expected):
    target = constant((0, 0, 0), size=8)
    restored = target.copy()
    restored[0, 3, 5] = (255, 0, 0)
    score = image_quality.psnr(restored, target, protocol)
    np.testing.assert_allclose(score, [expected], atol=1e-6)


def test_rounding_to_8_bits_is_what_y_uint8_adds():
    # Blue 5 has luma 16 + 24.966 * 5 / 255 = 16.48953, which rounds to that of black.
    blue, black = constant((0, 0, 5)), constant((0, 0, 0))
    assert image_quality.psnr(blue, black, "y_uint8") == 100
    # 20 log10(255 / 0.48952941) = 20 log10(520.90844) = 54.335228 dB
    for protocol in UNROUNDED:
        score = image_quality.psnr(blue, black, protocol)
        np.testing.assert_allclose(score, 54.335228, atol=1e-6)


@pytest.mark.parametrize("protocol", UNROUNDED)
def test_luma_scores_grey_errors_higher_than_rgb_by_its_range(protocol):
    restored, target = noisy_pair(np.random.default_rng(6), (2, 16, 16, 1))
    pair = np.repeat(restored, 3, axis=-1), np.repeat(target, 3, axis=-1)
    difference = image_quality.psnr(*pair, protocol) - image_quality.psnr(*pair, "rgb")
    np.testing.assert_allclose(difference, 20 * np.log10(255 / 219), rtol=1e-10)


@pytest.mark.parametrize("protocol", UNROUNDED)
def test_ssim_of_one_window_by_hand(protocol):
    # An image of one window: luma 16, but 16 + d = 81.481 at the centre, where the
    # window has the weight w = 1 / (sum of exp(-k^2 / 4.5))^2, k = -5..5. So the means
    # are 16 + w d and 16, the variance is w d^2 - (w d)^2, the covariance 0.
    exponentials = np.exp(-(np.arange(1, 6) ** 2) / 4.5)
    w, d = 1 / (1 + 2 * exponentials.sum()) ** 2, 65.481
    mean, variance = 16 + w * d, w * d**2 - (w * d) ** 2
    expected = (2 * mean * 16 + 6.5025) / (mean**2 + 16**2 + 6.5025)
    expected *= 58.5225 / (variance + 58.5225)
    target = constant((0, 0, 0), size=11)
    restored = target.copy()
    restored[0, 5, 5] = (255, 0, 0)
    score = image_quality.ssim(restored, target, protocol)
    np.testing.assert_allclose(score, expected, rtol=1e-10)


def test_ssim_of_rgb_is_the_mean_of_the_channels_by_hand():
    # Red 255 against 0 gives C1 / (255^2 + C1) = 6.5025 / 65031.5025, the others 1.
    score = image_quality.ssim(constant((255, 0, 0)), constant((0, 0, 0)), "rgb")
    np.testing.assert_allclose(score, (2 + 6.5025 / 65031.5025) / 3, rtol=1e-10)


@pytest.mark.parametrize(
    "columns",
    [
        # 384 / 256 = 1.5 rounds to 2: columns (0, 1), (2, 3), ... are averaged.
        [0, 200, 200, 0] * 96,
        # 640 / 256 = 2.5 rounds to 3, away from zero: (0, 0, 1) with the border's
        # mirror image, (2, 3, 4), ..., (638, 639, 639).
        [100, 100] + [0, 100, 200, 200, 100, 0] * 106 + [100, 100],
    ],
)
def test_y_double_averages_the_pixels_that_matlab_averages(columns):
    # Every average is that of grey 100, so that SSIM is 1; those of windows that begin
    # one pixel earlier or later, or of another size, are not.
    columns = np.array(columns, np.uint8)
    restored = np.broadcast_to(
        columns[:, np.newaxis], (1, len(columns), len(columns), 3)
    )
    for images in (restored, restored.swapaxes(1, 2)):
        target = np.full_like(images, 100)
        np.testing.assert_allclose(image_quality.ssim(images, target, "y_double"), 1)
        assert image_quality.ssim(images, target, "y_float") < 0.5


@pytest.mark.parametrize(
    "shape",
    [(40, 57), (383, 390), (384, 391), (640, 642), (896, 897)],
)
def test_y_double_ssim_matches_a_plain_ssim_m(shape):
    restored, target = noisy_pair(np.random.default_rng(7), (1, *shape, 3), scale=60)
    expected = ssim_m(matlab_luma(restored[0]), matlab_luma(target[0]))
    score = image_quality.ssim(restored, target, "y_double")
    np.testing.assert_allclose(score, [expected], rtol=1e-10)


def test_ssim_of_constant_images_by_hand():
    # Without variance only the luminance term remains. Luma 16 and 235:
    # (2 * 16 * 235 + 6.5025) / (16^2 + 235^2 + 6.5025) = 7526.5025 / 55487.5025.
    score = image_quality.ssim(constant((0, 0, 0)), constant((255, 255, 255)))
    np.testing.assert_allclose(score, [7526.5025 / 55487.5025], rtol=1e-10)


def test_identical_images_score_100_db_and_1():
    images, _ = noisy_pair(np.random.default_rng(0), (2, 16, 20, 3))
    np.testing.assert_array_equal(image_quality.psnr(images, images), [100, 100])
    np.testing.assert_allclose(image_quality.ssim(images, images), 1, rtol=1e-12)


@pytest.mark.parametrize("protocol", image_quality.PROTOCOLS)
@pytest.mark.parametrize("shape", [(1, 11, 11, 3), (2, 40, 57, 3)])
def test_ssim_matches_skimage_on_the_valid_interior(shape, protocol):
    restored, target = noisy_pair(np.random.default_rng(1), shape)
    planes = REFERENCE_PLANES[protocol]
    expected = []
    for x, y in zip(planes(restored), planes(target)):
        _, full = structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1 if protocol == "rgb" else None,
            full=True,
        )
        expected.append(full[5:-5, 5:-5].mean())
    np.testing.assert_allclose(
        image_quality.ssim(restored, target, protocol),
        expected,
        rtol=1e-5 if protocol == "y_float" else 1e-10,  # float32 there
    )


@pytest.mark.parametrize("protocol", image_quality.PROTOCOLS)
@pytest.mark.parametrize("scale", [0.3, 12])  # from 60 dB down to 27 dB
def test_psnr_matches_skimage(protocol, scale):
    restored, target = noisy_pair(np.random.default_rng(2), (3, 20, 31, 3), scale)
    planes = REFERENCE_PLANES[protocol]
    expected = [
        peak_signal_noise_ratio(y, x, data_range=255)
        for x, y in zip(planes(restored), planes(target))
    ]
    np.testing.assert_allclose(
        image_quality.psnr(restored, target, protocol), expected, atol=1e-4
    )


@pytest.mark.parametrize("score", [image_quality.psnr, image_quality.ssim])
def test_one_target_serves_every_method(score):
    restored, target = noisy_pair(np.random.default_rng(8), (3, 20, 31, 3))
    np.testing.assert_array_equal(
        score(restored, target[:1]), score(restored, target[[0, 0, 0]])
    )


def test_float_images_score_as_the_8_bit_files_of_them():
    rng = np.random.default_rng(3)
    restored = rng.uniform(-0.1, 1.1, (1, 24, 24, 3))
    target = rng.integers(0, 256, (1, 24, 24, 3), dtype=np.uint8)
    saved = img_as_ubyte(np.clip(restored, 0, 1))
    for score in (image_quality.psnr, image_quality.ssim):
        np.testing.assert_array_equal(score(restored, target), score(saved, target))


@pytest.mark.parametrize("score", [image_quality.psnr, image_quality.ssim])
def test_jax_equals_numpy_for_float_images(score):
    pair = noisy_pair(np.random.default_rng(4), (2, 48, 33, 3), scale=3)
    restored, target = (images / np.float32(255) for images in pair)
    expected = score(restored, target)
    assert expected.dtype == np.float64
    result = jax.jit(score)(jnp.asarray(restored), jnp.asarray(target))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("score", [image_quality.psnr, image_quality.ssim])
@pytest.mark.parametrize("protocol", image_quality.PROTOCOLS)
def test_float32_scores_stay_within_1e_4_up_to_60_db(score, protocol):
    size = 384 if protocol == "y_double" else 48  # pixels: downsampled, or not
    target = smooth_picture(np.random.default_rng(9), size)
    methods = [
        noisy_copy(np.random.default_rng(10), target, scale) for scale in (0.25, 1, 20)
    ]
    restored = np.concatenate([*methods, target])
    expected = score(restored, target, protocol)
    jitted = jax.jit(score, static_argnames="protocol")
    result = jitted(jnp.asarray(restored), jnp.asarray(target), protocol=protocol)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)
    assert image_quality.psnr(restored, target, protocol)[0] > 57


@pytest.mark.parametrize("protocol", image_quality.PROTOCOLS)
def test_float32_ssim_of_flat_images_stays_within_1e_4(protocol):
    random = np.random.default_rng(11).integers(0, 255, (20, 3))
    colours = np.array([(255, 255, 254), (254, 255, 255), *random], np.uint8)
    shifted = (colours + np.array([0, 0, 1], np.uint8)).astype(np.uint8)
    pair = [np.tile(c[:, None, None], (1, 16, 16, 1)) for c in (colours, shifted)]
    expected = image_quality.ssim(*pair, protocol)
    result = jax.jit(image_quality.ssim, static_argnums=2)(*pair, protocol)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


def test_bfloat16_images_are_scored_in_float32():
    restored = jnp.full((1, 16, 16, 3), 0.5, jnp.bfloat16)
    score = image_quality.psnr(restored, jnp.zeros((1, 16, 16, 3), jnp.float32))
    assert score.dtype == jnp.float32
    # 0.5 * 255 = 127.5 is saved as 128 (even): luma 16 + 219 * 128 / 255 = 125.93.
    np.testing.assert_allclose(score, 20 * np.log10(255 / 110), rtol=1e-6)


@pytest.mark.parametrize("score", [image_quality.psnr, image_quality.ssim])
def test_an_image_with_nan_scores_nan(score):
    target = np.full((2, 16, 16, 3), 0.5)
    restored = target.copy()
    restored[0, 8, 8, 1] = np.nan
    for as_array in (np.asarray, jnp.asarray):
        result = score(as_array(restored), as_array(target))
        np.testing.assert_array_equal(np.isnan(result), [True, False])


@pytest.mark.parametrize(
    ("restored", "target", "protocol", "message"),
    [
        ((1, 16, 16, 3), (1, 16, 17, 3), "rgb", r"\(1, 16, 16, 3\).*\(1, 16, 17, 3\)"),
        ((16, 16, 3), (16, 16, 3), "rgb", r"\[N, H, W, 3\]"),
        ((1, 16, 16, 1), (1, 16, 16, 1), "rgb", r"\[N, H, W, 3\]"),
        ((1, 10, 40, 3), (1, 10, 40, 3), "rgb", "11 x 11 pixels.*10 x 40"),
        ((1, 16, 16, 3), (1, 16, 16, 3), "y_uint", "did you mean 'y_uint8'"),
    ],
)
def test_invalid_arguments_are_rejected(restored, target, protocol, message):
    with pytest.raises(ValueError, match=message):
        image_quality.ssim(np.zeros(restored), np.zeros(target), protocol)


def test_integers_other_than_uint8_are_rejected():
    images = np.zeros((1, 16, 16, 3), np.uint16)
    with pytest.raises(ValueError, match="uint16"):
        image_quality.psnr(images, images)
