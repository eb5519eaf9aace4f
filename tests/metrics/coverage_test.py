import itertools

import numpy as np
import pytest

from ttl_jax.metrics import coverage


def column(*values):
    return np.array(values, float)[:, None]


REAL = column(0, 1, 3, 10)  # radii of k = 1: 1, 1, 2, 7


@pytest.mark.parametrize(
    ("synthetic", "share", "crowd"),
    [
        (column(0.5), 2 / 4, 2),  # in the balls of 0 and 1
        (column(-5), 0, 0),
        (column(4), 2 / 4, 2),  # in those of 3 and 10
        (column(0.5, 4), 1, 2),
        (column(2), 2 / 4, 2),  # on the border of 1's ball: balls are closed
        (column(0.5, -5), 2 / 4, 1),
    ],
)
def test_small_sets_by_hand(synthetic, share, crowd):
    assert coverage.coverage(REAL, synthetic, 1) == share
    assert coverage.density(REAL, synthetic, 1) == crowd


@pytest.mark.parametrize("k", [1, 3, 5])
def test_loops_over_sorted_distances_agree(k):
    rng = np.random.default_rng(k)
    real, synthetic = rng.normal(size=(12, 3)), rng.normal(0.8, 1, size=(9, 3))
    balls = [
        sorted(np.linalg.norm(x - y) for j, y in enumerate(real) if j != i)[k - 1]
        for i, x in enumerate(real)
    ]
    held = [
        (i, j)
        for i, j in itertools.product(range(12), range(9))
        if np.linalg.norm(real[i] - synthetic[j]) <= balls[i]
    ]
    share = len({i for i, _ in held}) / 12
    assert coverage.coverage(real, synthetic, k) == pytest.approx(share)
    assert coverage.density(real, synthetic, k) == pytest.approx(len(held) / (9 * k))


def test_a_set_covers_itself_even_where_vectors_repeat():
    real = np.repeat(np.random.default_rng(0).normal(size=(6, 2)), 3, axis=0)
    assert coverage.coverage(real, real, 2) == 1


def test_sets_of_one_distribution_reach_the_expected_values():
    rng = np.random.default_rng(0)
    sets = [rng.normal(size=(2, 200, 4)) for _ in range(20)]
    shares = [coverage.coverage(*pair, 5) for pair in sets]
    crowds = [coverage.density(*pair, 5) for pair in sets]
    assert np.mean(shares) == pytest.approx(1 - 2**-5, abs=0.01)
    assert np.mean(crowds) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("real", "synthetic", "k", "message"),
    [
        (REAL, np.zeros((2, 3)), 1, "not"),
        (REAL, np.zeros((0, 1)), 1, "not"),
        (REAL[:, 0], REAL, 1, "not"),
        (REAL, REAL, 4, "out of range for 4 real vectors: 1 to 3"),
        (REAL, REAL, 0, "out of range for 4 real vectors: 1 to 3"),
    ],
)
def test_sets_that_do_not_fit_are_rejected(real, synthetic, k, message):
    with pytest.raises(ValueError, match=message):
        coverage.coverage(real, synthetic, k)
