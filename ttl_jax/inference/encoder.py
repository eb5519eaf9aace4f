"""Computes features of images with a trained encoder."""

from typing import ClassVar

import numpy as np
from flax import nnx

from ttl_jax.data.files import images
from ttl_jax.inference import network, pixels, programs

SIDE = 192  # pixels of the central square


class Encoder(network.TrainedNetwork):
    """Maps images to points in a feature space: `encoder.embed(image)`.

    Attributes:
      module: The network, a `models.AGLFEncoder`, which maps images to feature maps.
    """

    factories: ClassVar = {"encoder": ("make_encoder",)}
    purpose = "features come from a run such as runs/recog"

    def __init__(self, encoder: nnx.Module, *, name: str):
        self.module, self.name = encoder, name
        self._encoder = programs.Part.of(encoder)

    @property
    def description(self) -> str:
        """Description of the features."""
        return (
            f"encoder of {self.name} at step {self.step}, mean over the central {SIDE} x "
            f"{SIDE} pixels"
        )

    def embed(self, image: np.ndarray) -> np.ndarray:
        """Returns the mean features of the central square of an image, float32 [width].

        The square has a fixed size, so that one compiled program serves images of all
        sizes.

        Args:
          image: uint8 RGB [H, W, 3]; smaller images are padded by reflection.

        Raises:
          ValueError: If the image has another type or shape.
        """
        image = np.asarray(image)
        pixels.check_rgb8(image)
        square = images.central_square(image, SIDE)
        batch = pixels.to_unit_range(square[None])
        return np.asarray(programs.embed(self._encoder, batch)[0])
