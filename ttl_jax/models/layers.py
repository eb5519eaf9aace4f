"""Building blocks of the AGLF-ViT networks.

All layers map float features [N, H, W, C] to features of the same height and
width, for any height and width, and compute in the type of their input.
"""

import math
from collections.abc import Sequence

import einops
import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.models import operations


def check_sizes(**sizes: int) -> None:
    """Checks that sizes of a network are at least 1.

    Raises:
      ValueError: If one is not; the message names it.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size} must be at least 1.")


class DepthwiseConv(nnx.Module):
    """Depthwise convolution, with a bias by default, [N, H, W, C] to the same shape."""

    def __init__(
        self, width: int, *, kernel_size: int, use_bias: bool = True, rngs: nnx.Rngs
    ):
        operations.check_odd((kernel_size, kernel_size))
        init = nnx.initializers.variance_scaling(
            1.0, "fan_in", "truncated_normal", in_axis=(0, 1), out_axis=(), batch_axis=2
        )
        self.kernel = nnx.Param(init(rngs.params(), (kernel_size, kernel_size, width)))
        self.bias = nnx.Param(jnp.zeros(width)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = operations.depthwise_conv(x, self.kernel[...])
        return y if self.bias is None else y + self.bias[None, None, None]


class Pointwise(nnx.Linear):
    """1x1 convolution, [N, H, W, C_in] to [N, H, W, C_out].

    The product is computed on a flat (pixels, channels) view, which halves the time of its
    gradients on CPUs.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


class LayerNorm(nnx.LayerNorm):
    """Normalizes the channels of each pixel, [N, H, W, C] to the same shape."""

    scale: nnx.Param  # never None: `use_scale` and `use_bias` keep their defaults
    bias: nnx.Param

    def __init__(self, width: int, *, epsilon: float = 1e-6, rngs: nnx.Rngs):
        super().__init__(width, epsilon=epsilon, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return operations.layer_norm(x, self.scale[...], self.bias[...], self.epsilon)


class Conv(nnx.Conv):
    """Convolution, zero-padded, [N, H, W, width_in] to [N, H, W, width_out] by default."""

    def __init__(
        self, width_in: int, width_out: int, side: int = 3, *, rngs: nnx.Rngs, **kwargs
    ):
        super().__init__(width_in, width_out, (side, side), rngs=rngs, **kwargs)


class ConvToFew(Conv):
    """Convolution to a few channels, with an odd kernel: as `Conv`, with faster gradients."""

    def __init__(self, width_in: int, width_out: int, side: int = 3, **kwargs):
        operations.check_odd((side, side))
        super().__init__(width_in, width_out, side, **kwargs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, kernel = self.promote_dtype((x, self.kernel[...]), dtype=self.dtype)
        y = operations.conv_to_few(x, kernel)
        return y if self.bias is None else y + self.bias[None, None, None]


class SpatialAttention(nnx.Module):
    """Weights each pixel by a map in (0, 1) computed from all channels.

    "A spatial attention module to highlight rainy contents" (section Network Structure).
    Note: the paper does not define the module; this is the common form (Woo et al., CBAM,
    2018): mean and maximum over the channels, a convolution and a sigmoid.
    """

    def __init__(self, *, kernel_size: int = 7, rngs: nnx.Rngs):
        self.conv = Conv(2, 1, kernel_size, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        summary = jnp.stack([x.mean(axis=-1), x.max(axis=-1)], axis=-1)
        return x * jax.nn.sigmoid(self.conv(summary))


class LocalBranch(nnx.Module):
    """The CNN block of Fig. 4: depthwise conv, norm, 1x1 expand, GELU, 1x1.

    Note: the paper says "inspired by (Liu et al. 2022)". This is the block of ConvNeXt
    without its layer scale; β of Fig. 4 has this role.
    """

    def __init__(
        self, width: int, *, kernel_size: int = 7, expansion: int = 2, rngs: nnx.Rngs
    ):
        self.depthwise = DepthwiseConv(width, kernel_size=kernel_size, rngs=rngs)
        self.norm = LayerNorm(width, rngs=rngs)
        self.expand = Pointwise(width, expansion * width, rngs=rngs)
        self.project = Pointwise(expansion * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.norm(self.depthwise(x))
        return self.project(jax.nn.gelu(self.expand(x), approximate=True))


class FeedForward(nnx.Module):
    """Gated feed-forward (GEGLU, Shazeer 2020), [N, H, W, C] to the same shape.

    Note: the paper does not define the feed-forward of its transformer blocks.
    """

    def __init__(self, width: int, *, ratio: int = 2, rngs: nnx.Rngs):
        self.expand = Pointwise(width, 2 * ratio * width, rngs=rngs)
        self.project = Pointwise(ratio * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        gate, value = jnp.split(self.expand(x), 2, axis=-1)
        return self.project(jax.nn.gelu(gate, approximate=True) * value)


class SpatialPyramidPooling(nnx.Module):
    """Adds context of several scales, [N, H, W, C] to the same shape ("SPP").

    Average pools of fixed windows, a 3x3 conv to a few channels each, ReLU, nearest
    upsampling, concatenation with the input, 3x3 conv. Since the windows are fixed, and
    not the number of bins, results do not depend on the size of the image.
    Note: the paper does not define SPP; this follows the first author's earlier public
    network.

    Attributes:
      grid: Least common multiple of all windows, in pixels of the features.
    """

    def __init__(
        self,
        width: int,
        *,
        pools: Sequence[int] = (32, 16, 8, 4),
        branch_width: int = 1,
        rngs: nnx.Rngs,
    ):
        if min(pools, default=1) < 1:
            raise ValueError(f"pools={tuple(pools)} must be at least 1 pixel each.")
        self.pools = tuple(pools)
        self.branches = nnx.List([Conv(width, branch_width, rngs=rngs) for _ in pools])
        self.merge = Conv(width + len(self.pools) * branch_width, width, rngs=rngs)
        self.grid = math.lcm(*self.pools)

    def __call__(self, x: jax.Array) -> jax.Array:
        h, w = x.shape[1:3]
        scales = [x]
        for pool, branch in zip(self.pools, self.branches):
            window = min(pool, h), min(pool, w)
            pooled = jax.nn.relu(branch(average_pool(x, window)))
            scales.append(upsample_nearest(pooled, window)[:, :h, :w])
        return self.merge(jnp.concatenate(scales, axis=-1))


def apply_in_turn(blocks: nnx.List, x: jax.Array) -> jax.Array:
    """Returns the features after all blocks of a list."""
    for block in blocks:
        x = block(x)
    return x


def average_pool(x: jax.Array, window: tuple[int, int]) -> jax.Array:
    """Returns means over adjacent windows, [N, ceil(H / wh), ceil(W / ww), C].

    Windows that cross the border average the pixels inside the image.
    """
    (h, w), (wh, ww) = x.shape[1:3], window

    def window_sums(values):
        values = jnp.pad(values, ((0, 0), (0, -h % wh), (0, -w % ww), (0, 0)))
        pattern = "n (h wh) (w ww) c -> n h w c"
        return einops.reduce(values, pattern, "sum", wh=wh, ww=ww)

    return window_sums(x) / window_sums(jnp.ones((1, h, w, 1), x.dtype))


def upsample_nearest(x: jax.Array, factor: tuple[int, int]) -> jax.Array:
    """Repeats each pixel, [N, H, W, C] to [N, H * fh, W * fw, C]."""
    return einops.repeat(x, "n h w c -> n (h fh) (w fw) c", fh=factor[0], fw=factor[1])


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """Moves blocks of pixels to channels, [N, H, W, C] to [N, H / f, W / f, f * f * C]."""
    pattern = "n (h fh) (w fw) c -> n h w (fh fw c)"
    return einops.rearrange(x, pattern, fh=factor, fw=factor)


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Moves channels to blocks of pixels: the inverse of `pixel_unshuffle`."""
    pattern = "n h w (fh fw c) -> n (h fh) (w fw) c"
    return einops.rearrange(x, pattern, fh=factor, fw=factor)


def channel_first_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """`pixel_unshuffle` with the channels in PyTorch's order, for published weights."""
    pattern = "n (h fh) (w fw) c -> n h w (c fh fw)"
    return einops.rearrange(x, pattern, fh=factor, fw=factor)


def channel_first_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """The inverse of `channel_first_unshuffle`."""
    pattern = "n h w (c fh fw) -> n (h fh) (w fw) c"
    return einops.rearrange(x, pattern, fh=factor, fw=factor)


def pad_to_multiple(x: jax.Array, multiple: int, mode: str = "edge") -> jax.Array:
    """Pads bottom and right until height and width are multiples of `multiple`."""
    h, w = x.shape[1:3]
    padding = ((0, 0), (0, -h % multiple), (0, -w % multiple), (0, 0))
    return jnp.pad(x, padding, mode=mode)
