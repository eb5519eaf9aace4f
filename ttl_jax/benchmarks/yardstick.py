"""What any machine can do: the measure that networks are held against."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from ttl_jax.models import layers
from ttl_jax.training import sharding

_WIDTH = 64  # channels
_NUM_HIDDEN = 4  # layers of 64 x 64 x 9 multiply-adds per pixel
SIDE = 256  # pixels: there the stack is 9.9 G multiply-adds
_MATRIX_SIDE = 2048
_COPY_BYTES = 2**28  # caches hold less
_COPIES = 4  # in a turn


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


def matrix_product(dtype: str, mesh: Mesh | None = None):
    """A compiled product of square matrices: the function, and its operations.

    With a mesh every device computes one, else the first device alone.
    """
    matrices = _on_each_device((_MATRIX_SIDE, _MATRIX_SIDE), dtype, mesh)
    product = jax.jit(jnp.matmul).lower(matrices, matrices).compile()
    operations = 2 * _MATRIX_SIDE * matrices.size
    return lambda: product(matrices, matrices), operations


def copy(mesh: Mesh | None = None):
    """A compiled change of a large array in place: the function, and the bytes moved.

    Every number is read once and written once. With a mesh every device holds such an
    array, else the first device alone.
    """
    numbers = _on_each_device((_COPY_BYTES // 4,), "float32", mesh)
    # A new array would cost the time to get memory from the system.
    negate = jax.jit(jnp.negative, donate_argnums=0).lower(numbers).compile()
    size = numbers.nbytes

    def run() -> jax.Array:
        nonlocal numbers
        for _ in range(_COPIES):
            numbers = negate(numbers)
        return numbers

    return run, _COPIES * 2 * size


def _on_each_device(shape: tuple[int, ...], dtype: str, mesh: Mesh | None) -> jax.Array:
    """Ones, [devices, *shape], a row on each."""
    if mesh is None:
        return jnp.ones((1, *shape), dtype)
    return jnp.ones((mesh.size, *shape), dtype, device=sharding.over_batch(mesh))
