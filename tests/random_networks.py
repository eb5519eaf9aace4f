"""Networks with random params, so that biases and norms take part."""

import jax.numpy as jnp
import numpy as np

from ttl_jax.weights import flat_params


def make(factory, *, dtype=jnp.float32, seed=0, scale=0.3):
    """A module of a factory, and its params in float64.

    NumPy draws the params, since JAX would compile a program for each shape.
    """
    graph, shapes = flat_params.split_factory(factory)
    rng = np.random.default_rng(seed)
    around_one = ("scale", "alpha", "beta", "temperature")
    params = {
        name: np.float32(
            name.endswith(around_one) + scale * rng.normal(size=shape.shape)
        )
        for name, shape in shapes.items()
    }
    typed = {name: jnp.asarray(value, dtype) for name, value in params.items()}
    float64 = {name: np.float64(value) for name, value in params.items()}
    return flat_params.merge_module(graph, typed), float64
