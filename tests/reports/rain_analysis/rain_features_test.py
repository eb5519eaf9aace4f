import numpy as np
import pytest

from ttl_jax.metrics import coverage
from ttl_jax.reports.rain_analysis import rain_features
from ttl_jax.reports.rain_analysis.rain_features import FeatureSet


def feature_set(num, *, shift=0.0, seed=0, repeats=1):
    """Normal vectors of as many scenes, each scene `repeats` times."""
    features = np.random.default_rng(seed).normal(shift, 1, (num, 3))
    return FeatureSet(
        np.repeat(features, repeats, 0), np.repeat(np.arange(num), repeats)
    )


def test_a_set_of_the_same_distribution_reaches_the_ceiling_and_a_far_one_nothing():
    others = {"near": feature_set(50, seed=1), "far": feature_set(50, shift=20)}
    cover = rain_features.cover(feature_set(100), others, seed=0)
    assert cover.samples == 50
    ceiling = cover.rows[None]
    assert ceiling["coverage"]["mean"] == pytest.approx(1 - 2**-5, abs=0.02)
    assert cover.rows["near"]["coverage"]["mean"] == pytest.approx(
        ceiling["coverage"]["mean"], abs=0.1
    )
    assert cover.rows["far"]["coverage"]["high"] == 0
    assert cover.rows["far"]["density"]["high"] == 0
    for row in cover.rows.values():
        for figures in row.values():
            assert figures["low"] <= figures["mean"] <= figures["high"]


def test_a_row_does_not_depend_on_the_sets_beside_it_nor_on_scale():
    real, other = feature_set(60), feature_set(40, seed=1)
    alone = rain_features.cover(real, {"other": other}, seed=3)
    beside = rain_features.cover(
        real, {"third": feature_set(45, shift=9), "other": other}, seed=3
    )
    assert alone.rows["other"] == beside.rows["other"]
    scale = np.array([1.0, 1e3, 1e-3])
    scaled = rain_features.cover(
        real._replace(features=real.features * scale),
        {"other": other._replace(features=other.features * scale)},
        seed=3,
    )
    assert scaled.rows == alone.rows
    assert rain_features.cover(real, {"other": other}, seed=4).rows != alone.rows


def test_every_draw_takes_one_image_of_a_scene_and_halves_share_none(monkeypatch):
    real = feature_set(46, repeats=3)
    sizes = set()

    def check(reference, sample, k):
        sizes.add((len(reference), len(sample)))
        both = np.concatenate([reference, sample])
        assert len(np.unique(both, axis=0)) == len(both)
        return 0.0

    for measure in ("coverage", "density"):
        check.__name__ = measure
        monkeypatch.setattr(coverage, measure, check)
    rain_features.cover(real, {}, seed=0)
    assert sizes == {(23, 23)}


def test_sets_of_few_scenes_are_named_and_do_not_shrink_the_others():
    few = feature_set(6, repeats=10)
    cover = rain_features.cover(
        feature_set(80), {"few": few, "many": feature_set(30)}, seed=0
    )
    assert cover.samples == 30
    assert cover.too_few == {"few": 6}
    assert list(cover.rows) == [None, "many"]
    cover = rain_features.cover(feature_set(39), {"many": feature_set(30)}, seed=0)
    assert cover == (0, {}, {None: 39})


def test_the_map_separates_clusters_and_is_the_same_again():
    features = np.concatenate([feature_set(15, shift=s).features for s in (0, 30)])
    places, perplexity = rain_features.make_map(features, seed=1)
    assert places.shape == (30, 2)
    assert perplexity == pytest.approx(29 / 3)
    centres = places[:15].mean(0), places[15:].mean(0)
    gap = np.linalg.norm(centres[0] - centres[1])
    spread = np.linalg.norm(places[:15] - centres[0], axis=1).max()
    assert gap > spread
    np.testing.assert_array_equal(rain_features.make_map(features, seed=1)[0], places)


def test_the_perplexity_has_a_limit_and_a_map_a_least_number():
    features = feature_set(120).features
    assert rain_features.make_map(features, 0)[1] == rain_features.PERPLEXITY
    with pytest.raises(ValueError, match="3 images are too few"):
        rain_features.make_map(features[:3], 0)


def test_a_constant_feature_has_no_effect():
    features = feature_set(5).features
    constant = np.concatenate([features, np.full((5, 1), 7.0)], axis=1)
    standard = rain_features.standardise(constant, constant)
    np.testing.assert_array_equal(standard[:, 3], 0)
    np.testing.assert_allclose(standard[:, :3].std(axis=0), 1)
    assert rain_features.choose_points(1000, 0).size == rain_features.MAX_POINTS
    np.testing.assert_array_equal(rain_features.choose_points(3, 0), [0, 1, 2])
