"""Global branches of the AGLF-ViT block: self-attention over channels, windows, pixels.

Each maps features [N, H, W, C] to the same shape, for any height and width.
Note: the paper only says "self-attention". Dense attention over the pixels of its 256 x 256
crops would need 8.6 GB per map, so the paper cannot have used it. The default here is
attention over channels, whose cost is linear in the number of pixels.

Attention over channels uses sums over pixels: over the whole image, or over a box of cells
around each cell (`LocalChannelAttention`). With boxes, the sums in a photograph of any size
resemble those in training.
"""

import math
from collections.abc import Callable
from typing import Any

import einops
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from ttl_jax.models import layers

_EPSILON = 1e-6

# Rows of pixels per strip of local sums on CPUs.
_STRIP_ROWS = 8


class ChannelAttention(nnx.Module):
    """Attention of channels over channels ("transposed", Zamir et al., Restormer, 2022).

    Each head has a d x d map. It is computed from products of the head's channels,
    summed over all pixels.
    """

    def __init__(
        self, width: int, *, head_width: int, use_bias: bool = True, rngs: nnx.Rngs
    ):
        self.num_heads, self.head_width = _num_heads(width, head_width), head_width
        layer: dict = {"use_bias": use_bias, "rngs": rngs}
        self.query_key_value = layers.Pointwise(width, 3 * width, **layer)
        self.depthwise = layers.DepthwiseConv(3 * width, kernel_size=3, **layer)
        self.temperature = nnx.Param(jnp.ones((self.num_heads, 1, 1)))
        self.project = layers.Pointwise(width, width, **layer)
        self.grid = None  # its sums run over the whole image

    def __call__(self, x: jax.Array) -> jax.Array:
        # Gradients of a split are concatenated; gradients of indexing would be padded.
        parts = jnp.split(self.depthwise(self.query_key_value(x)), 3, axis=-1)
        return self.project(self._attend(*parts))

    def _attend(self, query, key, value) -> jax.Array:
        """Applies attention maps computed from all pixels to the values [N, H, W, C]."""
        height = value.shape[1]
        pattern = "n h w (heads d) -> n (h w) heads d"
        query, key, value = (
            einops.rearrange(part, pattern, d=self.head_width)
            for part in (query, key, value)
        )
        products = _sum_of_products("nlhd,nlhe->nhde", query, key)
        squares = (_sum_of_products("nlhd,nlhd->nhd", x, x) for x in (query, key))
        maps = self._maps(products, *squares).astype(value.dtype)
        out = jnp.einsum("nhde,nlhe->nlhd", maps, value)
        return einops.rearrange(out, "n (h w) heads d -> n h w (heads d)", h=height)

    def _maps(self, products, query_squares, key_squares) -> jax.Array:
        """Attention maps [..., heads, d, d] from sums over pixels, float32.

        Each channel is scaled to unit length over the pixels, so that the maps do not
        depend on the number of pixels.

        Args:
          products: Queries times keys, [..., heads, d, d].
          query_squares: Squared queries, [..., heads, d].
          key_squares: Squared keys, [..., heads, d].
        """
        query_lengths = jnp.sqrt(query_squares + _EPSILON)[..., None]
        key_lengths = jnp.sqrt(key_squares + _EPSILON)[..., None, :]
        cosines = products / (query_lengths * key_lengths)
        temperature = jnp.broadcast_to(
            self.temperature[...], (*cosines.shape[:-2], 1, 1)
        )
        return jax.nn.softmax(cosines * temperature, axis=-1)


class LocalChannelAttention(ChannelAttention):
    """Attention over channels with sums over a box of cells around each cell.

    Pixels are summed per square cell, and cells over a box of (2 r + 1) x (2 r + 1). At
    the border the box is shifted inwards, not clipped. If the image has fewer cells, the
    box covers all of them, and the result is that of `ChannelAttention`. Each cell has its
    own maps. A pixel applies the maps of the four nearest cell centres with bilinear
    weights, so that results are continuous across cells.

    Note: the paper does not discuss sums. With sums over the whole image, a network that
    was trained on small crops hardly changes a large photograph.

    Attributes:
      cell: Side of a cell, in pixels of the features.
      radius: r, in cells.
    """

    def __init__(
        self, width: int, *, head_width: int, cell: int, radius: int, rngs: nnx.Rngs
    ):
        super().__init__(width, head_width=head_width, rngs=rngs)
        self.cell, self.radius = cell, radius
        self.grid = cell

    def _attend(self, query, key, value) -> jax.Array:
        """Applies the maps of the cells around each pixel to the values [N, H, W, C]."""
        if max(value.shape[1:3]) <= (2 * self.radius + 1) * self.cell:
            return super()._attend(query, key, value)  # every box is the whole image
        maps = self._maps(*self._sums(query, key))
        return _interpolate_maps(maps, value, self.cell)

    def _sums(self, query, key) -> tuple[jax.Array, ...]:
        """Arguments of `_maps` for each cell, [N, rows, columns, heads, ...]."""
        query, key = (
            layers.pad_to_multiple(part, self.cell, "constant") for part in (query, key)
        )
        sums = _sum_over_cells(query, key, self.cell, self.head_width)
        boxes = [_box_matrix(count, self.radius) for count in sums[0].shape[1:3]]
        return tuple(
            # Full precision costs little here; by default a GPU would round the factors.
            jnp.einsum("Yy,Xx,nyx...->nYX...", *boxes, part, precision="highest")
            for part in sums
        )


def _sum_over_cells(query, key, cell: int, head_width: int) -> tuple[jax.Array, ...]:
    """Returns the arguments of `_maps` for each cell; the sides are multiples of `cell`."""

    def sums(query, key, rows=cell):
        """Sums over `rows` x `cell` pixels."""
        pattern = "n (y p) (x q) (heads d) -> n y x (p q) heads d"
        query, key = (
            einops.rearrange(part, pattern, p=rows, q=cell, d=head_width)
            for part in (query, key)
        )
        products = _sum_of_products("nyxlhd,nyxlhe->nyxhde", query, key)
        squares = (
            jnp.square(part.astype(products.dtype)).sum(axis=3) for part in (query, key)
        )
        return products, *squares

    def sums_by_strips(query, key):
        rows = math.gcd(cell, _STRIP_ROWS)
        num_strips = query.shape[1] // rows
        strips = lax.map(
            lambda i: sums(_strip(query, i, rows), _strip(key, i, rows), rows),
            jnp.arange(num_strips),
        )
        pattern = "(y p) n 1 x ... -> n y x ..."
        return tuple(
            einops.reduce(part, pattern, "sum", p=cell // rows) for part in strips
        )

    return _with_cpu_form(sums, sums_by_strips)(query, key)


def _interpolate_maps(maps: jax.Array, value: jax.Array, cell: int) -> jax.Array:
    """Applies the maps of the four nearest cells to each pixel, with bilinear weights.

    Args:
      maps: Maps of each cell, [N, rows, columns, heads, d, d], float32.
      value: [N, H, W, heads * d].
      cell: Side of a cell, in pixels.
    """
    height = value.shape[1]
    weights = _weights_of_rows(height, cell)

    def apply(maps, value, weights: Any = weights):
        pattern = "iy,nyxhde->nixhde"
        rows = jnp.einsum(pattern, weights, maps, precision="highest")
        return _apply_maps(rows.astype(value.dtype), value, cell)

    def apply_by_strips(maps, value):
        more = (0, -height % _STRIP_ROWS)
        padded_weights = jnp.pad(weights, (more, (0, 0)))

        def replace_strip(i, x):
            strip = apply(maps, _strip(x, i), _strip(padded_weights, i, axis=0))
            return lax.dynamic_update_slice_in_dim(x, strip, i * _STRIP_ROWS, axis=1)

        x = jnp.pad(value, ((0, 0), more, (0, 0), (0, 0)))
        x = lax.fori_loop(0, x.shape[1] // _STRIP_ROWS, replace_strip, x)
        return x[:, :height]

    return _with_cpu_form(apply, apply_by_strips)(maps, value)


def _strip(x, index, rows=_STRIP_ROWS, axis=1):
    return lax.dynamic_slice_in_dim(x, index * rows, rows, axis=axis)


def _with_cpu_form(function: Callable, cpu_form: Callable) -> Callable:
    """Returns a function that has another form on CPUs, unless gradients are computed.

    Strips of pixels stay in the cache of a core. With gradients, computing `function` once
    is faster than its other form in addition.
    """

    @jax.custom_vjp
    def call(*arrays):
        return lax.platform_dependent(*arrays, cpu=cpu_form, default=function)

    call.defvjp(
        lambda *arrays: jax.vjp(function, *arrays),
        lambda pull_back, grads: pull_back(grads),
    )
    return call


def _box_matrix(num_cells: int, radius: int) -> np.ndarray:
    """Returns a 0/1 matrix [cells, cells]: 1 if the box of cell i includes cell j."""
    size = min(2 * radius + 1, num_cells)
    first = np.clip(np.arange(num_cells) - radius, 0, num_cells - size)[:, None]
    cells = np.arange(num_cells)
    return ((first <= cells) & (cells < first + size)).astype(np.float32)


def _weights_of_rows(height: int, cell: int) -> np.ndarray:
    """Returns the linear weights [height, cells] of the cells for each row of pixels."""
    num_cells = -(-height // cell)
    place = (np.arange(height) + 0.5) / cell - 0.5  # in cells
    distance = np.abs(np.clip(place, 0, num_cells - 1)[:, None] - np.arange(num_cells))
    return np.maximum(1 - distance, 0).astype(np.float32)


def _apply_maps(rows: jax.Array, value: jax.Array, cell: int) -> jax.Array:
    """Applies maps that are interpolated along each row of pixels.

    Between two cell centres, the pixels of a row share two maps. Each map is applied to all
    of these pixels in one product, and the results are mixed. This was the fastest of the
    forms that were tried.

    Args:
      rows: Maps of each row of pixels at the cell centres, [N, H, cells, heads, d, d].
      value: [N, H, W, heads * d].
      cell: Side of a cell, in pixels.
    """
    width, (num_cells, d) = value.shape[2], (rows.shape[2], rows.shape[-1])
    before = cell - cell // 2  # the first centre then starts a group of `cell` pixels
    after = (num_cells + 1) * cell - before - width
    value = jnp.pad(value, ((0, 0), (0, 0), (before, after), (0, 0)))
    value = einops.rearrange(
        value, "n i (x q) (heads d) -> n i x q heads d", q=cell, d=d
    )
    # Before the first and after the last centre, both maps are the same.
    rows = jnp.concatenate([rows[:, :, :1], rows, rows[:, :, -1:]], axis=2)
    left, right = (
        jnp.einsum("nixhde,nixqhe->nixqhd", maps, value)
        for maps in (rows[:, :, :-1], rows[:, :, 1:])
    )
    weight = (np.arange(cell) + cell // 2 + 0.5) / cell - 0.5  # of the right map
    weight = weight.astype(value.dtype)[None, None, None, :, None, None]
    mixed = left * (1 - weight) + right * weight
    mixed = einops.rearrange(mixed, "n i x q heads d -> n i (x q) (heads d)")
    return mixed[:, :, before : before + width]


def _sum_of_products(pattern, a, b):
    """Returns an einsum that accumulates in float32 or better, and has this type."""
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(pattern, a, b, preferred_element_type=dtype)


class WindowAttention(nnx.Module):
    """Attention of pixels within square windows, with learnt relative position bias.

    As in Liu et al., Swin Transformer (2021), except that shifted windows are cut off at
    the border instead of rolled around it, so no mask between regions is needed.

    Attributes:
      window: Side of a window, in pixels.
      shift: Offset of the windows to the top left, in pixels of the features; the first
        window lacks these rows and columns.
    """

    def __init__(
        self, width: int, *, head_width: int, window: int, shift: int, rngs: nnx.Rngs
    ):
        self.num_heads = _num_heads(width, head_width)
        self.window, self.shift = window, shift
        self.query_key_value = layers.Pointwise(width, 3 * width, rngs=rngs)
        self.position_bias = nnx.Param(
            jnp.zeros((2 * window - 1, 2 * window - 1, self.num_heads))
        )
        self.project = layers.Pointwise(width, width, rngs=rngs)
        self.grid = window

    def __call__(self, x: jax.Array) -> jax.Array:
        n, h, w, _ = x.shape
        side, shift = self.window, self.shift
        above, left = ((shift, -(length + shift) % side) for length in (h, w))
        padding = ((0, 0), above, left, (0, 0))
        tokens = einops.rearrange(
            jnp.pad(self.query_key_value(x), padding),
            "n (gh wh) (gw ww) (three heads d) -> three (n gh gw) (wh ww) heads d",
            three=3, heads=self.num_heads, wh=side, ww=side,
        )  # fmt: skip
        exists = einops.rearrange(
            jnp.pad(jnp.ones((n, h, w, 1), bool), padding),
            "n (gh wh) (gw ww) 1 -> (n gh gw) 1 1 (wh ww)",
            wh=side, ww=side,
        )  # fmt: skip
        out = einops.rearrange(
            _attend(*tokens, bias=self._relative_bias()[None], exists=exists),
            "(n gh gw) (wh ww) heads d -> n (gh wh) (gw ww) (heads d)",
            n=n, gh=-(-(h + shift) // side), wh=side,
        )  # fmt: skip
        return self.project(out[:, shift : shift + h, shift : shift + w])

    def _relative_bias(self) -> jax.Array:
        """Bias of each pair of pixels in a window, [heads, window², window²]."""
        y, x = jnp.divmod(jnp.arange(self.window**2), self.window)
        dy = y[:, None] - y[None, :] + self.window - 1
        dx = x[:, None] - x[None, :] + self.window - 1
        bias = self.position_bias[...][dy, dx]
        return einops.rearrange(bias, "q k heads -> heads q k")


class DenseAttention(nnx.Module):
    """Attention of all positions of a coarse grid over all others.

    Features are averaged over `pool` x `pool` pixels, and the result is repeated to full
    size. The cost grows with the square of the number of pixels, so this is for research.
    """

    grid = None  # it needs the whole image

    def __init__(self, width: int, *, head_width: int, pool: int, rngs: nnx.Rngs):
        self.num_heads, self.pool = _num_heads(width, head_width), pool
        self.query_key_value = layers.Pointwise(width, 3 * width, rngs=rngs)
        self.project = layers.Pointwise(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h, w = x.shape[1:3]
        window = min(self.pool, h), min(self.pool, w)
        coarse = layers.average_pool(x, window)
        tokens = einops.rearrange(
            self.query_key_value(coarse),
            "n h w (three heads d) -> three n (h w) heads d",
            three=3, heads=self.num_heads,
        )  # fmt: skip
        out = einops.rearrange(
            _attend(*tokens), "n (h w) heads d -> n h w (heads d)", h=coarse.shape[1]
        )
        return layers.upsample_nearest(self.project(out), window)[:, :h, :w]


def _attend(query, key, value, *, bias: Any = 0.0, exists: Any = True) -> jax.Array:
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
