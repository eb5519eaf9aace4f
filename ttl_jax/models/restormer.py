"""Restormer (Zamir et al., CVPR 2022) as an encoder, for comparison with AGLF-ViT.

A U-Net of four scales. Its blocks have attention between channels and a gated depthwise
feed-forward network. The encoder is everything up to the last convolution, which is an
`OutputDecoder`. So training and inference are the same as with other encoders.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.models import attention, layers

_EPSILON = 1e-5  # of LayerNorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestormerConfig:
    """Hyper-parameters; the defaults are those of the paper (26.1 M parameters).

    Attributes:
      width: Channels at full resolution; they double with each scale.
      num_blocks: Blocks of each scale, the finest first.
      num_refinement_blocks: Blocks after the decoder, at full resolution.
      num_heads: Attention heads of each scale.
      expansion: Ratio of the hidden channels of the feed-forward network to the width.
    """

    width: int = 48
    num_blocks: tuple[int, ...] = (4, 6, 6, 8)
    num_refinement_blocks: int = 4
    num_heads: tuple[int, ...] = (1, 2, 4, 8)
    expansion: float = 2.66

    def __post_init__(self):
        if not 2 <= len(self.num_blocks) == len(self.num_heads):
            raise ValueError(
                f"num_blocks={self.num_blocks} and num_heads={self.num_heads} must have "
                "one entry for each scale, and at least two scales."
            )
        layers.check_sizes(width=self.width, num_heads=min(self.num_heads, default=1))


class GatedDepthwiseFeedForward(nnx.Module):
    """Gated-Dconv feed-forward network, Eq. 2 of the paper, [N, H, W, C] to the same shape."""

    def __init__(self, width: int, *, expansion: float, rngs: nnx.Rngs):
        hidden = int(expansion * width)
        self.expand = layers.Pointwise(width, 2 * hidden, use_bias=False, rngs=rngs)
        self.depthwise = layers.DepthwiseConv(
            2 * hidden, kernel_size=3, use_bias=False, rngs=rngs
        )
        self.project = layers.Pointwise(hidden, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        gate, value = jnp.split(self.depthwise(self.expand(x)), 2, axis=-1)
        return self.project(jax.nn.gelu(gate, approximate=False) * value)


class RestormerBlock(nnx.Module):
    """x + Attention(norm x), then x + FeedForward(norm x), [N, H, W, C] to the same."""

    def __init__(self, width: int, num_heads: int, expansion: float, *, rngs: nnx.Rngs):
        if width % num_heads:
            raise ValueError(f"{num_heads} heads do not divide the width {width}.")
        self.norm = layers.LayerNorm(width, epsilon=_EPSILON, rngs=rngs)
        self.attention = attention.ChannelAttention(
            width, head_width=width // num_heads, use_bias=False, rngs=rngs
        )
        self.feed_forward_norm = layers.LayerNorm(width, epsilon=_EPSILON, rngs=rngs)
        self.feed_forward = GatedDepthwiseFeedForward(
            width, expansion=expansion, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class RestormerEncoder(nnx.Module):
    """Image [N, H, W, 3] to features [N, H', W', 2 width].

    H' and W' are H and W, padded by reflection to multiples of 2 ** (number of scales - 1).

    Attributes:
      width: Channels of the features, twice the width at full resolution.
      stem_stride: 1.
      grid: None, since the attention uses sums over the whole image.
      num_features_held: Measured number of arrays of the size of the features that are in
        memory at the peak of a restoration on a CPU.
    """

    stem_stride = 1
    grid = None
    num_features_held = 12

    def __init__(self, config: RestormerConfig, *, rngs: nnx.Rngs):
        self._multiple = 2 ** (len(config.num_blocks) - 1)
        self.width = 2 * config.width
        widths = [config.width * 2**i for i in range(len(config.num_blocks))]
        conv: dict = {"use_bias": False, "rngs": rngs}

        def blocks(width: int, count: int, heads: int):
            return nnx.List(
                RestormerBlock(width, heads, config.expansion, rngs=rngs)
                for _ in range(count)
            )

        self.stem = layers.Conv(3, config.width, **conv)
        self.down_blocks, self.downs = nnx.List(), nnx.List()
        for scale in zip(widths, config.num_blocks, config.num_heads):
            self.down_blocks.append(blocks(*scale))
        for width in widths[:-1]:
            self.downs.append(layers.Conv(width, width // 2, **conv))
        # From the second coarsest scale to the finest, whose features stay concatenated.
        self.ups, self.merges, self.up_blocks = nnx.List(), nnx.List(), nnx.List()
        for i in reversed(range(len(widths) - 1)):
            self.ups.append(layers.Conv(2 * widths[i], 4 * widths[i], **conv))
            if i:
                self.merges.append(layers.Pointwise(2 * widths[i], widths[i], **conv))
            width = widths[i] if i else self.width
            self.up_blocks.append(
                blocks(width, config.num_blocks[i], config.num_heads[i])
            )
        self.refinement = blocks(
            self.width, config.num_refinement_blocks, config.num_heads[0]
        )

    def __call__(self, image: jax.Array) -> jax.Array:
        x = self.stem(layers.pad_to_multiple(image, self._multiple, "reflect"))
        skips = []
        for i, blocks in enumerate(self.down_blocks):
            x = layers.apply_in_turn(blocks, x)
            if i < len(self.downs):
                skips.append(x)
                x = layers.channel_first_unshuffle(self.downs[i](x), 2)
        for i, blocks in enumerate(self.up_blocks):
            x = layers.channel_first_shuffle(self.ups[i](x), 2)
            x = jnp.concatenate([x, skips.pop()], axis=-1)
            x = self.merges[i](x) if i < len(self.merges) else x
            x = layers.apply_in_turn(blocks, x)
        return layers.apply_in_turn(self.refinement, x)
