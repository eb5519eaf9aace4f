"""The AGLF-ViT encoder (Figs. 3 and 4, section Network Structure)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.models import attention, layers


class AGLFViTBlock(nnx.Module):
    """Adaptive Global and Local feature Fusion block (Fig. 4), shape-preserving.

    x + alpha * Attention(norm x) + beta * Local(norm x), then x + FeedForward(norm x).
    Note: the paper calls alpha and beta "learnable parameters" without their size or
    initial value; a scalar each that starts at 1 is the default.

    Attributes:
      grid: Pixels of the features at whose multiples a window of them may start; None:
        the block needs the whole image.
    """

    def __init__(
        self,
        width: int,
        *,
        block_index: int,
        global_branch: str,
        head_width: int,
        cell: int,
        radius: int,
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
            cell=cell,
            radius=radius,
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
        self.grid = self.global_branch.grid

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm(x)
        alpha, beta = (jnp.broadcast_to(s, x.shape) for s in (self.alpha, self.beta))
        x = x + alpha * self.global_branch(y) + beta * self.local_branch(y)
        return x + self.feed_forward(self.feed_forward_norm(x))


class AGLFEncoder(nnx.Module):
    """Image [N, H, W, 3] to features [N, ceil(H / s), ceil(W / s), width].

    3x3 conv, spatial attention, AGLF-ViT blocks; E_recog, E_recon and E_stu of Fig. 3.
    With `stem_stride` s = 2, blocks of 2 x 2 pixels become channels in front of the
    conv; odd sizes are first padded by their last row or column.

    Attributes:
      width: Channels of the features.
      stem_stride: 1 (full resolution, the paper's) or 2.
      final_norm: Whether the features are normalised over the channels, so that those
        of two teachers have comparable scale in Eqs. 3 and 4.
      attention_cell: Side of the cells of local sums, in pixels of the image; 0: sums run
        over the whole image, as in weights without this field.
      attention_radius: Cells on each side of a cell that its sums include.
      remat: Whether each block is computed again in the backward pass: activations
        shrink to one tensor per block for about a third more computation.
      grid: Pixels of the image at whose multiples a window of it may start, so that its
        cells and attention windows are those of the whole image; None: the encoder takes
        statistics of the whole image.
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
        attention_cell: int = 0,
        attention_radius: int = 1,
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
        if attention_cell % stem_stride or min(attention_cell, attention_radius) < 0:
            raise ValueError(
                f"attention_cell={attention_cell} and attention_radius={attention_radius}: "
                f"expected a side in image pixels that is a multiple of the stem's stride, "
                f"{stem_stride}, or 0 for sums over the whole image; and a number of cells."
            )
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
                cell=attention_cell // stem_stride,
                radius=attention_radius,
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
        grids = [block.grid for block in self.blocks]
        self.grid = None if None in grids else math.lcm(*grids) * stem_stride
        self.final_norm = nnx.LayerNorm(width, rngs=rngs) if final_norm else None

    def __call__(self, image: jax.Array) -> jax.Array:
        padded = layers.pad_to_multiple(image, self.stem_stride)
        x = self.stem(layers.pixel_unshuffle(padded, self.stem_stride))
        x = self.spatial_attention(x)
        for block in self.blocks:
            x = jax.checkpoint(block)(x) if self.remat else block(x)
        return self.final_norm(x) if self.final_norm else x
