"""Global branches of the AGLF-ViT block: self-attention over channels, windows, all.

Each maps features [N, H, W, C] to the same shape, for any height and width.
Note: the paper says "self-attention" and no more. Dense attention over the pixels of
its 256 x 256 crops would need 8.6 GB per map, so it cannot be what it ran; attention
over channels, linear in the pixels, is the default here.

A branch takes the `region` of the features that is the image, and the `sums` over all
pixels of an image of which the features are a part; its own `sums(x)` are those of what
it is given. Given them it looks `reach` pixels away, and gives a tile of the features what
it gives the whole, where the tile begins at a multiple of `grid` pixels.
"""

from typing import NamedTuple

import einops
import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.models import layers
from ttl_jax.models.region import Region, clear_padding

_EPSILON = 1e-6


class ChannelSums(NamedTuple):
    """Products of channels summed over pixels; those of two parts add up to the whole's.

    Attributes:
      products: Queries times keys, [N, heads, d, d].
      query_squares: [N, heads, d].
      key_squares: [N, heads, d].
    """

    products: jax.Array
    query_squares: jax.Array
    key_squares: jax.Array


class ChannelAttention(nnx.Module):
    """Attention of channels over channels ("transposed", Zamir et al., Restormer, 2022).

    Per head, a d x d map from the products of the channels summed over all pixels.
    """

    def __init__(self, width: int, *, head_width: int, rngs: nnx.Rngs):
        self.num_heads, self.head_width = _num_heads(width, head_width), head_width
        self.query_key_value = layers.Pointwise(width, 3 * width, rngs=rngs)
        self.depthwise = layers.DepthwiseConv(3 * width, kernel_size=3, rngs=rngs)
        self.temperature = nnx.Param(jnp.ones((self.num_heads, 1, 1)))
        self.project = layers.Pointwise(width, width, rngs=rngs)
        self.reach, self.grid = self.depthwise.reach, 1

    def __call__(
        self,
        x: jax.Array,
        region: Region | None = None,
        sums: ChannelSums | None = None,
    ) -> jax.Array:
        h, w = x.shape[1:3]
        features = self.depthwise(self.query_key_value(x), region)
        query, key, value = self._split(clear_padding(features, region), 3)
        if sums is None:
            sums = _sum_over_pixels(query, key)
        # Each channel has unit length over the pixels, so the map does not grow with
        # the image.
        lengths = (
            jnp.sqrt(sums.query_squares + _EPSILON)[..., None]
            * jnp.sqrt(sums.key_squares + _EPSILON)[..., None, :]
        )
        similarities = sums.products / lengths * self.temperature[None]
        attention = jax.nn.softmax(similarities, axis=-1).astype(x.dtype)
        out = jnp.einsum("nhde,nlhe->nlhd", attention, value)
        return self.project(
            einops.rearrange(out, "n (h w) heads d -> n h w (heads d)", h=h, w=w)
        )

    def sums(
        self, x: jax.Array, region: Region | None = None, margin: int = 0
    ) -> ChannelSums:
        """The sums over the pixels of x, but for `margin` of them along each side."""
        # Values take no part in them: two thirds of the channels do.
        num_channels = 2 * x.shape[-1]
        projection, depthwise = self.query_key_value, self.depthwise
        x = x @ projection.kernel[:, :num_channels]
        x = clear_padding(x + projection.bias[None, None, None, :num_channels], region)
        x = layers.depthwise_conv(x, depthwise.kernel[..., :num_channels])
        x = clear_padding(x + depthwise.bias[None, None, None, :num_channels], region)
        return _sum_over_pixels(*self._split(layers.cut_margin(x, margin), 2))

    def _split(self, features: jax.Array, num_parts: int) -> list[jax.Array]:
        """Parts of the channels, as queries and keys, each [N, L, heads, d]."""
        # Gradients of a split are concatenated; those of indices would each be padded.
        return [
            einops.rearrange(
                part,
                "n h w (heads d) -> n (h w) heads d",
                heads=self.num_heads,
                d=self.head_width,
            )
            for part in jnp.split(features, num_parts, axis=-1)
        ]


def _sum_over_pixels(query: jax.Array, key: jax.Array) -> ChannelSums:
    # Kept in float32 under bfloat16.
    return ChannelSums(
        _sum_of_products("nlhd,nlhe->nhde", query, key),
        _sum_of_products("nlhd,nlhd->nhd", query, query),
        _sum_of_products("nlhd,nlhd->nhd", key, key),
    )


def _sum_of_products(pattern, a, b):
    """An einsum that sums, and returns, in float32 at least."""
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(pattern, a, b, preferred_element_type=dtype)


class WindowAttention(nnx.Module):
    """Attention of pixels within square windows, with learnt relative position bias.

    Following Liu et al., Swin Transformer (2021), but shifted windows are cut at the
    border and not rolled around it, so that no mask between regions is needed.

    Attributes:
      window: Side of a window in pixels.
      shift: Rows and columns by which the first window is cut short.
    """

    def __init__(
        self, width: int, *, head_width: int, window: int, shift: int, rngs: nnx.Rngs
    ):
        self.num_heads = _num_heads(width, head_width)
        self.window = window
        self.shift = shift
        self.query_key_value = layers.Pointwise(width, 3 * width, rngs=rngs)
        self.position_bias = nnx.Param(
            jnp.zeros((2 * window - 1, 2 * window - 1, self.num_heads))
        )
        self.project = layers.Pointwise(width, width, rngs=rngs)
        self.reach = self.grid = window

    def sums(self, x: jax.Array, region: Region | None = None, margin: int = 0) -> None:
        """None: no sum over the image is taken."""

    def __call__(
        self, x: jax.Array, region: Region | None = None, sums: None = None
    ) -> jax.Array:
        n, h, w, _ = x.shape
        rows = -(-(h + self.shift) // self.window)
        columns = -(-(w + self.shift) // self.window)
        padding = (
            (0, 0),
            (self.shift, rows * self.window - h - self.shift),
            (self.shift, columns * self.window - w - self.shift),
            (0, 0),
        )
        tokens = einops.rearrange(
            jnp.pad(clear_padding(self.query_key_value(x), region), padding),
            "n (gh wh) (gw ww) (three heads d) -> three (n gh gw) (wh ww) heads d",
            three=3,
            wh=self.window,
            ww=self.window,
            heads=self.num_heads,
        )
        exists = einops.rearrange(
            jnp.pad(clear_padding(jnp.ones((n, h, w, 1), bool), region), padding),
            "n (gh wh) (gw ww) 1 -> (n gh gw) 1 1 (wh ww)",
            wh=self.window,
            ww=self.window,
        )
        out = einops.rearrange(
            _attend(*tokens, bias=self._relative_bias()[None], exists=exists),
            "(n gh gw) (wh ww) heads d -> n (gh wh) (gw ww) (heads d)",
            gh=rows,
            gw=columns,
            wh=self.window,
        )
        return self.project(
            out[:, self.shift : self.shift + h, self.shift : self.shift + w]
        )

    def _relative_bias(self) -> jax.Array:
        """Bias of each pair of pixels in a window, [heads, window², window²]."""
        y, x = jnp.divmod(jnp.arange(self.window**2), self.window)
        dy = y[:, None] - y[None, :] + self.window - 1
        dx = x[:, None] - x[None, :] + self.window - 1
        return einops.rearrange(
            self.position_bias[...][dy, dx], "q k heads -> heads q k"
        )


class DenseAttention(nnx.Module):
    """Attention of all positions of a coarse grid over all others.

    Features are averaged over `pool` x `pool` pixels, attended, and the result is
    repeated back. Its cost grows with the square of the pixels: for research.
    """

    reach = grid = None  # it looks everywhere

    def __init__(self, width: int, *, head_width: int, pool: int, rngs: nnx.Rngs):
        self.num_heads = _num_heads(width, head_width)
        self.pool = pool
        self.query_key_value = layers.Pointwise(width, 3 * width, rngs=rngs)
        self.project = layers.Pointwise(width, width, rngs=rngs)

    def sums(self, x: jax.Array, region: Region | None = None, margin: int = 0) -> None:
        """None: no sum over the image would do."""

    def __call__(
        self, x: jax.Array, region: Region | None = None, sums: None = None
    ) -> jax.Array:
        h, w = x.shape[1:3]
        window = min(self.pool, h), min(self.pool, w)
        coarse = layers.average_pool(x, window, region)
        query, key, value = einops.rearrange(
            self.query_key_value(coarse),
            "n h w (three heads d) -> three n (h w) heads d",
            three=3,
            heads=self.num_heads,
        )
        exists = jnp.ones((1, *coarse.shape[1:3], 1), bool)
        exists = clear_padding(exists, region and region.coarse(window))
        out = einops.rearrange(
            _attend(query, key, value, exists=exists.reshape(1, 1, 1, -1)),
            "n (h w) heads d -> n h w (heads d)",
            h=coarse.shape[1],
        )
        return layers.upsample_nearest(self.project(out), window)[:, :h, :w]


def _attend(query, key, value, *, bias=0.0, exists=True):
    """Scaled dot-product attention; query, key, value and result [N, L, heads, d]."""
    logits = _sum_of_products("nqhd,nkhd->nhqk", query, key)
    logits = logits / query.shape[-1] ** 0.5 + bias
    attention = jax.nn.softmax(jnp.where(exists, logits, -jnp.inf), axis=-1)
    return jnp.einsum("nhqk,nkhd->nqhd", attention.astype(value.dtype), value)


def _num_heads(width: int, head_width: int) -> int:
    if head_width < 1 or width % head_width:
        raise ValueError(
            f"The width {width} is not a multiple of head_width={head_width}; "
            "choose a head_width that divides it."
        )
    return width // head_width


def make_global_branch(
    kind: str,
    width: int,
    *,
    block_index: int,
    head_width: int,
    window: int,
    dense_pool: int,
    rngs: nnx.Rngs,
) -> nnx.Module:
    """Returns the global branch `kind`: "channel", "window" or "dense".

    Args:
      kind: Form of the attention.
      width: Channels of the features.
      block_index: Position of the block; every second block shifts its windows.
      head_width: Channels of a head.
      window: Side of a window in pixels (`window`).
      dense_pool: Pixels averaged per side before attention (`dense`).
      rngs: Random streams.

    Raises:
      ValueError: If the kind is unknown or the head width does not divide the width.
    """
    if kind == "channel":
        return ChannelAttention(width, head_width=head_width, rngs=rngs)
    if kind == "window":
        shift = window // 2 if block_index % 2 else 0
        return WindowAttention(
            width, head_width=head_width, window=window, shift=shift, rngs=rngs
        )
    if kind == "dense":
        return DenseAttention(width, head_width=head_width, pool=dense_pool, rngs=rngs)
    raise ValueError(
        f"Unknown global branch {kind!r}; choose 'channel', 'window' or 'dense'."
    )
