"""Params by dotted name: split, merged, verified."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from ttl_jax import models
from ttl_jax.weights import flat_params


def test_split_and_merge_are_inverse():
    make = functools.partial(models.make_encoder, width=16, num_blocks=2)
    graph, shapes = flat_params.split_factory(make)
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape.shape) for name, shape in shapes.items()}
    encoder = flat_params.merge_module(graph, params)
    name = "blocks.1.local_branch.depthwise.kernel"
    kernel = encoder.blocks[1].local_branch.depthwise.kernel[...]
    np.testing.assert_array_equal(kernel, params[name])
    again_graph, again = flat_params.split_module(encoder)
    assert again_graph == graph and again.keys() == params.keys()
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_shapes_of_a_factory_are_those_of_its_module():
    make = functools.partial(models.make_projection, width=4)
    graph, params = flat_params.split_module(make(rngs=nnx.Rngs(0)))
    same_graph, shapes = flat_params.split_factory(make)
    assert same_graph == graph
    flat_params.verify_params(params, shapes, source="here", module="projection")


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


def test_a_missing_leaf_is_named(params):
    lacking = {"a.kernel": params["a.kernel"]}
    with pytest.raises(ValueError, match="a.bias is missing"):
        flat_params.verify_params(lacking, params, source="runs/x", module="encoder")
