"""Features of images by a trained encoder, rebuilt from its checkpoint alone."""

import pathlib

import numpy as np
from flax import nnx

from ttl_jax import models
from ttl_jax.data.files import images
from ttl_jax.inference import pixels, programs
from ttl_jax.weights import rebuild, shipped, weight_sources

SIDE = 192  # pixels, of the square that is looked at


class Encoder:
    """Images to points in a feature space: `encoder.embed(image)`.

    Attributes:
      description: What the features are, in words.
    """

    def __init__(self, encoder: nnx.Module, *, name: str, step: int):
        self.description = (
            f"encoder of {name} at step {step}, mean over the central {SIDE} x {SIDE} "
            "pixels"
        )
        self._encoder = programs.Part.of(encoder)

    @classmethod
    def from_checkpoint(cls, path: str | pathlib.Path) -> "Encoder":
        """Loads the encoder of a run of any stage.

        Args:
          path: As of `weight_sources`, such as `runs/recog`. "shipped" means the
            package's weights that remove rain.

        Raises:
          ValueError: If there is no checkpoint, or none of an encoder.
        """
        path = shipped.find_derain(path)
        modules, metadata = rebuild.load(
            path,
            ("encoder",),
            factory=models.make_encoder.__name__,
            purpose="features come from a run such as runs/recog",
        )
        name = weight_sources.find_name(path)
        return cls(modules["encoder"], name=name, step=metadata["step"])

    def embed(self, image: np.ndarray) -> np.ndarray:
        """Returns the features of the central square of an image, float32 [width].

        The square has one size, so that one program serves images of all sizes.

        Args:
          image: uint8 [H, W, 3]; one smaller than the square is continued by reflection.
        """
        square = images.central_square(image, SIDE)
        batch = pixels.to_unit_range(square[None])
        return np.asarray(programs.embed(self._encoder, batch)[0])
