"""Windows cover an image, blend to it, and keep their cost bounds."""

import itertools

import numpy as np
import pytest

from ttl_jax.inference import windows

SMALL = {"grid": 16, "side": 48, "overlap": 16}


def test_an_axis_is_divided_as_computed_by_hand():
    plan = windows.plan(100, 90, **SMALL)
    # 112 padded pixels: three windows of 48 sharing 16. 96: 48, 48 and 32.
    assert (plan.rows.starts, plan.rows.sides) == ((0, 32, 64), (48, 48, 48))
    assert (plan.columns.starts, plan.columns.sides) == ((0, 32, 64), (48, 48, 32))
    assert list(plan)[:4] == [(0, 0, 48, 48), (0, 32, 48, 48), (0, 64, 48, 32),
                              (32, 0, 48, 48)]  # fmt: skip
    assert len(plan) == 9


def test_a_whole_image_is_one_window_of_its_own_size():
    assert list(windows.plan(101, 7, grid=None)) == [(0, 0, 101, 7)]


def test_an_image_that_fits_is_one_window_on_the_grid():
    assert list(windows.plan(321, 481, grid=64)) == [(0, 0, 384, 512)]
    assert list(windows.plan(960, 1, grid=64)) == [(0, 0, 960, 64)]


@pytest.mark.parametrize("overlap", [128, 192])
@pytest.mark.parametrize("grid", [32, 64, 96])
def test_windows_lie_on_the_grid_and_share_the_overlap(grid, overlap):
    shared = -(-overlap // grid) * grid
    for length in (*range(1, 3000, 13), 8688, 12000):
        axis = windows.plan(length, 5, grid=grid, overlap=overlap).rows
        ends = np.add(axis.starts, axis.sides)
        assert axis.starts[0] == 0 and length <= ends[-1] < length + grid
        assert (np.subtract(ends[:-1], axis.starts[1:]) == shared).all()
        assert not np.mod((axis.starts, axis.sides), grid).any()
        assert max(axis.sides) - min(axis.sides) in (0, grid)
        assert max(axis.sides) <= 960
        if len(axis.starts) > 1:  # a pixel belongs to two windows at most
            assert min(axis.sides) >= 2 * shared


@pytest.mark.parametrize("length", [1, 16, 31, 48, 49, 100, 333, 1000])
def test_weights_add_up_to_one_in_the_image_and_are_zero_beyond(length):
    axis = windows.plan(length, 5, **SMALL).rows
    total = np.zeros(axis.starts[-1] + axis.sides[-1])
    for start, weights in zip(axis.starts, axis.weights()):
        assert (weights >= 0).all()
        total[start : start + len(weights)] += weights
    np.testing.assert_allclose(total[:length], 1, atol=1e-6)
    assert not total[length:].any()


def test_weights_change_linearly_from_one_window_to_the_next():
    first, second, _ = windows.plan(112, 5, **SMALL).rows.weights()
    np.testing.assert_allclose(np.diff(first[-16:]), -1 / 16, atol=1e-6)
    np.testing.assert_allclose(first[-16:], 1 - second[:16], atol=1e-6)
    assert (first[:-16] == 1).all() and first[-1] == 1 / 32


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (20, 33), (64, 64)])
def test_beyond_the_image_it_is_reflected_as_often_as_needed(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    padding = [(0, 64 - side) for side in size]
    expected = np.pad(image, (*padding, (0, 0)), mode="reflect")
    whole = windows.Window(0, 0, 64, 64)
    np.testing.assert_array_equal(windows.read(image, whole), expected)
    part = windows.Window(16, 32, 32, 16)
    np.testing.assert_array_equal(windows.read(image, part), expected[16:48, 32:48])


@pytest.mark.parametrize("size", [(5, 130), (100, 90), (48, 48), (17, 1)])
def test_blending_untouched_windows_returns_the_image(size):
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    plan = windows.plan(*size, **SMALL)
    blended = windows.blend(plan, (windows.read(image, window) for window in plan))
    joined = np.full_like(image, np.nan)
    for rows, values in blended:
        joined[rows] = values
    np.testing.assert_allclose(joined, image, atol=1e-6)


def test_blending_keeps_one_row_of_windows_in_memory():
    plan = windows.plan(100, 90, **SMALL)
    drawn = []

    def restore():
        for number, window in enumerate(plan):
            drawn.append(number)
            yield np.zeros((*window[2:], 3), np.float32)

    seen = [(rows, len(drawn)) for rows, _ in windows.blend(plan, restore())]
    assert seen == [(slice(0, 32), 3), (slice(32, 64), 6), (slice(64, 100), 9)]


def covered(lengths, **layout):
    """Pixels that the windows of an axis have together, for each length."""
    axes = (windows.plan(int(length), 1, grid=64, **layout).rows for length in lengths)
    return np.array([sum(axis.sides) for axis in axes])


def test_overlap_costs_less_than_1_57_times_the_padded_image_at_any_size():
    lengths = np.arange(1, 20000)
    padded = -(-lengths // 64) * 64
    assert (covered(lengths) / padded).max() ** 2 < 1.57


def test_from_8_megapixels_on_windows_have_at_most_1_6_times_the_pixels():
    lengths = np.arange(1, 24000)
    ratio = np.append(1, covered(lengths) / lengths)  # by length
    for short in range(1415, 6000):  # pixels; the longer side is up to 4 times that
        long = ratio[max(short, -(-8_000_000 // short)) : 4 * short + 1]
        assert ratio[short] * long.max(initial=0) <= 1.6, short
    cameras = [(2448, 3264), (3000, 4000), (3456, 5184), (4000, 6000), (5504, 8256)]
    for height, width in cameras:
        assert ratio[height] * ratio[width] <= 1.5


def test_padding_to_one_window_costs_at_most_1_35_times_from_390_pixels():
    lengths = np.arange(390, 961)
    assert (covered(lengths) / lengths).max() ** 2 <= 1.35


def test_few_window_shapes_cover_all_cameras():
    sizes = itertools.product(range(2048, 9000, 16), range(2048, 9000, 592))
    shapes = {window[2:] for size in sizes for window in windows.plan(*size, grid=64)}
    assert len(shapes) <= 25
