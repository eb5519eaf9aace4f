"""NAFNet (Chen et al., ECCV 2022) as an encoder, for comparison with AGLF-ViT.

A U-Net whose blocks have no activation functions: a product of two halves of the channels
replaces them. The encoder is everything up to the last convolution, which is an
`OutputDecoder`.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.models import layers

_EPSILON = 1e-6  # of LayerNorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class NAFNetConfig:
    """Hyper-parameters; the defaults are those for denoising with width 32 (29.2 M parameters).

    Attributes:
      width: Channels at full resolution; they double with each scale.
      down_blocks: Blocks of each scale on the way down, the finest first.
      middle_blocks: Blocks of the coarsest scale.
      up_blocks: Blocks of each scale on the way up, the coarsest first.
    """

    width: int = 32
    down_blocks: tuple[int, ...] = (2, 2, 4, 8)
    middle_blocks: int = 12
    up_blocks: tuple[int, ...] = (2, 2, 2, 2)

    def __post_init__(self):
        if len(self.down_blocks) != len(self.up_blocks):
            raise ValueError(
                f"down_blocks={self.down_blocks} and up_blocks={self.up_blocks} must "
                "have one entry for each scale."
            )
        layers.check_sizes(width=self.width)


class NAFBlock(nnx.Module):
    """The block of Fig. 2 of the paper, [N, H, W, C] to the same shape."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        def pointwise(width_in, width_out):
            return layers.Pointwise(width_in, width_out, rngs=rngs)

        self.norm = layers.LayerNorm(width, epsilon=_EPSILON, rngs=rngs)
        self.expand = pointwise(width, 2 * width)
        self.depthwise = layers.DepthwiseConv(2 * width, kernel_size=3, rngs=rngs)
        self.channel_attention = nnx.Linear(width, width, rngs=rngs)
        self.project = pointwise(width, width)
        self.beta = nnx.Param(jnp.zeros(width))
        self.feed_forward_norm = layers.LayerNorm(width, epsilon=_EPSILON, rngs=rngs)
        self.feed_forward_expand = pointwise(width, 2 * width)
        self.feed_forward_project = pointwise(width, width)
        self.gamma = nnx.Param(jnp.zeros(width))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = _gate(self.depthwise(self.expand(self.norm(x))))
        scale = self.channel_attention(y.mean(axis=(1, 2)))
        y = self.project(y * scale[:, None, None])
        x = x + y * jnp.broadcast_to(self.beta[...], y.shape)
        y = _gate(self.feed_forward_expand(self.feed_forward_norm(x)))
        y = self.feed_forward_project(y)
        return x + y * jnp.broadcast_to(self.gamma[...], y.shape)


def _gate(x: jax.Array) -> jax.Array:
    """Returns the product of both halves of the channels ("SimpleGate")."""
    one, other = jnp.split(x, 2, axis=-1)
    return one * other


class NAFNetEncoder(nnx.Module):
    """Image [N, H, W, 3] to features [N, H', W', width].

    H' and W' are H and W, zero-padded to multiples of 2 ** number of scales.

    Attributes:
      width: Channels of the features.
      stem_stride: 1.
      grid: None, since the channel attention uses means over the whole image.
      num_features_held: Measured number of arrays of the size of the features that are in
        memory at the peak of a restoration on a CPU.
    """

    stem_stride = 1
    grid = None
    num_features_held = 6

    def __init__(self, config: NAFNetConfig, *, rngs: nnx.Rngs):
        self.width = config.width
        self._multiple = 2 ** len(config.down_blocks)

        def blocks(width: int, count: int):
            return nnx.List(NAFBlock(width, rngs=rngs) for _ in range(count))

        width = config.width
        self.stem = layers.Conv(3, width, rngs=rngs)
        self.down_blocks, self.downs = nnx.List(), nnx.List()
        for count in config.down_blocks:
            self.down_blocks.append(blocks(width, count))
            self.downs.append(
                layers.Conv(width, 2 * width, 2, strides=2, padding="VALID", rngs=rngs)
            )
            width *= 2
        self.middle = blocks(width, config.middle_blocks)
        self.ups, self.up_blocks = nnx.List(), nnx.List()
        for count in config.up_blocks:
            self.ups.append(
                layers.Pointwise(width, 2 * width, use_bias=False, rngs=rngs)
            )
            width //= 2
            self.up_blocks.append(blocks(width, count))

    def __call__(self, image: jax.Array) -> jax.Array:
        x = self.stem(layers.pad_to_multiple(image, self._multiple, "constant"))
        skips = []
        for blocks, down in zip(self.down_blocks, self.downs):
            x = layers.apply_in_turn(blocks, x)
            skips.append(x)
            x = down(x)
        x = layers.apply_in_turn(self.middle, x)
        for blocks, up in zip(self.up_blocks, self.ups):
            x = layers.channel_first_shuffle(up(x), 2) + skips.pop()
            x = layers.apply_in_turn(blocks, x)
        return x
