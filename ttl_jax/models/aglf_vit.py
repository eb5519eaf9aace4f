"""The AGLF-ViT encoder (Figs. 3 and 4, section Network Structure)."""

import dataclasses
import math
from typing import Self

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax import presets
from ttl_jax.models import attention, layers

# Fields that must be positive.
_SIZES = (
    "width", "num_blocks", "stem_stride", "spatial_attention_kernel", "head_width",
    "window", "dense_pool", "local_kernel", "local_expansion", "feed_forward_ratio",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Hyper-parameters of an encoder; checkpoints store them by these names.

    Note: the paper mentions neither a stride nor a final norm. With stem_stride=2, the
    blocks have a quarter of the pixels. The preset `paper` has neither.

    Attributes:
      width: Channels of the features.
      num_blocks: Number of AGLF-ViT blocks.
      stem_stride: 1 (full resolution, as in the paper) or 2.
      final_norm: Whether to normalise the features over the channels, so that those of
        two teachers have comparable scale in Eqs. 3 and 4.
      spatial_attention_kernel: Side of the kernel of the spatial attention, in pixels.
      global_branch: Attention of the blocks: "channel", "window" or "dense".
      head_width: Channels of an attention head; divides the width.
      attention_cell: Side of the cells of local sums in channel attention, in pixels of
        the image; 0 for sums over the whole image, as in weights without this field.
      attention_radius: Number of cells on each side of a cell that its sums include.
      window: Side of the windows of window attention, in pixels of the features.
      dense_pool: Side of the squares averaged before dense attention, in pixels of the
        features.
      local_kernel: Side of the depthwise kernel of the local branch, in pixels.
      local_expansion: Ratio of the hidden channels of the local branch to the width.
      feed_forward_ratio: Ratio of the hidden channels of the feed-forward to the width.
      per_channel_scale: Whether alpha and beta have one value per channel.
      alpha_init: Initial alpha, weight of the global branch.
      beta_init: Initial beta, weight of the local branch.
      remat: Whether the backward pass recomputes each block. Only one tensor per block is
        then stored, for about a third more computation.

    Raises:
      ValueError: If a size is less than 1, or `attention_cell` or `attention_radius` is
        invalid.
    """

    width: int = 48
    num_blocks: int = 9
    stem_stride: int = 2
    final_norm: bool = True
    spatial_attention_kernel: int = 7
    global_branch: str = "channel"
    head_width: int = 16
    attention_cell: int = 0
    attention_radius: int = 1
    window: int = 8
    dense_pool: int = 4
    local_kernel: int = 7
    local_expansion: int = 2
    feed_forward_ratio: int = 2
    per_channel_scale: bool = False
    alpha_init: float = 1.0
    beta_init: float = 1.0
    remat: bool = False

    def __post_init__(self):
        layers.check_sizes(**{name: getattr(self, name) for name in _SIZES})
        for name in ("alpha_init", "beta_init"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)} must be finite.")
        cell, radius = self.attention_cell, self.attention_radius
        if cell % self.stem_stride or min(cell, radius) < 0:
            raise ValueError(
                f"attention_cell={cell} must be a multiple of stem_stride="
                f"{self.stem_stride} (0: sums over the whole image), and "
                f"attention_radius={radius} must not be negative."
            )


def make_global_branch(
    config: EncoderConfig, block_index: int, *, rngs: nnx.Rngs
) -> attention.ChannelAttention | attention.WindowAttention | attention.DenseAttention:
    """Returns the attention of a block.

    Args:
      block_index: Index of the block, from 0; blocks with an odd index shift the windows
        of window attention.

    Raises:
      ValueError: If the kind is unknown or the head width does not divide the width.
    """
    width, kind = config.width, config.global_branch
    sizes = {"head_width": config.head_width, "rngs": rngs}
    if kind == "channel" and config.attention_cell:
        cell = config.attention_cell // config.stem_stride
        radius = config.attention_radius
        return attention.LocalChannelAttention(width, cell=cell, radius=radius, **sizes)
    if kind == "channel":
        return attention.ChannelAttention(width, **sizes)
    if kind == "window":
        shift = config.window // 2 if block_index % 2 else 0
        return attention.WindowAttention(
            width, window=config.window, shift=shift, **sizes
        )
    if kind == "dense":
        return attention.DenseAttention(width, pool=config.dense_pool, **sizes)
    raise ValueError(
        f"Unknown global branch {kind!r}; choose 'channel', 'window' or 'dense'."
    )


class AGLFViTBlock(nnx.Module):
    """Adaptive Global and Local feature Fusion block (Fig. 4), shape-preserving.

    x + alpha * Attention(norm x) + beta * Local(norm x), then x + FeedForward(norm x).
    Note: the paper calls alpha and beta "learnable parameters" without their size or
    initial value; the default is one scalar each, initially 1.

    Attributes:
      grid: Step, in pixels of the features, of the grid on which a window of an image
        must start. Its cells and attention windows are then those of the whole image.
        None if the block needs the whole image.
    """

    def __init__(self, config: EncoderConfig, block_index: int, *, rngs: nnx.Rngs):
        width = config.width
        scale_shape = (width,) if config.per_channel_scale else ()
        self.norm = layers.LayerNorm(width, rngs=rngs)
        # α and β of Fig. 4
        self.alpha = nnx.Param(jnp.full(scale_shape, config.alpha_init, float))
        self.global_branch = make_global_branch(config, block_index, rngs=rngs)
        self.beta = nnx.Param(jnp.full(scale_shape, config.beta_init, float))
        kernel_size, expansion = config.local_kernel, config.local_expansion
        self.local_branch = layers.LocalBranch(
            width, kernel_size=kernel_size, expansion=expansion, rngs=rngs
        )
        self.feed_forward_norm = layers.LayerNorm(width, rngs=rngs)
        self.feed_forward = layers.FeedForward(
            width, ratio=config.feed_forward_ratio, rngs=rngs
        )
        self.grid = self.global_branch.grid

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm(x)
        alpha, beta = (
            jnp.broadcast_to(s[...], x.shape) for s in (self.alpha, self.beta)
        )
        x = x + alpha * self.global_branch(y) + beta * self.local_branch(y)
        return x + self.feed_forward(self.feed_forward_norm(x))


class AGLFEncoder(nnx.Module):
    """Image [N, H, W, 3] to features [N, ceil(H / s), ceil(W / s), width].

    3x3 conv, spatial attention, AGLF-ViT blocks; E_recog, E_recon and E_stu of Fig. 3.
    With `stem_stride` s = 2, blocks of 2 x 2 pixels become channels before the conv; odd
    sizes are first padded by repeating their last row or column.

    Attributes:
      width: Channels of the features.
      stem_stride: s.
      grid: Step, in pixels, of the grid on which a window of an image must start. Its
        cells and attention windows are then those of the whole image. None if the
        encoder uses statistics of the whole image.
      num_features_held: Measured number of arrays of the size of the features that are
        in memory at the peak of a restoration on a CPU.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        self.num_features_held = 13 if config.stem_stride == 1 else 23
        self.width, self.stem_stride = config.width, config.stem_stride
        self._remat = config.remat
        self.stem = layers.Conv(3 * config.stem_stride**2, config.width, rngs=rngs)
        self.spatial_attention = layers.SpatialAttention(
            kernel_size=config.spatial_attention_kernel, rngs=rngs
        )
        self.blocks = nnx.List(
            AGLFViTBlock(config, i, rngs=rngs) for i in range(config.num_blocks)
        )
        grids = [block.grid for block in self.blocks]
        self.grid = None if None in grids else math.lcm(*grids) * config.stem_stride  # pyright: ignore[reportArgumentType]
        self.final_norm = (
            layers.LayerNorm(config.width, rngs=rngs) if config.final_norm else None
        )

    @classmethod
    def from_preset(cls, name: str, *, rngs: nnx.Rngs) -> Self:
        """Returns the encoder of a preset, with random weights.

        Args:
          name: Key of `presets.PRESETS`.

        Raises:
          KeyError: If the preset is unknown.
        """
        return cls(EncoderConfig(**presets.PRESETS[name]["encoder"]), rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        padded = layers.pad_to_multiple(image, self.stem_stride)
        x = self.stem(layers.pixel_unshuffle(padded, self.stem_stride))
        x = self.spatial_attention(x)
        for block in self.blocks:
            x = jax.checkpoint(block)(x) if self._remat else block(x)
        return self.final_norm(x) if self.final_norm else x
