"""Where sets of images lie in a feature space: coverage, and a map to look at.

Coverage is measured among the features, never on the map: t-SNE keeps neighbours
together, but neither distances nor densities.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn import manifold

from ttl_jax.metrics import coverage

NUM_NEIGHBOURS = 5  # k of coverage and density
NUM_DRAWS = 100  # of subsets of equal size
MIN_SAMPLES = 20  # scenes of a set for its coverage to be measured
PERPLEXITY = 30.0  # of t-SNE, where there are enough images
MAX_POINTS = 200  # images of a set on the map


# N images: vectors, float [N, D], and numbers of the scenes, int [N].
Features = tuple[np.ndarray, np.ndarray]


class Cover(NamedTuple):
    """How far others cover a real set.

    Attributes:
      samples: Number of images drawn from every set, each from another scene.
      rows: `coverage` and `density` by other set, each as mean, low and high of the
        draws. The key None stands for the other half of the real set, the ceiling.
      too_few: Numbers of scenes of the sets that were not measured, because they have
        fewer than `MIN_SAMPLES`; the real one, under None, needs twice as many.
    """

    samples: int
    rows: dict[Hashable, dict[str, dict[str, float]]]
    too_few: dict[Hashable, int]


def cover(real: Features, others: Mapping[Any, Features], seed: int) -> Cover:
    """Returns coverage and density of a real set by others, with equal sample sizes.

    Each of `NUM_DRAWS` draws splits the real scenes into two random halves and draws as
    many scenes from each other set, one image from each scene. The axes are scaled to the
    real set's variance, so that a result does not depend on the other sets.

    Args:
      real: Set to be covered.
      others: Other sets; no key is None.
      seed: Seed of the draws.
    """
    num_scenes = {key: len(np.unique(scenes)) for key, (_, scenes) in others.items()}
    too_few = {key: num for key, num in num_scenes.items() if num < MIN_SAMPLES}
    num_real = len(np.unique(real[1]))
    if num_real // 2 < MIN_SAMPLES:
        return Cover(0, {}, {None: num_real, **too_few})
    enough = {key: other for key, other in others.items() if key not in too_few}
    num = min([num_real // 2, *(num_scenes[key] for key in enough)])

    def draw(of_set: Features, first: int = 0) -> list[np.ndarray]:
        """The samples of all draws: scenes from `first` on, in a random order."""
        vectors, scenes = of_set
        orders = (_draw_scenes(scenes, seed, i) for i in range(NUM_DRAWS))
        return [
            standardise(vectors[order[first : first + num]], real[0])
            for order in orders
        ]

    references = draw(real)
    drawn = {None: draw(real, num)} | {
        key: draw(other) for key, other in enough.items()
    }
    rows = {key: _measure(references, samples) for key, samples in drawn.items()}
    return Cover(num, rows, too_few)


def choose_points(num_images: int, seed: int) -> np.ndarray:
    """Returns indices of the images of a set to show on the map, ascending."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.permutation(num_images)[:MAX_POINTS])


def make_map(features: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Returns places of images on a plane by t-SNE of their standardised features.

    Args:
      features: Feature vectors, float [N, D] with N >= 4.
      seed: Seed of the embedding.

    Returns:
      Places, float [N, 2], and the perplexity: `PERPLEXITY`, or a third of the images.

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
    """Returns features [N, D] minus the mean of `by` [M, D], over its deviation."""
    scale = by.std(axis=0)
    return (features - by.mean(axis=0)) / np.where(scale > 0, scale, 1)


def _draw_scenes(scenes: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """Indices of one image of each scene, both drawn at random."""
    rng = np.random.default_rng((seed, draw))
    order = rng.permutation(len(scenes))
    _, first = np.unique(scenes[order], return_index=True)
    return rng.permutation(order[first])


def _measure(
    references: Sequence[np.ndarray], samples: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """Mean, lowest and highest coverage and density over the draws."""
    found = {}
    for measure in (coverage.coverage, coverage.density):
        pairs = zip(references, samples, strict=True)
        values = [measure(*pair, NUM_NEIGHBOURS) for pair in pairs]
        limits = {"low": min(values), "high": max(values)}
        found[measure.__name__] = {"mean": float(np.mean(values)), **limits}
    return found
