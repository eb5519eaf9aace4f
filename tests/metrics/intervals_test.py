"""Bootstrap intervals against the normal approximation, enumeration and simulation."""

import itertools

import numpy as np
import pytest

from ttl_jax.metrics import intervals


def scores(rng, num_scenes, per_scene, image_sigma=0.2):
    """Scores around 0 [N] whose scenes differ by sigma 1, and the scene of each image."""
    groups = np.repeat(np.arange(num_scenes), per_scene)
    images = rng.normal(0, image_sigma, len(groups))
    return rng.normal(size=num_scenes)[groups] + images, groups


def test_interval_of_many_scenes_is_the_normal_approximation():
    values, groups = scores(np.random.default_rng(0), 400, 3)
    # The mean of equally many images per scene is that of the scenes' means, whose
    # standard error is sigma / sqrt(400).
    means = values.reshape(400, 3).mean(axis=1)
    half = 1.96 * means.std() / 20
    interval = intervals.bootstrap_mean(values, groups, num_resamples=20000)
    np.testing.assert_allclose(interval.mean, values.mean())
    np.testing.assert_allclose(
        interval[1:], means.mean() + [-half, half], rtol=0, atol=0.03 * half
    )


@pytest.fixture
def three_scenes_are_enough(monkeypatch):
    monkeypatch.setattr(intervals, "MIN_SCENES", 3)


@pytest.mark.usefixtures("three_scenes_are_enough")
def test_bounds_are_the_percentiles_of_all_resamples_of_three_scenes():
    # 27 equally likely draws of 3 scenes of 1, 2 and 3 images, each with all its images:
    # the bounds at 60 % fall inside steps of their distribution, so they are exact.
    scenes = [[3.0], [5.0, 8.0], [1.0, 2.0, 12.0]]
    draws = itertools.product(scenes, repeat=3)
    means = [np.mean(np.concatenate(draw)) for draw in draws]
    expected = np.quantile(means, [0.2, 0.8], method="inverted_cdf")
    groups = ["a", "b", "b", "c", "c", "c"]
    interval = intervals.bootstrap_mean(
        np.concatenate(scenes), groups, num_resamples=20000, level=0.6
    )
    np.testing.assert_allclose(interval, [31 / 6, *expected])


@pytest.mark.usefixtures("three_scenes_are_enough")
def test_sets_weigh_the_same_in_all_resamples_of_three_scenes():
    # Scene b is in both sets. A draw without a scene of one set does not count.
    scenes = [{"x": [3.0]}, {"x": [5.0, 8.0], "y": [9.0]}, {"y": [2.0, 12.0]}]
    means = []
    for draw in itertools.product(scenes, repeat=3):
        of_sets = [
            [value for scene in draw for value in scene.get(name, [])] for name in "xy"
        ]
        if all(of_sets):
            means.append(np.mean([np.mean(values) for values in of_sets]))
    expected = np.quantile(means, [0.2, 0.8], method="inverted_cdf")
    interval = intervals.bootstrap_mean(
        [3, 5, 8, 9, 2, 12], list("abbbcc"), sets=list("xxxyyy"), num_resamples=20000,
        level=0.6,
    )  # fmt: skip
    np.testing.assert_allclose(interval, [(16 / 3 + 23 / 3) / 2, *expected])


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(600):
        interval = intervals.bootstrap_mean(
            *scores(rng, 60, 2), num_resamples=500, seed=trial, level=0.9
        )
        covered += interval.low <= 0 <= interval.high
    # 90 %, of which 60 scenes cost half of one; 3 standard errors are 3.7 %.
    assert 0.86 < covered / 600 < 0.935


def test_images_of_a_scene_move_together():
    # Copies of an image add nothing: the interval stays, and is not sqrt(14) narrower.
    values, groups = scores(np.random.default_rng(2), 50, 1)
    once = intervals.bootstrap_mean(values, groups)
    copies = intervals.bootstrap_mean(np.repeat(values, 14), np.repeat(groups, 14))
    np.testing.assert_allclose(copies, once)
    apart = intervals.bootstrap_mean(np.repeat(values, 14), np.arange(50 * 14))
    ratio = (apart.high - apart.low) / (once.high - once.low)
    np.testing.assert_allclose(ratio, 1 / np.sqrt(14), rtol=0.1)


def test_order_of_the_images_does_not_matter():
    values, groups = scores(np.random.default_rng(3), 20, 3)
    reference = values - np.random.default_rng(4).normal(1, 1, 60)
    order = np.random.default_rng(5).permutation(60)
    np.testing.assert_allclose(
        intervals.bootstrap_difference(values[order], reference[order], groups[order]),
        intervals.bootstrap_difference(values, reference, groups),
    )


def test_the_difficulty_of_a_scene_cancels_in_differences():
    reference, groups = scores(np.random.default_rng(6), 30, 2)
    better = reference + 0.1
    low, high = intervals.bootstrap_difference(better, reference, groups)[1:]
    np.testing.assert_allclose([low, high], 0.1)
    alone = intervals.bootstrap_mean(better, groups)
    assert alone.high - alone.low > 0.5


def test_seed_decides_the_draws_and_nothing_else():
    values, groups = scores(np.random.default_rng(7), 20, 3)
    np.random.seed(1)
    first = intervals.bootstrap_mean(values, groups)
    np.random.seed(2)
    assert intervals.bootstrap_mean(values, groups) == first
    other = intervals.bootstrap_mean(values, groups, seed=1)
    assert other.mean == first.mean and other.low != first.low


def test_few_scenes_have_a_mean_but_no_interval():
    interval = intervals.bootstrap_difference([3.0, 5.0], [1.0, 2.0], ["a", "a"])
    np.testing.assert_array_equal(interval, [2.5, np.nan, np.nan])
    assert interval.to_dict() == {"mean": 2.5, "low": None, "high": None}
    for count in (2, 4, 5):
        interval = intervals.bootstrap_mean(np.arange(count), np.arange(count))
        assert [np.isnan(bound) for bound in interval[1:]] == 2 * [count < 5]


@pytest.mark.parametrize("num_sets", [3, 20])
def test_sets_of_one_scene_have_no_interval(num_sets):
    # Every complete resample draws each scene once: its mean does not vary.
    values, sets = np.arange(2.0 * num_sets), np.repeat(np.arange(num_sets), 2)
    interval = intervals.bootstrap_mean(values, sets, sets=sets)
    np.testing.assert_array_equal(interval, [num_sets - 0.5, np.nan, np.nan])
    assert intervals.bootstrap_mean(values, values, sets=sets).low < num_sets - 0.5


def test_sets_that_no_resample_has_together_have_no_interval():
    values = np.arange(200.0)
    interval = intervals.bootstrap_mean(values, values, sets=values // 2)
    np.testing.assert_array_equal(interval, [99.5, np.nan, np.nan])


@pytest.mark.parametrize(
    ("values", "reference", "groups", "options", "message"),
    [
        ([1, 2], [1], "ab", {}, r"\(2,\) cannot be paired .* \(1,\)"),
        ([1, 2], [1, 1], "a", {}, r"not shapes \(2,\), \(1,\) and \(2,\)"),
        ([1, 2], [1, 1], "ab", {"sets": ["x"]}, r"\(2,\), \(2,\) and \(1,\)"),
        ([1, 2], [1, 1], "ab", {"sets": list("xyz")}, r"and \(3,\)"),
        ([], [], "", {}, r"not shapes \(0,\)"),
        ([1, np.nan], [1, 1], "ab", {}, "but 1 of 2 are not"),
        ([1, 2], [1, 1], "ab", {"num_resamples": 0}, "not 0 and 0.95"),
        ([1, 2], [1, 1], "ab", {"level": 95}, "not 2000 and 95"),
    ],
)
def test_invalid_arguments_are_rejected(values, reference, groups, options, message):
    with pytest.raises(ValueError, match=message):
        intervals.bootstrap_difference(values, reference, list(groups), **options)
