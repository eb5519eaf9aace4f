"""Removes rain from images with a trained network."""

import math
from typing import ClassVar

import jax
import numpy as np
from flax import nnx

from ttl_jax import models
from ttl_jax.inference import network, programs, windowed, windows
from ttl_jax.models.attention import DenseAttention
from ttl_jax.weights import fingerprints, flat_params

# Windows per batch, by `jax.default_backend()`; `ttl_jax.benchmark restore --batch_sizes`
# compares them (benchmarks/NOTES.md, "Batches when restoring"). On a CPU, larger batches take
# more memory but not less time. The values for accelerators are not measured yet.
BATCH_SIZES = {"cpu": 1, "gpu": 8, "tpu": 8}

# Memory limit for networks that need the whole image at once, in bytes.
MEMORY_LIMIT = 8 * 2**30
# Measured number of maps of dense attention in memory at the peak, on a CPU.
_MAPS_HELD = 3


class Restorer(network.TrainedNetwork, windowed.WindowedRestorer):
    """Removes rain: `restorer.restore(image)`. Threads may share it.

    Attributes:
      digest: Digest of the weights, 16 hex digits.
      max_pixels: Largest number of pixels of an image; None means no limit.
      batch_size: Number of windows that are computed together.
    """

    factories: ClassVar = {
        "encoder": ("make_encoder", "make_restormer", "make_nafnet"),
        "decoder": ("make_image_decoder", "make_output_decoder"),
    }
    purpose = "restoring takes a run of the stage derain"

    def __init__(
        self,
        encoder: models.RestoringEncoder,
        decoder: models.ImageDecoder | models.OutputDecoder,
        *,
        name: str,
        side: int = windows.SIDE,
        overlap: int = windows.OVERLAP,
        batch_size: int | None = None,
    ):
        """Takes an encoder and an image decoder.

        Args:
          encoder: Network of `models.make_encoder`, `make_restormer` or `make_nafnet`.
          decoder: Network of `models.make_image_decoder` or `make_output_decoder`.
          side: Largest side of a window, in pixels; see `windows.plan`.
          overlap: Overlap of neighbouring windows, in pixels; see `windows.plan`.
          batch_size: Number of windows computed together; None chooses by the device.
            Results do not depend on it.
        """
        parts = programs.Part.of(encoder), programs.Part.of(decoder)
        if batch_size is None and encoder.grid is None:
            batch_size = 1  # whole images have sizes of their own
        super().__init__(
            lambda images: np.asarray(programs.restore(*parts, images)),
            name=name,
            digest=digest(encoder, decoder),
            grid=encoder.grid and math.lcm(encoder.grid, decoder.grid),
            side=side,
            overlap=overlap,
            batch_size=batch_size
            or BATCH_SIZES.get(jax.default_backend(), BATCH_SIZES["gpu"]),
        )
        self.max_pixels = None if encoder.grid else _count_fitting_pixels(encoder)

    def check_pixels(self, num_pixels: int) -> None:
        """Raises ValueError if an image has too many pixels for this network."""
        if self.max_pixels is not None and num_pixels > self.max_pixels:
            raise ValueError(
                f"{num_pixels:,} pixels are more than {self.max_pixels:,}, the limit of "
                f"{self.name} within {MEMORY_LIMIT / 2**30:.0f} GiB: its attention needs the whole image at once; use weights "
                "with local sums, such as the shipped ones"
            )


def digest(encoder: nnx.Module, decoder: nnx.Module) -> str:
    """Returns a fingerprint of the weights, 16 hex digits."""
    params = {
        f"{part}.{param}": value
        for part, module in (("encoder", encoder), ("decoder", decoder))
        for param, value in flat_params.split_module(module)[1].items()
    }
    return fingerprints.digest(params)


def _count_fitting_pixels(encoder: models.RestoringEncoder) -> int:
    """Returns the number of pixels of an image whose restoration needs `MEMORY_LIMIT`.

    The features grow with the number of pixels. Dense attention also needs a map of all
    pairs of positions for each head, which grows with the square of this number.
    """
    stride = encoder.stem_stride
    features = 4 * encoder.num_features_held * encoder.width / stride**2
    is_ours = isinstance(encoder, models.AGLFEncoder)
    branch = encoder.blocks[0].global_branch if is_ours else None
    if not isinstance(branch, DenseAttention):
        return int(MEMORY_LIMIT / features)
    maps = 4 * _MAPS_HELD * branch.num_heads / (branch.pool * stride) ** 4
    root = math.sqrt(features**2 + 4 * maps * MEMORY_LIMIT)
    return int((root - features) / (2 * maps))
