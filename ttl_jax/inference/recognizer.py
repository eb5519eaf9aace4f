"""How rainy a photograph looks to a recognition network, from its checkpoint alone."""

import itertools
import math
import pathlib

import numpy as np
from flax import nnx

from ttl_jax import models
from ttl_jax.inference import pixels, programs, windows
from ttl_jax.weights import fingerprints, rebuild, shipped, weight_sources


class Recognizer:
    """A judge of rain: `recognizer.score(image)`.

    The score is the output of D_recog: trained with Eq. 1 it is unbounded, near 1 for
    rainy and near 0 for rain-free photographs; trained with cross-entropy it is a logit.
    It is no probability in either case.

    An image is scored by the windows that it is restored by (`windows.plan`). What the
    network averages over the pixels of the whole image is averaged here over the pixels
    of all windows, with the weights of blending; pixels beyond the image count nothing.
    Note: networks with sums over the whole image take those of the window.

    Attributes:
      name: Name of the run it comes from.
    """

    def __init__(
        self,
        encoder: nnx.Module,
        classifier: nnx.Module,
        run: pathlib.Path,
        *,
        side: int = windows.SIDE,
        overlap: int = windows.OVERLAP,
    ):
        """Takes a network.

        Args:
          encoder: As `models.make_encoder` makes it.
          classifier: As `models.make_classifier` makes it.
          run: Folder or file that it comes from.
          side: Largest side of a window, in pixels, as of `windows.plan`.
          overlap: Pixels that neighbouring windows share, as of `windows.plan`.
        """
        self.name = weight_sources.find_name(run)
        self._run = run
        self._stride = encoder.stem_stride
        pools_grid = classifier.spp.grid * encoder.stem_stride
        self._grid = math.lcm(encoder.grid or 1, pools_grid)
        self._side, self._overlap = side, overlap
        self._encoder = programs.Part.of(encoder)
        self._classifier = programs.Part.of(classifier)
        self._digest = fingerprints.digest(self._encoder.params)

    @classmethod
    def from_checkpoint(cls, path: str | pathlib.Path) -> "Recognizer":
        """Loads the encoder and classifier of a run.

        Args:
          path: As of `weight_sources`, such as `runs/recog`. "shipped" means the
            package's own weights.

        Raises:
          ValueError: If there is no checkpoint, or it does not recognize rain.
        """
        path = shipped.find_recog(path)
        modules, _ = rebuild.load(
            path,
            ("encoder", "decoder"),
            factory=models.make_classifier.__name__,
            purpose="to tell rain takes a run of the stage recog",
        )
        run = weight_sources.find_run(path)
        return cls(modules["encoder"], modules["decoder"], run)

    def score(self, image: np.ndarray) -> float:
        """The rain score of an image, uint8 RGB [H, W, 3]; higher is rainier."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"An image is uint8 RGB [H, W, 3], not {image.dtype} of shape "
                f"{image.shape}."
            )
        plan = windows.plan(
            *image.shape[:2], grid=self._grid, side=self._side, overlap=self._overlap
        )
        factors = itertools.product(
            self._weights(plan.rows), self._weights(plan.columns)
        )
        parts, pooled = (self._encoder, self._classifier), 0
        for window, (rows, columns) in zip(plan, factors):
            values = pixels.to_unit_range(windows.read(image, window))[None]
            # Waits for each window: several at once would take several times the memory.
            pooled += np.asarray(programs.pool(*parts, values, rows, columns))
        return float(programs.score(self._classifier, pooled)[0])

    def _weights(self, axis: windows.Axis) -> list[np.ndarray]:
        """Weights of the features' rows or columns in each window; all add up to 1."""
        return [
            weights.reshape(-1, self._stride).sum(axis=1) / np.float32(axis.length)
            for weights in axis.weights()
        ]

    def taught(self, path: str | pathlib.Path) -> bool | None:
        """Whether this network took part in training a run, as a teacher or before it.

        So it did if another step of its run did, where none of the two is packed. None
        if that is not known, as earlier runs are gone. Photographs that both saw do not
        count.

        Args:
          path: As of `weight_sources`, of any run; or "shipped", which means the
            package's own weights that remove rain.
        """
        ancestors = weight_sources.find_ancestors(shipped.find_derain(path))
        if self._digest in ancestors.digests or self._run in ancestors.runs:
            return True
        return False if ancestors.are_all else None
