"""Decoders of Fig. 3: features to an image, or to one number."""

from collections.abc import Sequence
from typing import Self

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax import presets
from ttl_jax.models import layers


class ImageDecoder(nnx.Module):
    """Decodes features and their image to an image (D_recon and D_dr).

    SPP, PixelShuffle from 1/s to full resolution, concatenation with a shallow 3x3 conv of
    the image (the skip), one local block, and a 3x3 conv to RGB. Without the skip, fine
    detail is lost.
    Note: the paper has SPP and a convolution alone, as here with stem_stride=1,
    skip_width=0 and residual=False; the other parts are ours.

    Takes features [N, ceil(H / s), ceil(W / s), width] and the image [N, H, W, 3] in
    [0, 1]. Returns [N, H, W, 3], not clipped.

    Attributes:
      width: Channels of the features.
      stem_stride: s, the stride of the encoder's stem.
      residual: Whether the network predicts the change of the image, initially zero,
        instead of the image.
      grid: Least common multiple of the windows of all pools, in pixels of the image.
    """

    def __init__(
        self,
        *,
        width: int = 48,
        stem_stride: int = 2,
        pools: Sequence[int] = (32, 16, 8, 4),
        pool_width: int = 1,
        skip_width: int = 16,
        residual: bool = True,
        local_kernel: int = 7,
        local_expansion: int = 2,
        rngs: nnx.Rngs,
    ):
        layers.check_sizes(
            width=width,
            stem_stride=stem_stride,
            pool_width=pool_width,
            local_kernel=local_kernel,
            local_expansion=local_expansion,
        )
        if skip_width < 0:
            raise ValueError(f"skip_width={skip_width} must not be negative.")
        if width % stem_stride**2:
            raise ValueError(
                f"PixelShuffle by {stem_stride} needs a width that is a multiple of "
                f"{stem_stride**2}, not {width}."
            )
        self.stem_stride, self.residual = stem_stride, residual
        self.spp = layers.SpatialPyramidPooling(
            width, pools=pools, branch_width=pool_width, rngs=rngs
        )
        full_width = width // stem_stride**2 + skip_width
        self.skip = layers.Conv(3, skip_width, rngs=rngs) if skip_width else None
        sizes = {"kernel_size": local_kernel, "expansion": local_expansion}
        self.local_block = (
            layers.LocalBranch(full_width, **sizes, rngs=rngs)
            if stem_stride > 1 or skip_width
            else None
        )
        # With a residual of zero, the output before the first update is the input.
        init: dict = {"kernel_init": nnx.initializers.zeros} if residual else {}
        self.to_image = layers.ConvToFew(full_width, 3, rngs=rngs, **init)
        self.grid = self.spp.grid * stem_stride

    @classmethod
    def from_preset(cls, name: str, *, rngs: nnx.Rngs) -> Self:
        """Returns the decoder of a preset; see `AGLFEncoder.from_preset`."""
        preset = presets.PRESETS[name]
        sizes = {field: preset["encoder"][field] for field in ("width", "stem_stride")}
        return cls(**sizes, **preset["decoder"], rngs=rngs)

    def __call__(self, features: jax.Array, image: jax.Array) -> jax.Array:
        h, w = image.shape[1:3]
        x = layers.pixel_shuffle(self.spp(features), self.stem_stride)[:, :h, :w]
        if self.skip:
            x = jnp.concatenate([x, self.skip(image.astype(x.dtype))], axis=-1)
        if self.local_block:
            x = x + self.local_block(x)
        x = self.to_image(x)
        return image + x.astype(image.dtype) if self.residual else x


class OutputDecoder(nnx.Module):
    """Last convolution of Restormer and NAFNet, whose output is added to the image.

    Takes features [N, H', W', width], H' >= H and W' >= W, and the image [N, H, W, 3] in
    [0, 1]. Returns [N, H, W, 3], not clipped.

    Attributes:
      grid: 1, the step between pixels where a window may start.
    """

    grid = 1

    def __init__(self, *, width: int, use_bias: bool = True, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros  # returns the image unchanged before training
        self.to_image = layers.ConvToFew(
            width, 3, use_bias=use_bias, kernel_init=zeros, rngs=rngs
        )

    def __call__(self, features: jax.Array, image: jax.Array) -> jax.Array:
        h, w = image.shape[1:3]
        change = self.to_image(features)[:, :h, :w]
        return image + change.astype(image.dtype)


class RainClassifier(nnx.Module):
    """Maps features [N, h, w, C] to one number per image, [N] (D_recog).

    SPP, mean over the pixels, one linear layer. The targets are 1 for rainy and 0 for
    rain-free images; there is no sigmoid, since Eq. 1 is a plain squared distance.

    With `num_classes` above 1, it returns a logit for each class, [N, num_classes].
    """

    def __init__(
        self,
        *,
        width: int = 48,
        pools: Sequence[int] = (32, 16, 8, 4),
        pool_width: int = 1,
        num_classes: int = 1,
        rngs: nnx.Rngs,
    ):
        layers.check_sizes(width=width, pool_width=pool_width, num_classes=num_classes)
        self.spp = layers.SpatialPyramidPooling(
            width, pools=pools, branch_width=pool_width, rngs=rngs
        )
        self.num_classes = num_classes
        # Scores start between the two labels; with random initial scores Eq. 1 diverges.
        zeros, half = nnx.initializers.zeros, nnx.initializers.constant(0.5)
        self.to_score = nnx.Linear(
            width, num_classes, kernel_init=zeros, bias_init=half, rngs=rngs
        )

    @classmethod
    def from_preset(cls, name: str, *, rngs: nnx.Rngs) -> Self:
        """Returns the classifier of a preset; see `AGLFEncoder.from_preset`."""
        preset = presets.PRESETS[name]
        pooling = {field: preset["decoder"][field] for field in ("pools", "pool_width")}
        return cls(width=preset["encoder"]["width"], **pooling, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        scores = self.to_score(self.spp(features).mean(axis=(1, 2)))
        return scores[:, 0] if self.num_classes == 1 else scores
