import zlib

import numpy as np
import pytest
from scipy import stats

from ttl_jax.data import randomness


def test_a_generator_depends_on_the_name_and_on_all_numbers():
    keys = [("a",), ("b",), ("a", 0), ("a", 0, 0), ("a", 1), ("a", 0, 1), ("a", 1, 0)]
    drawn = {randomness.rng_of(*key).integers(2**63) for key in keys}
    assert len(drawn) == len(keys)
    assert randomness.rng_of("a", 1).random() == randomness.rng_of("a", 1).random()


def test_a_generator_is_that_of_numpy_with_checksum_count_and_numbers():
    entropy = (zlib.crc32(b"a.png"), 2, 5, 7)
    expected = np.random.default_rng(entropy).random()
    assert randomness.rng_of("a.png", 5, 7).random() == expected


def test_log_uniform_has_the_distribution_of_scipy():
    rng = np.random.default_rng(0)
    drawn = [randomness.log_uniform(rng, 0.5, 40) for _ in range(2000)]
    assert stats.kstest(drawn, stats.loguniform(0.5, 40).cdf).pvalue > 0.01
    assert randomness.log_uniform(rng, 3, 3) == pytest.approx(3)
