"""NIQE against BasicSR's values, and its steps against other forms of them."""

import importlib.resources
import pathlib
import tomllib

import numpy as np
import pytest
import skimage.data
from PIL import Image
from scipy import ndimage

from ttl_jax.metrics import image_quality, naturalness

# `calculate_niqe` of BasicSR 1.4.2 on photographs of scikit-image 0.26, November 2026.
# The function computes partly in float32, which moves scores by up to 0.003.
BASICSR_OF_LUMA = {"camera": 3.096207, "coins": 3.622672, "gravel": 4.333703}
# With convert_to="gray", whose weights of 0.299, 0.587 and 0.114 round some pixels to
# another level than MATLAB's: up to 0.009.
BASICSR_OF_GRAY = {"astronaut": 3.061004, "chelsea": 2.572083, "coffee": 4.059338}
# With convert_to="y", its default.
BASICSR_OF_Y = {"astronaut": 3.064948, "chelsea": 2.625524, "coffee": 4.115242}
# Of the photograph `camera` with [:200, :300] = 255.
BASICSR_OF_WHITE_CORNER = 5.385639


@pytest.fixture(scope="module")
def cat():
    return skimage.data.chelsea()


@pytest.mark.parametrize(("name", "score"), BASICSR_OF_LUMA.items())
def test_score_of_luma_is_basicsrs(name, score):
    assert naturalness.niqe(getattr(skimage.data, name)()) == pytest.approx(
        score, abs=1e-4
    )


@pytest.mark.parametrize(("name", "score"), BASICSR_OF_GRAY.items())
def test_score_is_basicsrs_with_gray(name, score):
    assert naturalness.niqe(getattr(skimage.data, name)()) == pytest.approx(
        score, abs=5e-3
    )


@pytest.mark.parametrize(("name", "score"), BASICSR_OF_Y.items())
def test_score_of_the_luma_of_ycbcr_is_basicsrs_with_y(name, score):
    image = getattr(skimage.data, name)()
    luma = image_quality.PROTOCOLS["y_uint8"].planes(image[None])[0, 0]
    assert naturalness.niqe(luma.astype(np.uint8)) == pytest.approx(score, abs=1e-3)


def test_blocks_of_one_colour_count_as_in_basicsr():
    image = skimage.data.camera()
    image[:200, :300] = 255
    incomplete = np.isnan(naturalness.features(image)).any(axis=1).reshape(5, 5)
    expected = np.zeros((5, 5), bool)
    expected[:2, :3] = True
    np.testing.assert_array_equal(incomplete, expected)
    assert naturalness.niqe(image) == pytest.approx(BASICSR_OF_WHITE_CORNER, abs=1e-4)


def test_luma_is_that_of_matlabs_yiq_matrix():
    colours = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    from_yiq = [[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]]
    exact = colours @ np.linalg.inv(from_yiq)[0]
    assert np.abs(exact % 1 - 0.5).min() > 1e-9  # no ties
    np.testing.assert_array_equal(naturalness._luma(colours), np.round(exact))


def test_half_size_is_pillows_bicubic_of_the_mirrored_image():
    image = np.random.default_rng(0).uniform(0, 255, (30, 44)).astype(np.float32)
    mirrored = Image.fromarray(np.pad(image, 8, mode="symmetric"))
    half = mirrored.resize((30, 23), Image.Resampling.BICUBIC)
    expected = np.asarray(half)[4:-4, 4:-4]
    np.testing.assert_allclose(naturalness._half_size(image), expected, atol=1e-3)


def test_mscn_is_the_deviation_from_the_mean_of_each_window():
    image = np.random.default_rng(0).uniform(0, 255, (20, 25))
    y, x = np.mgrid[-3:4, -3:4]
    weights = np.exp(-(x**2 + y**2) / (2 * (7 / 6) ** 2))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(image, 3, mode="edge"), (7, 7)
    ).reshape(20, 25, 49)
    mean = np.average(windows, axis=-1, weights=weights.ravel())
    squares = (windows - mean[..., None]) ** 2
    deviation = np.sqrt(np.average(squares, axis=-1, weights=weights.ravel()))
    expected = (image - mean) / (deviation + 1)
    np.testing.assert_allclose(naturalness._mscn(image), expected, atol=1e-10)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_mscn_of_one_colour_is_zero(level):
    image = np.full((96, 96), float(level))
    np.testing.assert_array_equal(naturalness._mscn(image), 0)


def test_fit_recovers_the_distributions_of_samples():
    rng = np.random.default_rng(0)
    parameters = [(0.6, 0.5, 0.2), (1, 1, 1), (2, 0.3, 0.9), (3.5, 2, 1.5)]
    samples = []
    for shape, left, right in parameters:
        # |x / scale|^shape is Gamma(1 / shape); a side has its scale's share of samples.
        magnitude = rng.gamma(1 / shape, size=400_000) ** (1 / shape)
        is_left = rng.uniform(size=400_000) < left / (left + right)
        samples.append(magnitude * np.where(is_left, -left, right))
    fitted = np.stack(naturalness._fit_aggd(np.stack(samples)), axis=1)
    np.testing.assert_allclose(fitted, parameters, rtol=0.02)


def test_blur_and_noise_make_scores_higher(cat):
    noise = np.random.default_rng(0).normal(size=cat.shape)
    blurred = [ndimage.gaussian_filter(cat, (s, s, 0)) for s in (0, 1, 2, 4)]
    noisy = [np.clip(cat + s * noise, 0, 255).astype(np.uint8) for s in (0, 5, 15, 45)]
    for images in (blurred, noisy):
        scores = [naturalness.niqe(image) for image in images]
        assert np.all(np.diff(scores) > 0.5), scores


@pytest.mark.parametrize(
    ("turn", "first", "second"),
    [
        (np.fliplr, "main_diagonal", "anti_diagonal"),
        (lambda image: image.swapaxes(0, 1), "horizontal", "vertical"),
    ],
)
def test_turning_the_image_swaps_directions(cat, turn, first, second):
    image = cat[:288, :384]
    swapped = [
        name.replace(first, "?").replace(second, first).replace("?", second)
        for name in naturalness.FEATURE_NAMES
    ]
    order = [naturalness.FEATURE_NAMES.index(name) for name in swapped]
    turned = np.sort(
        naturalness.features(turn(image)), axis=0
    )  # the order of blocks is another
    expected = np.sort(naturalness.features(image)[:, order], axis=0)
    np.testing.assert_allclose(turned, expected, atol=1e-9)
    assert naturalness.niqe(turn(image)) == pytest.approx(
        naturalness.niqe(image), rel=0.05
    )


def test_horizontal_features_are_of_neighbours_in_a_row():
    rng = np.random.default_rng(0)
    rows = rng.integers(20, 236, (192, 1)) + rng.integers(-20, 20, (192, 192))
    columns = dict(
        zip(naturalness.FEATURE_NAMES, naturalness.features(rows.astype(np.uint8)).T)
    )
    for size in ("full", "half"):  # products of equal signs are positive
        assert (columns[f"{size}_horizontal_mean"] > 0.1).all()
        assert (columns[f"{size}_vertical_mean"] < 0.1).all()


def test_rows_of_features_are_the_whole_blocks(cat):
    features = naturalness.features(cat)  # 300 x 451
    assert features.shape == (3 * 4, len(naturalness.FEATURE_NAMES))
    np.testing.assert_array_equal(features, naturalness.features(cat[:288, :384]))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((191, 500, 3), np.uint8), "192 x 192 .* 191 x 500"),
        (np.zeros((500, 95), np.uint8), "192 x 192 .* 500 x 95"),
        (np.zeros((200, 200, 3)), "uint8 .* float64"),
        (np.zeros((200, 200, 4), np.uint8), r"\[200, 200, 4\]"),
        (np.zeros((1, 200, 200, 3), np.uint8), r"\[1, 200, 200, 3\]"),
        (np.zeros(200, np.uint8), r"\[200\]"),
        (np.full((200, 200, 3), 128, np.uint8), "one colour"),
    ],
)
def test_images_without_a_score_are_rejected(image, message):
    with pytest.raises(ValueError, match=message):
        naturalness.niqe(image)


def test_pristine_model_is_packaged_and_a_gaussian():
    name = "niqe_pristine.json"
    assert (importlib.resources.files("ttl_jax.metrics") / name).is_file()
    project = pathlib.Path(__file__).parents[2] / "pyproject.toml"
    packaged = tomllib.loads(project.read_text())["tool"]["setuptools"]["package-data"]
    assert name in packaged["ttl_jax.metrics"]
    mean, covariance = naturalness._pristine_model()
    assert mean.shape == (36,)
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 1e-6
