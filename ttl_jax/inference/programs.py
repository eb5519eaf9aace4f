"""Compiled functions of networks. Networks that differ only in weights share programs.

Each shape of images has its own program.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.weights import flat_params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Part:
    """A network as an argument of compiled functions."""

    params: dict[str, jax.Array]
    graph: nnx.GraphDef = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, module: nnx.Module) -> "Part":
        """Returns a module as an argument."""
        graph, params = flat_params.split_module(module)
        return cls(params, graph)

    def build(self) -> Any:
        """Returns the module."""
        return flat_params.merge_module(self.graph, self.params)


@jax.jit
def restore(encoder: Part, decoder: Part, images: jax.Array) -> jax.Array:
    """Returns images without rain, [N, H, W, 3] in [0, 1] to the same shape; not clipped."""
    return decoder.build()(encoder.build()(images), images)


@jax.jit
def pool(
    encoder: Part,
    classifier: Part,
    images: jax.Array,
    row_weights: jax.Array,
    column_weights: jax.Array,
) -> jax.Array:
    """Returns weighted sums over pixels of the classifier's pooled features, [N, C].

    Args:
      images: [N, H, W, 3] in [0, 1].
      row_weights: Weight of each row of the features, [h].
      column_weights: Weight of each column of the features, [w].
    """
    features = classifier.build().spp(encoder.build()(images))
    # Full precision, since a GPU rounds factors to 10 bits by default.
    return jnp.einsum(
        "nhwc,h,w->nc", features, row_weights, column_weights, precision="highest"
    )


@jax.jit
def score(classifier: Part, pooled: jax.Array) -> jax.Array:
    """Returns scores [N] from means over the pixels, [N, C]."""
    return classifier.build().to_score(pooled)[:, 0]


@jax.jit
def embed(encoder: Part, images: jax.Array) -> jax.Array:
    """Returns mean features [N, C] of images [N, H, W, 3] in [0, 1]."""
    return encoder.build()(images).mean(axis=(1, 2))
