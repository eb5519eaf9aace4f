"""What any machine can do: the measure that networks are held against."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.models import layers

_WIDTH = 64  # channels
_NUM_HIDDEN = 4  # layers of 64 x 64 x 9 multiply-adds per pixel
SIDE = 256  # pixels: there the stack is 9.9 G multiply-adds
_MATRIX_SIDE = 2048


class PlainStack(nnx.Module):
    """Six 3x3 convolutions, image [N, H, W, 3] to the same shape.

    9.9 G multiply-adds at 256 x 256: a network that every framework runs as well as it
    can, so that a latency in units of it says something on another machine.
    """

    def __init__(self, *, rngs: nnx.Rngs):
        widths = [3, *[_WIDTH] * (_NUM_HIDDEN + 1), 3]
        self.convs = nnx.List(
            layers.Conv(before, after, rngs=rngs)
            for before, after in itertools.pairwise(widths)
        )

    def __call__(self, image: jax.Array) -> jax.Array:
        *hidden, last = self.convs
        for conv in hidden:
            image = jax.nn.relu(conv(image))
        return last(image)


def matrix_product(dtype: str):
    """A compiled product of two square matrices: the function, and its operations."""
    matrix = jnp.ones((_MATRIX_SIDE, _MATRIX_SIDE), dtype)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    return lambda: product(matrix, matrix), 2 * _MATRIX_SIDE**3
