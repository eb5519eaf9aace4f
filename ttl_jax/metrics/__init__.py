"""Measures of restored images.

This module exports `psnr` and `ssim` for batches [N, H, W, 3], by protocol, and `niqe` for
one image.
"""

from ttl_jax.metrics.image_quality import PROTOCOLS, psnr, ssim
from ttl_jax.metrics.naturalness import niqe

__all__ = ["PROTOCOLS", "niqe", "psnr", "ssim"]
