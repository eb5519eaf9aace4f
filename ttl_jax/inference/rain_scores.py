"""Rain scores of photographs before and after they are restored; needs JAX."""

import importlib.util
import logging
import threading
from collections.abc import Callable

import numpy as np
from PIL import Image

from ttl_jax.data.files import decoding

_logger = logging.getLogger("ttl_jax")

# Photographs from this size on are scored by default. On a CPU, restoring takes 19 to
# 26 s per megapixel, and the two scores take 5 s. Scoring adds 7 % at this size,
# and 2 % at 12 megapixels.
MANY_PIXELS = 4_000_000
_SIDE = 512  # pixels, longer side of the copy that is scored


def are_available() -> bool:
    """Whether this package has the recognition network. That without JAX lacks it."""
    return importlib.util.find_spec("ttl_jax.inference.recognizer") is not None


class RainScores:
    """A `restore` that also scores what it is given and what it returns.

    Threads may share it. The shipped recognition network is loaded for the first score.
    """

    def __init__(self, restore: Callable[..., np.ndarray], min_pixels: int):
        """Takes the function that restores, and the size from which images are scored."""
        self._restore, self._min_pixels = restore, min_pixels
        self._network, self._lock = None, threading.Lock()
        self._scores: list[tuple[float, float]] = []

    def restore(self, image: np.ndarray, **options) -> np.ndarray:
        """Restores an image, see `Restorer.restore`."""
        restored = self._restore(image, **options)
        if image.shape[0] * image.shape[1] >= self._min_pixels:
            self._add(image, restored)
        return restored

    def _add(self, image: np.ndarray, restored: np.ndarray) -> None:
        try:
            self._scores.append((self._score(image), self._score(restored)))
        except Exception as error:  # must not cost the restored photograph
            _logger.debug("Scoring the rain failed:", exc_info=True)
            decoding.warn_once(f"No rain score: {decoding.describe(error)}")

    def __len__(self) -> int:
        return len(self._scores)

    def means(self) -> tuple[float, float]:
        """Returns the mean score before and after; one image must have been scored."""
        before, after = np.mean(self._scores, axis=0)
        return float(before), float(after)

    def _score(self, image: np.ndarray) -> float:
        copy = Image.fromarray(decoding.as_rgb8(image))
        copy.thumbnail((_SIDE, _SIDE))
        from ttl_jax.inference import recognizer  # starts JAX

        with self._lock:  # several at once need several times the memory
            if self._network is None:
                self._network = recognizer.Recognizer.from_checkpoint("shipped")
            return self._network.score(np.asarray(copy))
