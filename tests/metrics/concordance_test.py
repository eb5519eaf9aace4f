"""Kendall's W against SciPy and the relations of the literature."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ttl_jax.metrics import concordance


def rankings(num_raters, num_things, seed=0):
    rng = np.random.default_rng(seed)
    things = np.arange(1, num_things + 1)
    return rng.permuted(np.tile(things, (num_raters, 1)), axis=1)


@pytest.mark.parametrize("shape", [(2, 3), (7, 4), (20, 8)])
def test_w_is_friedmans_statistic_over_its_maximum(shape):
    ranks = rankings(*shape)
    friedman = stats.friedmanchisquare(*ranks.T).statistic
    expected = friedman / (shape[0] * (shape[1] - 1))
    assert concordance.kendall_w(ranks) == pytest.approx(expected)


def test_w_follows_from_the_mean_of_spearmans_correlations():
    ranks = rankings(6, 5)
    mean = np.mean(
        [stats.spearmanr(*pair).statistic for pair in itertools.combinations(ranks, 2)]
    )
    assert concordance.kendall_w(ranks) == pytest.approx((mean * 5 + 1) / 6)


def test_w_is_1_for_equal_rankings_and_0_for_opposite_ones():
    ranks = rankings(1, 6)
    assert concordance.kendall_w(np.repeat(ranks, 3, axis=0)) == pytest.approx(1)
    assert concordance.kendall_w(np.concatenate([ranks, 7 - ranks])) == 0


def test_random_rankings_have_the_mean_1_over_m():
    values = [concordance.kendall_w(rankings(4, 5, seed)) for seed in range(500)]
    assert np.mean(values) == pytest.approx(1 / 4, abs=0.02)


@pytest.mark.parametrize("ranks", [[[1, 2]], [[1], [1]], [[1, 2], [1, 1]], [1, 2]])
def test_ties_and_single_raters_are_rejected(ranks):
    with pytest.raises(ValueError, match="ranks"):
        concordance.kendall_w(ranks)
