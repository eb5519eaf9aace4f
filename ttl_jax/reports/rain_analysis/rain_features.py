"""Where sets of images lie in a feature space: coverage, and a map to look at.

Coverage is measured among the features, never on the map: t-SNE keeps neighbours
together, but neither distances nor densities.
"""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn import manifold

from ttl_jax.metrics import coverage

NUM_NEIGHBOURS = 5  # k of coverage and density
NUM_DRAWS = 100  # of subsets of equal size
MIN_SAMPLES = 20  # scenes of a set whose coverage is told
PERPLEXITY = 30.0  # of t-SNE, where there are enough images
MAX_POINTS = 200  # of a set on the map


class FeatureSet(NamedTuple):
    """N images in a feature space.

    Attributes:
      features: float [N, D].
      scenes: int [N], equal where the picture is.
    """

    features: np.ndarray
    scenes: np.ndarray

    @property
    def num_scenes(self) -> int:
        return len(np.unique(self.scenes))


class Cover(NamedTuple):
    """How far others cover a real set.

    Attributes:
      samples: Images drawn of every set, each of another scene.
      rows: By other set, `coverage` and `density`, each as mean, low and high of the
        draws; under None those of the real set's own other half, the ceiling.
      too_few: Scenes of the sets that have fewer than `MIN_SAMPLES` (the real one, under
        None, has to have twice as many), which are not told.
    """

    samples: int
    rows: dict[Hashable, dict[str, dict[str, float]]]
    too_few: dict[Hashable, int]


def cover(real: FeatureSet, others: Mapping[Hashable, FeatureSet], seed: int) -> Cover:
    """Coverage and density of a real set by others, all at one number of samples.

    In each of `NUM_DRAWS` draws, the real scenes are split in two halves at random and
    as many scenes drawn of each other set, an image from each. The axes are scaled to the
    real set's variance, so that a figure does not depend on which sets stand beside it.

    Args:
      real: What is to be covered.
      others: Any key but None.
      seed: Of the draws.
    """
    too_few = {
        key: other.num_scenes
        for key, other in others.items()
        if other.num_scenes < MIN_SAMPLES
    }
    half = real.num_scenes // 2
    if half < MIN_SAMPLES:
        return Cover(0, {}, {None: real.num_scenes, **too_few})
    enough = {key: other for key, other in others.items() if key not in too_few}
    num = min([half, *(other.num_scenes for other in enough.values())])
    orders = [_draw_scenes(real.scenes, seed, draw) for draw in range(NUM_DRAWS)]

    def sample(of_set: FeatureSet, indices: np.ndarray) -> np.ndarray:
        return standardise(of_set.features[indices], real.features)

    references = [sample(real, order[:num]) for order in orders]
    drawn = {None: [sample(real, order[num : 2 * num]) for order in orders]}
    for key, other in enough.items():
        drawn[key] = [
            sample(other, _draw_scenes(other.scenes, seed, draw)[:num])
            for draw in range(NUM_DRAWS)
        ]
    rows = {key: _measure(references, samples) for key, samples in drawn.items()}
    return Cover(num, rows, too_few)


def choose_points(num_images: int, seed: int) -> np.ndarray:
    """Indices of the images of a set that are shown on the map, ascending."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.permutation(num_images)[:MAX_POINTS])


def make_map(features: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Places of images on a plane by t-SNE of their standardised features.

    Args:
      features: float [N, D] with N >= 4.
      seed: Of the embedding.

    Returns:
      float [N, 2], and the perplexity: `PERPLEXITY`, or a third of the images.

    Raises:
      ValueError: If there are fewer than four images.
    """
    if len(features) < 4:
        raise ValueError(
            f"{len(features)} images are too few for a map; name more photographs."
        )
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    tsne = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return tsne.fit_transform(standardise(features, features)), perplexity


def standardise(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Features [N, D] less the mean of others [M, D], over their standard deviation."""
    scale = by.std(axis=0)
    return (features - by.mean(axis=0)) / np.where(scale > 0, scale, 1)


def _draw_scenes(scenes: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """Indices of one image of each scene, both drawn at random."""
    rng = np.random.default_rng((seed, draw))
    order = rng.permutation(len(scenes))
    _, first = np.unique(scenes[order], return_index=True)
    return rng.permutation(order[first])


def _measure(references: list, samples: list) -> dict[str, dict[str, float]]:
    """Mean, lowest and highest coverage and density over the draws."""
    found: dict[str, dict[str, Any]] = {}
    for measure in (coverage.coverage, coverage.density):
        values = [
            measure(reference, sample, NUM_NEIGHBOURS)
            for reference, sample in zip(references, samples, strict=True)
        ]
        found[measure.__name__] = {
            "mean": float(np.mean(values)),
            "low": min(values),
            "high": max(values),
        }
    return found
