"""Computes rain scores of photographs with a trained recognition network."""

import itertools
import math
import os
from typing import ClassVar

import numpy as np

from ttl_jax import models
from ttl_jax.inference import network, pixels, programs, windows
from ttl_jax.weights import fingerprints, trained


class Recognizer(network.TrainedNetwork):
    """Scores how rainy an image looks: `recognizer.score(image)`.

    The score is the output of D_recog. Trained with Eq. 1 it is unbounded, near 1 for
    rainy and near 0 for rain-free photographs; trained with cross-entropy it is a logit.
    It is not a probability in either case.

    An image is scored in the windows of `windows.plan`. The classifier takes the mean
    over the pixels of all windows, with the weights of blending. Pixels beyond the
    image have weight 0.
    Note: networks with sums over the whole image sum over each window instead.

    Attributes:
      digest: Digest of the encoder's weights, see `fingerprints.digest`.
    """

    factories: ClassVar = {
        "encoder": ("make_encoder",),
        "decoder": ("make_classifier",),
    }
    purpose = "recognizing rain takes a run of the stage recog"
    recognizes = True

    def __init__(
        self,
        encoder: models.AGLFEncoder,
        decoder: models.RainClassifier,
        *,
        name: str,
        side: int = windows.SIDE,
        overlap: int = windows.OVERLAP,
    ):
        """Takes an encoder and a classifier.

        Args:
          encoder: Network of `models.make_encoder`.
          decoder: Network of `models.make_classifier`.
          side: Largest side of a window, in pixels; see `windows.plan`.
          overlap: Overlap of neighbouring windows, in pixels; see `windows.plan`.
        """
        self.name = name
        if decoder.num_classes != 1:
            raise ValueError(
                f"{name} recognizes {decoder.num_classes} classes and has no rain score; "
                "use a run of the stage recog."
            )
        self._stride = encoder.stem_stride
        pools_grid = decoder.spp.grid * encoder.stem_stride
        self._grid = math.lcm(encoder.grid or 1, pools_grid)
        self._side, self._overlap = side, overlap
        self._encoder = programs.Part.of(encoder)
        self._classifier = programs.Part.of(decoder)
        self.digest = fingerprints.digest(self._encoder.params)

    def score(self, image: np.ndarray) -> float:
        """Returns the rain score of an image, uint8 RGB [H, W, 3]; higher is rainier."""
        image = np.asarray(image)
        pixels.check_rgb8(image)
        plan = windows.plan(
            *image.shape[:2], grid=self._grid, side=self._side, overlap=self._overlap
        )
        factors = itertools.product(
            self._weights(plan.rows), self._weights(plan.columns)
        )
        parts, pooled = (self._encoder, self._classifier), 0
        for window, (rows, columns) in zip(plan, factors):
            values = pixels.to_unit_range(windows.read(image, window))[None]
            # Wait for each window, since several at once need several times the memory.
            pooled += np.asarray(programs.pool(*parts, values, rows, columns))
        return float(programs.score(self._classifier, pooled)[0])

    def _weights(self, axis: windows.Axis) -> list[np.ndarray]:
        """Returns the weights of feature rows or columns in each window, with the sum 1."""
        return [
            weights.reshape(-1, self._stride).sum(axis=1) / np.float32(axis.length)
            for weights in axis.weights()
        ]

    def is_teacher_of(self, path: str | os.PathLike | None) -> bool | None:
        """Returns whether a run was trained from this network, directly or indirectly.

        Another step of this network's run counts too, unless one of the two is packed.
        Shared training photographs do not count. Nor does it count if this network's
        scores or features chose the training photographs.

        Args:
          path: Weights of any run, as for `trained.load`.

        Returns:
          True, False, or None if ancestry is incomplete.
        """
        ancestors = trained.find_ancestors(path)
        if self.digest in ancestors.digests or self.path in ancestors.runs:
            return True
        return False if ancestors.are_all else None
