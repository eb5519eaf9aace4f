"""Baselines, against known properties of their filters."""

import numpy as np
import pytest

from ttl_jax.data.sources import source_names
from ttl_jax.inference import baselines
from ttl_jax.metrics import image_quality

EVERY = pytest.mark.parametrize("name", baselines.FILTERS)


def photograph():
    return source_names.open_photographs("sample/test", "clean")[0].load()[:96, :128]


def streaks(width):
    """Grey with three bright vertical streaks."""
    image = np.full((40, 60, 3), 90, np.uint8)
    for x in (10, 30, 50):
        image[5:35, x : x + width] = 220
    return image


def total_variation(image):
    image = image.astype(float)
    return sum(np.abs(np.diff(image, axis=axis)).sum() for axis in (0, 1))


@EVERY
def test_shape_type_and_input_are_kept_and_the_name_is_that_of_the_table(name):
    baseline, image = baselines.make_baseline(name), photograph()
    before = image.copy()
    restored = baseline.restore(image)
    assert baseline.name == name
    assert restored.shape == image.shape
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    assert (restored != image).any()


@EVERY
def test_an_image_of_one_colour_is_left_as_it_is(name):
    image = np.full((20, 30, 3), (0, 128, 255), np.uint8)
    restored = baselines.make_baseline(name).restore(image)
    np.testing.assert_array_equal(restored, image)


@EVERY
def test_grey_stays_grey(name):
    grey = np.repeat(photograph()[..., :1], 3, axis=-1)
    restored = baselines.make_baseline(name).restore(grey)
    np.testing.assert_array_equal(restored[..., 0], restored[..., 1])
    np.testing.assert_array_equal(restored[..., 0], restored[..., 2])


@EVERY
def test_baselines_reduce_the_rain_of_the_sample(name):
    baseline = baselines.make_baseline(name)
    gains = []
    for pair in source_names.open_pairs(["sample/train"])[::30]:
        rainy, clean = pair.load()
        before, after = (
            image_quality.psnr(image[None], clean[None]).item()
            for image in (rainy, baseline.restore(rainy))
        )
        gains.append(after - before)
    assert np.mean(gains) > 0


@pytest.mark.parametrize("name", ["median", "opening"])
def test_streaks_of_one_pixel_vanish_from_a_flat_image(name):
    restored = baselines.make_baseline(name).restore(streaks(1))
    np.testing.assert_array_equal(restored, np.full_like(restored, 90))


def test_the_opening_removes_narrow_streaks_and_never_brightens():
    opening = baselines.make_baseline("opening", width=5)
    assert opening.restore(streaks(4)).max() == 90
    np.testing.assert_array_equal(opening.restore(streaks(5)), streaks(5))
    image = photograph()
    assert (opening.restore(image) <= image).all()


def test_dark_lines_survive_the_opening():
    image = 255 - streaks(1)
    np.testing.assert_array_equal(
        baselines.make_baseline("opening").restore(image), image
    )


def test_total_variation_falls_with_the_weight():
    image = photograph()
    variations = [total_variation(image)] + [
        total_variation(baselines.make_baseline("tv", weight=weight).restore(image))
        for weight in (0.01, 0.03, 0.1)
    ]
    assert variations == sorted(variations, reverse=True)
    assert variations[-1] < 0.6 * variations[0]


def test_non_local_means_reduce_noise():
    noise = np.random.default_rng(0).normal(128, 5, (40, 40, 3)).round()
    restored = baselines.make_baseline("nlm").restore(noise.astype(np.uint8))
    assert restored.std() < 0.6 * noise.std()


def test_the_guided_filter_is_the_least_squares_fit_of_each_window():
    rng = np.random.default_rng(0)
    guide, image = rng.random((2, 9, 9, 1))
    radius, eps = 1, 0.01
    fits = np.full((9, 9, 2), np.nan)
    for y in range(1, 8):
        for x in range(1, 8):
            window = np.s_[y - 1 : y + 2, x - 1 : x + 2, 0]
            g, p = guide[window].ravel(), image[window].ravel()
            # Ridge regression: eps counts once for each of the nine pixels.
            rows = np.stack([g, np.ones(9)], axis=1)
            ridge = np.diag([9 * eps, 0])
            fits[y, x] = np.linalg.solve(rows.T @ rows + ridge, rows.T @ p)
    filtered = baselines.guided_filter(guide, image, radius, eps)
    for y in range(2, 7):
        for x in range(2, 7):
            slope, offset = fits[y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1))
            expected = slope * guide[y, x, 0] + offset
            assert filtered[y, x, 0] == pytest.approx(expected)


def test_the_guided_filter_keeps_strong_edges_and_smooths_weak_ones():
    def step(height):
        image = np.full((20, 20, 3), 100, np.uint8)
        image[:, 10:] += height
        restored = baselines.make_baseline("guided").restore(image).astype(int)
        return (restored[10, 10, 0] - restored[10, 9, 0]) / height

    assert step(120) > 0.9
    assert step(10) < 0.5


@EVERY
@pytest.mark.parametrize(
    "image",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((9, 9, 4), "u1")],
)
def test_other_types_and_shapes_are_rejected(name, image):
    with pytest.raises(ValueError, match=rf"uint8 RGB .* not {image.dtype}"):
        baselines.make_baseline(name).restore(image)
