"""Simple programs that all machines run efficiently, to compare times of networks with."""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from ttl_jax.models import layers
from ttl_jax.training import sharding

_WIDTH = 64  # channels
_NUM_HIDDEN = 4  # layers of 64 x 64 x 9 multiply-adds per pixel
SIDE = 256  # pixels; at this size the stack has 9.9 G multiply-adds
_MATRIX_SIDE = 2048
_COPY_BYTES = 2**28  # more than caches hold
_COPIES = 4  # per measurement


class PlainStack(nnx.Module):
    """Six 3x3 convolutions, image [N, H, W, 3] to the same shape.

    It has 9.9 G multiply-adds at 256 x 256. All frameworks run it efficiently, so latencies
    relative to its time can be compared between machines.
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


def run_stack() -> Callable[[], jax.Array]:
    """Returns a compiled function that runs the stack on an image of `SIDE` pixels."""
    graph, weights = nnx.split(PlainStack(rngs=nnx.Rngs(0)))
    image = jax.random.uniform(jax.random.key(0), (1, SIDE, SIDE, 3))
    forward = jax.jit(lambda weights, image: nnx.merge(graph, weights)(image))
    forward(weights, image).block_until_ready()
    return functools.partial(forward, weights, image)


def matrix_product(dtype: str, mesh: Mesh | None = None):
    """Returns a compiled product of square matrices, and its number of operations.

    With a mesh, every device computes a product; otherwise only the first device.
    """
    matrices = _on_each_device((_MATRIX_SIDE, _MATRIX_SIDE), dtype, mesh)
    product = jax.jit(jnp.matmul).lower(matrices, matrices).compile()
    operations = 2 * _MATRIX_SIDE * matrices.size
    return lambda: product(matrices, matrices), operations


def copy(mesh: Mesh | None = None):
    """Returns a compiled program that changes a large array in place, and the bytes it moves.

    Every element is read once and written once. With a mesh, every device has such an
    array; otherwise only the first device.
    """
    numbers = _on_each_device((_COPY_BYTES // 4,), "float32", mesh)
    # Without donation, the time to allocate memory would be included.
    negate = jax.jit(jnp.negative, donate_argnums=0).lower(numbers).compile()
    size = numbers.nbytes

    def run() -> jax.Array:
        nonlocal numbers
        for _ in range(_COPIES):
            numbers = negate(numbers)
        return numbers

    return run, _COPIES * 2 * size


def _on_each_device(shape: tuple[int, ...], dtype: str, mesh: Mesh | None) -> jax.Array:
    """Returns ones [devices, *shape], one row on each device."""
    if mesh is None:
        return jnp.ones((1, *shape), dtype)
    return jnp.ones((mesh.size, *shape), dtype, device=sharding.over_batch(mesh))
