"""The AGLF-ViT encoder (Figs. 3 and 4, section Network Structure)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.models import attention, layers
from ttl_jax.models.region import Region


class AGLFViTBlock(nnx.Module):
    """Adaptive Global and Local feature Fusion block (Fig. 4), shape-preserving.

    x + alpha * Attention(norm x) + beta * Local(norm x), then x + FeedForward(norm x).
    Note: the paper calls alpha and beta "learnable parameters" without their size or
    initial value; a scalar each that starts at 1 is the default.

    Attributes:
      reach: Pixels that it looks away, given the sums over the image; None: everywhere.
      grid: Pixels at whose multiples a tile of the features begins.
    """

    def __init__(
        self,
        width: int,
        *,
        block_index: int,
        global_branch: str,
        head_width: int,
        window: int,
        dense_pool: int,
        local_kernel: int,
        local_expansion: int,
        feed_forward_ratio: int,
        per_channel_scale: bool,
        alpha_init: float,
        beta_init: float,
        rngs: nnx.Rngs,
    ):
        scale_shape = (width,) if per_channel_scale else ()
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.alpha = nnx.Param(jnp.full(scale_shape, alpha_init, float))  # α of Fig. 4
        self.global_branch = attention.make_global_branch(
            global_branch,
            width,
            block_index=block_index,
            head_width=head_width,
            window=window,
            dense_pool=dense_pool,
            rngs=rngs,
        )
        self.beta = nnx.Param(jnp.full(scale_shape, beta_init, float))  # β of Fig. 4
        self.local_branch = layers.LocalBranch(
            width, kernel_size=local_kernel, expansion=local_expansion, rngs=rngs
        )
        self.feed_forward_norm = nnx.LayerNorm(width, rngs=rngs)
        self.feed_forward = layers.FeedForward(
            width, ratio=feed_forward_ratio, rngs=rngs
        )
        reach, self.grid = self.global_branch.reach, self.global_branch.grid
        self.reach = None if reach is None else max(reach, self.local_branch.reach)

    def __call__(
        self,
        x: jax.Array,
        region: Region | None = None,
        sums: attention.ChannelSums | None = None,
    ) -> jax.Array:
        y = self.norm(x)
        alpha, beta = (jnp.broadcast_to(s, x.shape) for s in (self.alpha, self.beta))
        x = (
            x
            + alpha * self.global_branch(y, region, sums)
            + beta * self.local_branch(y, region)
        )
        return x + self.feed_forward(self.feed_forward_norm(x))

    def sums(
        self, x: jax.Array, region: Region | None = None, margin: int = 0
    ) -> attention.ChannelSums | None:
        """Of its global branch, over x but for `margin` pixels along each side."""
        return self.global_branch.sums(self.norm(x), region, margin)


class AGLFEncoder(nnx.Module):
    """Image [N, H, W, 3] to features [N, ceil(H / s), ceil(W / s), width].

    3x3 conv, spatial attention, AGLF-ViT blocks; E_recog, E_recon and E_stu of Fig. 3.
    With `stem_stride` s = 2, blocks of 2 x 2 pixels become channels in front of the
    conv; odd sizes are first padded by their last row or column. An image given with a
    region has such a row and column around it already.

    Attributes:
      width: Channels of the features.
      stem_stride: 1 (full resolution, the paper's) or 2.
      final_norm: Whether the features are normalised over the channels, so that those
        of two teachers have comparable scale in Eqs. 3 and 4.
      remat: Whether each block is computed again in the backward pass: activations
        shrink to one tensor per block for about a third more computation.
      has_tiles: Whether, given sums over the image, a part of it can be encoded alone.
      stem_reach: Pixels of the features that `embed` looks away.
    """

    def __init__(
        self,
        *,
        width: int = 48,
        num_blocks: int = 9,
        stem_stride: int = 2,
        final_norm: bool = True,
        spatial_attention_kernel: int = 7,
        global_branch: str = "channel",
        head_width: int = 16,
        window: int = 8,
        dense_pool: int = 4,
        local_kernel: int = 7,
        local_expansion: int = 2,
        feed_forward_ratio: int = 2,
        per_channel_scale: bool = False,
        alpha_init: float = 1.0,
        beta_init: float = 1.0,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        self.width = width
        self.stem_stride = stem_stride
        self.remat = remat
        self.stem = layers.Conv(3 * stem_stride**2, width, rngs=rngs)
        self.spatial_attention = layers.SpatialAttention(
            kernel_size=spatial_attention_kernel, rngs=rngs
        )
        self.blocks = nnx.List(
            AGLFViTBlock(
                width,
                block_index=i,
                global_branch=global_branch,
                head_width=head_width,
                window=window,
                dense_pool=dense_pool,
                local_kernel=local_kernel,
                local_expansion=local_expansion,
                feed_forward_ratio=feed_forward_ratio,
                per_channel_scale=per_channel_scale,
                alpha_init=alpha_init,
                beta_init=beta_init,
                rngs=rngs,
            )
            for i in range(num_blocks)
        )
        reaches = [block.reach for block in self.blocks]
        self.has_tiles = bool(reaches) and None not in reaches
        self.stem_reach = self.stem.reach + self.spatial_attention.reach
        self.final_norm = nnx.LayerNorm(width, rngs=rngs) if final_norm else None

    def __call__(
        self,
        image: jax.Array,
        region: Region | None = None,
        sums: Sequence[attention.ChannelSums | None] | None = None,
    ) -> jax.Array:
        """Features of an image.

        Args:
          image: [N, H, W, 3].
          region: The part that is image, in its pixels; None for all.
          sums: For each block, those over the pixels of the image of which this one is a
            part, [1, ...] or [N, ...], as `sums`; None for this image's own.

        Returns:
          Features [N, ceil(H / s), ceil(W / s), width]; what lies outside the region has
          no meaning.
        """
        x = self.embed(image, region)
        region = region and region.coarse((self.stem_stride, self.stem_stride))
        for block, block_sums in zip(self.blocks, sums or [None] * len(self.blocks)):
            apply = jax.checkpoint(block) if self.remat else block
            x = apply(x, region, block_sums)
        return self.normalize(x)

    def embed(self, image: jax.Array, region: Region | None = None) -> jax.Array:
        """What the first block is given, of the features' shape."""
        padded = layers.pad_to_multiple(image, self.stem_stride)
        x = layers.pixel_unshuffle(padded, self.stem_stride)
        region = region and region.coarse((self.stem_stride, self.stem_stride))
        return self.spatial_attention(self.stem(x, region), region)

    def normalize(self, x: jax.Array) -> jax.Array:
        """Features from what the last block returns."""
        return self.final_norm(x) if self.final_norm else x
