"""Small params, as checkpoints hold them."""

import jax.numpy as jnp
import pytest


@pytest.fixture
def params():
    return {"a.kernel": jnp.ones((2, 3)), "a.bias": jnp.zeros(3)}
