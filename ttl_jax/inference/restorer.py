"""Removes rain from images with a trained network, rebuilt from its checkpoint alone."""

import pathlib
from collections.abc import Callable

import numpy as np
from absl import logging
from flax import nnx

from ttl_jax import models, weights
from ttl_jax.inference import networks, pixels, tiles, whole
from ttl_jax.training import weight_sources

# How an image is restored: as a whole if that fits into memory and else in exact tiles;
# or always in one way.
TILINGS = ("auto", "whole", "exact", "frozen")


class Restorer:
    """A rain remover: `restorer.restore(image)`.

    Attributes:
      name: Name of the run it comes from.
      step: Updates that run had done.
    """

    def __init__(
        self,
        encoder: nnx.Module,
        decoder: nnx.Module,
        *,
        name: str,
        step: int,
        tiling: str = "auto",
    ):
        self.name = name
        self.step = step
        self._whole = whole.Whole(encoder, decoder)
        self._tiles: tiles.Tiles | None = None
        if tiling != "whole" and encoder.has_tiles:
            self._tiles = tiles.Tiles(encoder, decoder)
        elif tiling in ("exact", "frozen"):
            raise ValueError(
                f"{name} attends to all pixels at once (dense attention), so that it "
                "cannot restore in tiles; use the tiling 'whole'."
            )
        self._restore = self._find(tiling)

    @classmethod
    def from_checkpoint(
        cls, path: str | pathlib.Path | None = None, *, tiling: str = "auto"
    ) -> "Restorer":
        """Loads the encoder and image decoder of a run.

        Args:
          path: As of `weight_sources`, for example `runs/derain` for its last step or
            `runs/derain/best`. None or "shipped" means the package's own weights.
          tiling: One of `TILINGS`.

        Raises:
          ValueError: If there is no checkpoint, or it does not restore images, or not
            in tiles as wanted.
        """
        path = weights.find_derain(path)
        modules, metadata = networks.load(
            path,
            ("encoder", "decoder"),
            factory=models.make_image_decoder.__name__,
            purpose="restoring takes a run of the stage derain",
        )
        name = weight_sources.find_name(path)
        return cls(**modules, name=name, step=metadata["step"], tiling=tiling)

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Returns the image without rain, of the same shape and type.

        Args:
          image: uint8, uint16, or float in [0, 1]; [H, W] or [H, W, C] with C = 1
            (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha). Grey is restored
            as RGB of three equal channels; alpha is returned as it is.

        Raises:
          ValueError: If the shape or type is another, what was restored is no number,
            or `whole` does not fit into memory.
          OSError: If the disk has no room for what exact tiles write to it.
        """
        image = np.asarray(image)
        colour, alpha = pixels.split_alpha(image)
        if colour.shape[-1] == 1:
            grey = np.broadcast_to(pixels.to_unit_range(colour), (*colour.shape[:2], 3))
            mean = self._restore(grey).mean(axis=-1, keepdims=True)
            restored = pixels.from_unit_range(mean, image.dtype)
        else:
            restored = self._restore(colour)
        return np.concatenate([restored, alpha], axis=-1).reshape(image.shape)

    def _find(self, tiling: str) -> Callable[[np.ndarray], np.ndarray]:
        """The function from RGB to RGB."""
        if tiling == "auto":
            return self._restore_as_fits
        if tiling == "whole":
            return self._whole.restore
        if tiling == "exact":
            return self._tiles.restore_exactly
        if tiling == "frozen":
            return self._tiles.restore_frozen
        raise ValueError(f"Unknown tiling {tiling!r}; choose from {TILINGS}.")

    def _restore_as_fits(self, rgb: np.ndarray) -> np.ndarray:
        try:
            return self._whole.restore(rgb)
        except whole.DoesNotFit as reason:
            if self._tiles is None:
                raise
            logging.warning("%s: restoring in tiles.", reason)
        return self._tiles.restore_exactly(rgb)
