"""Params by dotted name: taken apart, put together, verified."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ttl_jax import models
from ttl_jax.weights import flat_params


@pytest.fixture
def params():
    return {"a.kernel": jnp.ones((2, 3)), "a.bias": jnp.zeros(3)}


def test_split_and_merge_return_the_same_network(key):
    encoder = models.make_encoder(width=16, num_blocks=2, rngs=nnx.Rngs(0))
    graph, params = flat_params.split_module(encoder)
    assert "blocks.1.local_branch.depthwise.kernel" in params
    again = flat_params.merge_module(graph, params)
    x = jax.random.uniform(key, (1, 8, 8, 3))
    np.testing.assert_array_equal(encoder(x), again(x))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"a.kernel": np.ones((2, 4), np.float32)},
            r"\(2, 4\) float32, wanted \(2, 3\)",
        ),
        ({"a.kernel": np.ones((2, 3), np.int32)}, "int32, wanted .* float32"),
        ({"b.bias": np.ones(1, np.float32)}, "b.bias .* not part of the network"),
    ],
)
def test_loaded_leaf_that_differs_is_named(params, change, fault):
    with pytest.raises(ValueError, match=fault):
        flat_params.verify_params(
            {**params, **change}, params, source="runs/recog", module="encoder"
        )


def test_loaded_leaf_that_lacks_is_named(params):
    lacking = {"a.kernel": params["a.kernel"]}
    with pytest.raises(ValueError, match="a.bias is missing"):
        flat_params.verify_params(lacking, params, source="runs/x", module="encoder")
