import numpy as np
import pytest

from ttl_jax.metrics import coverage
from ttl_jax.reports.rain_analysis import rain_features
from ttl_jax.reports.rain_analysis.rain_features import OTHER_HALF


def feature_set(num, *, shift=0.0, seed=0, repeats=1):
    """Normal vectors of as many scenes, each scene `repeats` times."""
    features = np.random.default_rng(seed).normal(shift, 1, (num, 3))
    return np.repeat(features, repeats, 0), np.repeat(np.arange(num), repeats)


def cover(real, others, seed=0):
    """`rain_features.cover` with the numbers of rows and sets by name."""
    others = {(name, "rainy"): other for name, other in others.items()}
    found = rain_features.cover(real, others, seed, "real")
    assert all(r["side"] == OTHER_HALF for r in found["rows"] if r["set"] == "real")
    rows = {row.pop("set"): row for row in found["rows"]}
    return found["samples"], rows, {r["set"]: r["scenes"] for r in found["too_few"]}


def test_a_set_of_the_same_distribution_reaches_the_ceiling_and_a_far_one_nothing():
    others = {"near": feature_set(50, seed=1), "far": feature_set(50, shift=20)}
    samples, rows, _ = cover(feature_set(100), others)
    assert samples == 50
    ceiling = rows["real"]["coverage"]["mean"]
    assert ceiling == pytest.approx(1 - 2**-5, abs=0.02)
    assert rows["near"]["coverage"]["mean"] == pytest.approx(ceiling, abs=0.1)
    assert rows["far"]["coverage"]["high"] == rows["far"]["density"]["high"] == 0
    for row in rows.values():
        for figures in (row["coverage"], row["density"]):
            assert figures["low"] <= figures["mean"] <= figures["high"]


def test_a_row_does_not_depend_on_the_sets_beside_it_nor_on_scale():
    real, other = feature_set(60), feature_set(40, seed=1)
    alone = cover(real, {"other": other}, seed=3)[1]
    third = feature_set(45, shift=9)
    assert (
        alone["other"] == cover(real, {"third": third, "other": other}, 3)[1]["other"]
    )
    scale = np.array([1.0, 1e3, 1e-3])
    real_scaled, other_scaled = ((v * scale, scenes) for v, scenes in (real, other))
    assert cover(real_scaled, {"other": other_scaled}, seed=3)[1] == alone
    assert cover(real, {"other": other}, seed=4)[1] != alone


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
    cover(real, {})
    assert sizes == {(23, 23)}


def test_sets_of_few_scenes_are_named_and_do_not_shrink_the_others():
    few = feature_set(6, repeats=10)
    samples, rows, too_few = cover(
        feature_set(80), {"few": few, "many": feature_set(30)}
    )
    assert samples == 30
    assert too_few == {"few": 6}
    assert list(rows) == ["real", "many"]
    assert cover(feature_set(39), {"many": feature_set(30)}) == (0, {}, {"real": 39})


def test_the_map_separates_clusters_and_is_the_same_again():
    features = np.concatenate([feature_set(15, shift=s)[0] for s in (0, 30)])
    places, perplexity = rain_features.make_map(features, seed=1)
    assert places.shape == (30, 2)
    assert perplexity == pytest.approx(29 / 3)
    centres = places[:15].mean(0), places[15:].mean(0)
    gap = np.linalg.norm(centres[0] - centres[1])
    spread = np.linalg.norm(places[:15] - centres[0], axis=1).max()
    assert gap > spread
    np.testing.assert_array_equal(rain_features.make_map(features, seed=1)[0], places)


def test_the_perplexity_has_a_limit_and_a_map_a_least_number():
    features = feature_set(120)[0]
    assert rain_features.make_map(features, 0)[1] == rain_features.PERPLEXITY
    with pytest.raises(ValueError, match="3 images are too few"):
        rain_features.make_map(features[:3], 0)


def test_a_constant_feature_has_no_effect():
    features = feature_set(5)[0]
    constant = np.concatenate([features, np.full((5, 1), 7.0)], axis=1)
    standard = rain_features.standardise(constant, constant)
    np.testing.assert_array_equal(standard[:, 3], 0)
    np.testing.assert_allclose(standard[:, :3].std(axis=0), 1)
    assert rain_features.choose_points(1000, 0).size == rain_features.MAX_POINTS
    np.testing.assert_array_equal(rain_features.choose_points(3, 0), [0, 1, 2])
