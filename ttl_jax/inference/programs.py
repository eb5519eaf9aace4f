"""The functions that restoring compiles; networks that differ in weights share them."""

import dataclasses
import functools
from typing import Any

import jax
from flax import nnx

from ttl_jax.models import layers
from ttl_jax.models.attention import ChannelSums
from ttl_jax.models.region import Region
from ttl_jax.training import flat_params

_Sums = ChannelSums | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Part:
    """A network, or a layer of one, as an argument of compiled functions.

    Attributes:
      params: Its params by dotted name.
      graph: Its structure.
    """

    params: dict[str, jax.Array]
    graph: nnx.GraphDef = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, module: nnx.Module) -> "Part":
        """Takes a module apart."""
        graph, params = flat_params.split_module(module)
        return cls(params, graph)

    def build(self) -> Any:
        """The module again."""
        return flat_params.merge_module(self.graph, self.params)


@functools.partial(jax.jit, static_argnames="margin")
def restore(
    encoder: Part,
    decoder: Part,
    image: jax.Array,
    region: Region,
    sums: list[_Sums] | None = None,
    *,
    margin: int = 0,
) -> jax.Array:
    """An image without rain, [N, H, W, 3] to the same but for a margin; not clipped.

    Args:
      encoder: As `models.make_encoder` makes it.
      decoder: As `models.make_image_decoder` makes it.
      image: In [0, 1].
      region: The part of it that is image, in its pixels.
      sums: As `sums_over`, of the image of which this is a part; None for its own.
      margin: Pixels along each side that are not returned.
    """
    features = encoder.build()(image, region, sums)
    restored = decoder.build()(features, image, region)
    return layers.cut_margin(restored, margin)


@jax.jit
def sums_over(encoder: Part, images: jax.Array) -> list[_Sums]:
    """The sums that each block takes, over all pixels of all images [N, H, W, 3]."""
    encoder = encoder.build()
    x, found = encoder.embed(images), []
    for block in encoder.blocks:
        sums = jax.tree.map(lambda leaf: leaf.sum(0, keepdims=True), block.sums(x))
        x = block(x, sums=sums)
        found.append(sums)
    return found


# `restore` in steps: each takes features with a margin and returns them without it. The
# region is that of the first argument that is an array.


@functools.partial(jax.jit, static_argnames="margin")
def embed(
    encoder: Part, first: Part, image: jax.Array, region: Region, *, margin: int
) -> tuple[jax.Array, _Sums]:
    """What the first block is given, and its sums over that."""
    encoder = encoder.build()
    x = encoder.embed(image, region)
    region = region.coarse((encoder.stem_stride, encoder.stem_stride))
    return layers.cut_margin(x, margin), first.build().sums(x, region, margin)


@functools.partial(jax.jit, static_argnames="margin")
def advance(
    block: Part,
    following: Part,
    x: jax.Array,
    region: Region,
    sums: _Sums,
    *,
    margin: int,
) -> tuple[jax.Array, _Sums]:
    """What a block returns, and the sums of the following block over that."""
    x = block.build()(x, region, sums)
    return layers.cut_margin(x, margin), following.build().sums(x, region, margin)


@functools.partial(jax.jit, static_argnames="margin")
def finish(
    block: Part,
    norm: Part | None,
    x: jax.Array,
    region: Region,
    sums: _Sums,
    *,
    margin: int,
) -> jax.Array:
    """The encoder's features, from what its last block is given."""
    x = layers.cut_margin(block.build()(x, region, sums), margin)
    return norm.build()(x) if norm else x


@functools.partial(jax.jit, static_argnames="margin")
def decode(
    decoder: Part,
    image: jax.Array,
    region: Region,
    features: jax.Array,
    *,
    margin: int,
) -> jax.Array:
    """The image, as of `restore`; the margin is in its pixels."""
    return layers.cut_margin(decoder.build()(features, image, region), margin)
