"""Agreement of crops and wholes, and seams, against closed forms."""

import numpy as np
import pytest

from ttl_jax.metrics import agreement


@pytest.fixture
def photograph():
    return np.random.default_rng(0).integers(60, 200, (90, 70, 3), np.uint8)


def darken(image):
    return image // 2


def test_a_restorer_of_single_pixels_agrees_with_itself(photograph):
    found = agreement.measure(photograph, darken(photograph), darken, crop=40)
    assert found == agreement.Agreement(disagreement=0, change_ratio=1)


def test_disagreement_and_ratio_are_those_of_known_changes(photograph):
    """Crops lose 12 levels and the whole 3: 9 over (12 + 3) / 2, and 3 over 12."""
    found = agreement.measure(
        photograph, photograph - 3, lambda image: image - 12, crop=40
    )
    assert found.disagreement == pytest.approx(9 / 7.5)
    assert found.change_ratio == pytest.approx(3 / 12)


def test_crops_lie_within_the_photograph_and_in_its_corners(photograph):
    seen = []

    def restore(crop):
        seen.append(crop)
        return crop // 2

    agreement.measure(photograph, darken(photograph), restore, crop=40)
    assert all(crop.shape == (40, 40, 3) for crop in seen)
    np.testing.assert_array_equal(seen[0], photograph[:40, :40])
    np.testing.assert_array_equal(seen[-1], photograph[-40:, -40:])


def test_a_side_shorter_than_the_crop_is_used_whole(photograph):
    shapes = set()

    def restore(crop):
        shapes.add(crop.shape)
        return crop // 2

    assert agreement.measure(photograph, darken(photograph), restore, crop=80)
    assert shapes == {(80, 70, 3)}


def test_small_photographs_and_small_changes_have_no_agreement(photograph):
    assert agreement.measure(photograph, darken(photograph), darken, crop=90) is None
    unchanged = agreement.measure(photograph, photograph, lambda image: image, crop=40)
    assert unchanged is None


def test_seams_are_the_steps_between_windows():
    """Two windows beside each other, 2 levels apart, and one below, 5 from the first."""
    base = np.full((64, 64, 3), 0.5)
    windows = [
        ((0, 0, 64, 64), base),
        ((0, 32, 64, 64), base + 2 / 255),
        ((32, 0, 64, 64), base - 5 / 255),
    ]
    seams = agreement.measure_seams(windows, (96, 96))
    assert seams.mean == pytest.approx((2 + 5) / 2)
    assert seams.high == pytest.approx(5)


def test_windows_that_overlap_little_have_the_same_seam():
    base = np.full((64, 64, 3), 0.5)
    windows = [((0, 0, 64, 64), base), ((0, 60, 64, 64), base + 2 / 255)]
    assert agreement.measure_seams(windows, (64, 124)).mean == pytest.approx(2)


def test_pixels_of_windows_beyond_the_image_do_not_count():
    """Two windows that differ in their last 24 rows, of which the image has none."""
    base = np.full((64, 64, 3), 0.5)
    other = base.copy()
    other[40:] += 0.2
    windows = [((0, 0, 64, 64), base), ((0, 32, 64, 64), other)]
    assert agreement.measure_seams(windows, (40, 96)).high == 0
    assert agreement.measure_seams(windows, (64, 96)).high == pytest.approx(0.2 * 255)


def test_seams_are_means_across_the_border():
    """What changes from pixel to pixel across a border is no step of brightness."""
    noise = np.where(np.arange(64) % 2, 0.1, -0.1)[None, :, None]
    base = np.full((64, 64, 3), 0.5)
    windows = [((0, 0, 64, 64), base), ((0, 32, 64, 64), base + noise)]
    assert agreement.measure_seams(windows, (96, 96)).mean == pytest.approx(0, abs=1e-9)


def test_one_window_has_no_seams():
    assert (
        agreement.measure_seams([((0, 0, 8, 8), np.zeros((8, 8, 3)))], (8, 8)) is None
    )
