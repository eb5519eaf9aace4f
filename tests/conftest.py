"""Settings of all tests: warnings are errors, and four CPU devices stand for several."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from absl import flags

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # Grain's worker processes read absl flags


@pytest.fixture
def key():
    return jax.random.key(0)
