"""How rainy a photograph looks to a recognition network, from its checkpoint alone."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ttl_jax import models, weights
from ttl_jax.inference import networks
from ttl_jax.training import fingerprints, flat_params, weight_sources

# Of a part that is scored at once: 3 GB with `small`.
_MAX_PIXELS = 2_000_000


class Recognizer:
    """A judge of rain: `recognizer.score(image)`.

    The score is the output of D_recog for the whole image: trained with Eq. 1 it is
    unbounded, near 1 for rainy and near 0 for rain-free photographs; trained with
    cross-entropy it is a logit. It is no probability in either case.

    Attributes:
      name: Name of the run it comes from.
    """

    def __init__(self, encoder: nnx.Module, classifier: nnx.Module, run: pathlib.Path):
        self.name = weight_sources.find_name(run)
        self._run = run
        encoder_graph, encoder_params = flat_params.split_module(encoder)
        classifier_graph, classifier_params = flat_params.split_module(classifier)
        self._digest = fingerprints.digest(encoder_params)
        self._params = encoder_params, classifier_params

        @jax.jit
        def score(params, image):
            features = flat_params.merge_module(encoder_graph, params[0])(image)
            return flat_params.merge_module(classifier_graph, params[1])(features)

        self._score = score

    @classmethod
    def from_checkpoint(cls, path: str | pathlib.Path) -> "Recognizer":
        """Loads the encoder and classifier of a run.

        Args:
          path: As of `weight_sources`, such as `runs/recog`. "shipped" means the
            package's own weights.

        Raises:
          ValueError: If there is no checkpoint, or it does not recognize rain.
        """
        path = weights.find_recog(path)
        modules, _ = networks.load(
            path,
            ("encoder", "decoder"),
            factory=models.make_classifier.__name__,
            purpose="to tell rain takes a run of the stage recog",
        )
        run = weight_sources.find_run(path)
        return cls(modules["encoder"], modules["decoder"], run)

    def score(self, image: np.ndarray) -> float:
        """The rain score of an image, uint8 RGB [H, W, 3]; higher is rainier.

        That of more than two megapixels is the mean over the least square grid of parts
        that are smaller.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"An image is uint8 RGB [H, W, 3], not {image.dtype} of shape "
                f"{image.shape}."
            )
        count = math.ceil(math.sqrt(image.shape[0] * image.shape[1] / _MAX_PIXELS))
        parts = [
            part
            for rows in np.array_split(image, count, axis=0)
            for part in np.array_split(rows, count, axis=1)
        ]
        return float(np.mean([self._score_part(part) for part in parts]))

    def _score_part(self, part: np.ndarray) -> float:
        batch = jnp.asarray(part[None].astype(np.float32) / np.float32(255))
        return float(self._score(self._params, batch)[0])

    def taught(self, path: str | pathlib.Path) -> bool | None:
        """Whether this network took part in training a run, as a teacher or before it.

        So it did if another step of its run did, where none of the two is packed. None
        if that is not known, as earlier runs are gone. Photographs that both saw do not
        count.

        Args:
          path: As of `weight_sources`, of any run; or "shipped", which means the
            package's own weights that remove rain.
        """
        ancestors = weight_sources.find_ancestors(weights.find_derain(path))
        if self._digest in ancestors.digests or self._run in ancestors.runs:
            return True
        return False if ancestors.are_all else None
