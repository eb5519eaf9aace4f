"""Flicker against closed forms."""

import numpy as np
import pytest

from ttl_jax.metrics.flicker import change, flicker, warp


@pytest.fixture
def video():
    return np.random.default_rng(0).integers(0, 255, (4, 12, 16, 3), np.uint8)


def test_the_input_has_flicker_1_and_a_frozen_video_0(video):
    assert flicker(video, video) == 1
    assert flicker(np.repeat(video[:1], 4, axis=0), video) == 0


def test_flicker_is_the_ratio_of_alternating_levels():
    """Levels change by 3 in one video and by 12 in the other."""
    signs = np.array([1, -1, 1, -1])[:, None, None, None] * np.ones((4, 6, 6, 3))
    assert flicker(100 + 1.5 * signs, 100 + 6 * signs) == pytest.approx(0.25)


def test_pairs_of_frames_that_hardly_change_count_little():
    levels = np.array([[100, 101, 116], [100, 103, 103]], float)  # input, result
    rainy, restored = levels[..., None, None, None] * np.ones((3, 6, 6, 3))
    assert flicker(restored, rainy) == pytest.approx((3 + 0) / (1 + 15))
    parts = [change(restored[t : t + 2]) for t in range(2)]
    assert sum(parts) == pytest.approx(change(restored)) == 6 * 6 * 3


def test_motion_of_the_camera_is_not_flicker():
    columns, rows = np.meshgrid(np.arange(40.0), np.arange(20.0))
    scene = np.dstack([np.sin(columns / 4), np.cos(rows / 3), np.sin(columns / 5)])
    moved = np.stack([scene[:, 2 * t : 2 * t + 30] for t in range(4)])
    noisy = moved + np.random.default_rng(1).normal(0, 0.1, moved.shape)
    positions = np.dstack(np.meshgrid(np.arange(30.0) - 2, np.arange(20.0)))
    still = np.ones((3, 20, 30), bool)
    still[:, :, :3] = False  # seen in one of the frames only
    alignment = {"positions": np.stack([positions] * 3), "still": still}
    assert flicker(moved, noisy, **alignment) < 1e-6
    assert flicker(moved, noisy) > 0.1


def test_the_rounding_of_splines_is_no_change(video):
    still = np.repeat(video[:1], 4, axis=0)
    grid = np.dstack(np.meshgrid(np.arange(16.0), np.arange(12.0)))
    positions = np.stack([grid + 1e-12] * 3)
    warped = warp(still[1:].astype(np.float64), positions)
    assert 0 < np.abs(warped - still[1:]).max() < 1e-3
    assert change(still, positions=positions) == 0
    with pytest.raises(ValueError, match="does not change"):
        flicker(video, still, positions=positions)


def test_moving_objects_are_excluded(video):
    restored = np.repeat(video[:1], 4, axis=0)
    restored[:, :4] = video[:, :4]
    still = np.ones((3, 12, 16), bool)
    still[:, :4] = False
    assert flicker(restored, video, still=still) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"restored": np.zeros((3, 12, 16, 3))}, "one shape"),
        ({"positions": np.zeros((4, 12, 16, 2))}, "positions has shape"),
        ({"still": np.zeros((3, 12, 16), bool)}, "No pixel is included"),
        ({"rainy": np.zeros((4, 12, 16, 3))}, "does not change"),
    ],
)
def test_invalid_input_is_named(video, change, message):
    with pytest.raises(ValueError, match=message):
        flicker(**{"restored": video, "rainy": video} | change)
