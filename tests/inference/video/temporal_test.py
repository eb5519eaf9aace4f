"""The vote of neighbouring frames, on scenes and motions that are known."""

import cv2
import numpy as np
import pytest

from ttl_jax.inference.video import temporal


def scene(seed=0, shape=(96, 128)):
    noise = np.random.default_rng(seed).uniform(0, 255, (*shape, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip((smooth - 127) * 6 + 120, 30, 220).astype(np.uint8)


def rain_on(clean, rng):
    """Short bright streaks, and those that a network left, at half their strength."""
    rain = np.zeros(clean.shape[:2], np.float32)
    for row, column in zip(rng.integers(0, 80, 60), rng.integers(0, 128, 60)):
        rain[row : row + 14, column] = 30
    layers = (rain[..., None], rain[..., None] / 2)
    return tuple(np.clip(clean + layer, 0, 255).astype(np.uint8) for layer in layers)


def vote(rainy, restored):
    frames = [
        temporal.Frame(*pair, tag=k) for k, pair in enumerate(zip(rainy, restored))
    ]
    tags, results = zip(*temporal.vote(frames))
    assert tags == tuple(range(len(frames)))
    return results


def error(images, others):
    return np.mean(
        [np.square(a.astype(float) - b).mean() for a, b in zip(images, others)]
    )


@pytest.mark.parametrize("shift", [0, 3])
def test_rain_of_single_frames_vanishes_also_while_the_camera_moves(shift):
    rng, large = np.random.default_rng(1), scene(shape=(96, 192))
    clean = [large[:, shift * k : shift * k + 128] for k in range(8)]
    rainy, restored = zip(*(rain_on(one, rng) for one in clean))
    assert error(vote(rainy, restored), clean) < 0.3 * error(restored, clean)


@pytest.mark.parametrize("num_frames", range(1, 10))
def test_frames_without_rain_stay_as_they_are(num_frames):
    clean = [scene()] * num_frames
    for result in vote(clean, clean):
        np.testing.assert_array_equal(result, clean[0])


def test_detail_that_the_network_removed_returns():
    clean = scene()
    fence = clean.copy()
    fence[:, ::12] = 240
    results = vote([fence] * 5, [clean] * 5)
    assert error(results, [fence] * 5) < 0.4 * error([clean], [fence])


def test_a_cut_separates_scenes():
    clean = [scene(k // 6 * 7) // (1 + k // 6) for k in range(12)]
    for result, one in zip(vote(clean, clean), clean):
        np.testing.assert_array_equal(result, one)


def test_moving_objects_keep_the_pixels_of_the_frame():
    """An object that jumps through the scene stays where it is in each frame."""
    clean = []
    for k in range(6):
        frame = scene().copy()
        frame[30:60, 18 * k : 18 * k + 16] = scene(9)[30:60, :16] // 3
        clean.append(frame)
    for result, frame in zip(vote(clean, clean), clean):
        assert np.abs(result.astype(int) - frame).mean() < 0.5
        assert np.abs(result.astype(int) - frame)[34:56].max() < 80


def test_a_broken_frame_is_copied_and_does_not_vote():
    clean, broken = scene(), np.full((96, 128, 3), 200, np.uint8)
    frames = [temporal.Frame(clean, clean, k) for k in range(6)]
    frames[3] = temporal.Frame(broken, broken, 3, is_broken=True)
    results = dict(temporal.vote(frames))
    np.testing.assert_array_equal(results.pop(3), broken)
    for result in results.values():
        np.testing.assert_array_equal(result, clean)


def test_results_depend_only_on_frames_within_reach():
    rng = np.random.default_rng(2)
    rainy, restored = zip(*(rain_on(scene(), rng) for _ in range(18)))
    whole = vote(rainy, restored)
    start = 10 - temporal.REACH
    part = vote(rainy[start:], restored[start:])
    for one, other in zip(whole[10:], part[10 - start :]):
        np.testing.assert_array_equal(one, other)


def test_frames_of_16_bits_keep_their_depth():
    rng = np.random.default_rng(3)
    rainy, restored = zip(*(rain_on(scene(), rng) for _ in range(5)))
    deep = vote(
        [one * np.uint16(257) for one in rainy],
        [one * np.uint16(257) for one in restored],
    )
    assert deep[2].dtype == np.uint16
    assert np.abs(deep[2] / 257 - vote(rainy, restored)[2]).mean() < 1
