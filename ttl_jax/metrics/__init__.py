"""Measures of restored images.

Image quality on arrays is exported: `psnr` and `ssim` of batches [N, H, W, 3] by
protocol, and `niqe` of one image.
"""

from ttl_jax.metrics.image_quality import PROTOCOLS, psnr, ssim
from ttl_jax.metrics.naturalness import niqe

__all__ = ["PROTOCOLS", "niqe", "psnr", "ssim"]
