"""Decoders of Fig. 3: features to an image, or to one number."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax.models import layers


class ImageDecoder(nnx.Module):
    """Features and the image they came from to an image (D_recon and D_dr).

    SPP, then a 3x3 conv to RGB. Features at 1/s of the image's resolution are brought
    back by PixelShuffle, joined by a shallow 3x3 conv of the image itself at full
    resolution, and pass one local block first: without that skip, fine detail is lost.

    Args of `__call__`: features [N, ceil(H / s), ceil(W / s), width] and the image
    [N, H, W, 3] in [0, 1]; the result [N, H, W, 3] is not clipped.

    Attributes:
      width: Channels of the features.
      stem_stride: s, the stride of the encoder's stem.
      skip_width: Channels of the skip; 0 leaves it out.
      residual: Whether the network predicts the change of the image, starting at no
        change, and not the image.
      grid: Pixels of the image after which the windows of all pools start together again.
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
        if width % stem_stride**2:
            raise ValueError(
                f"PixelShuffle by {stem_stride} needs a width that is a multiple of "
                f"{stem_stride**2}, not {width}."
            )
        self.stem_stride = stem_stride
        self.residual = residual
        self.spp = layers.SpatialPyramidPooling(
            width, pools=pools, branch_width=pool_width, rngs=rngs
        )
        full_width = width // stem_stride**2 + skip_width
        self.skip = layers.Conv(3, skip_width, rngs=rngs) if skip_width else None
        self.local_block = (
            layers.LocalBranch(
                full_width,
                kernel_size=local_kernel,
                expansion=local_expansion,
                rngs=rngs,
            )
            if stem_stride > 1 or skip_width
            else None
        )
        # A residual of zero restores the image untouched before the first update.
        init = {"kernel_init": nnx.initializers.zeros} if residual else {}
        self.to_image = layers.Conv(full_width, 3, rngs=rngs, **init)
        self.grid = self.spp.grid * stem_stride

    def __call__(self, features: jax.Array, image: jax.Array) -> jax.Array:
        h, w = image.shape[1:3]
        x = layers.pixel_shuffle(self.spp(features), self.stem_stride)
        x = x[:, :h, :w]
        if self.skip:
            skipped = self.skip(image.astype(x.dtype))
            x = jnp.concatenate([x, skipped], axis=-1)
        if self.local_block:
            x = x + self.local_block(x)
        x = self.to_image(x)
        return image + x.astype(image.dtype) if self.residual else x


class RainClassifier(nnx.Module):
    """Features [N, h, w, C] to one number per image, [N] (D_recog).

    SPP, average over the pixels, fully connected. Trained towards 1 for rainy and 0 for
    rain-free images; no sigmoid, since Eq. 1 is a plain squared distance.
    """

    def __init__(
        self,
        *,
        width: int = 48,
        pools: Sequence[int] = (32, 16, 8, 4),
        pool_width: int = 1,
        rngs: nnx.Rngs,
    ):
        self.spp = layers.SpatialPyramidPooling(
            width, pools=pools, branch_width=pool_width, rngs=rngs
        )
        # Starts between the two labels: random scores make Eq. 1 diverge at first.
        self.to_score = nnx.Linear(
            width,
            1,
            kernel_init=nnx.initializers.zeros,
            bias_init=nnx.initializers.constant(0.5),
            rngs=rngs,
        )

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.to_score(self.spp(features).mean(axis=(1, 2)))[:, 0]
