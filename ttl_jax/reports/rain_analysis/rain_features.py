"""Where sets of images lie in a feature space: coverage, and a map to look at.

Coverage is measured among the features, never on the map: t-SNE keeps neighbours
together, but neither distances nor densities.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn import manifold

from ttl_jax.metrics import coverage

NUM_NEIGHBOURS = 5  # k of coverage and density
NUM_DRAWS = 100  # of subsets of equal size
MIN_SAMPLES = 20  # scenes of a set for its coverage to be measured
PERPLEXITY = 30.0  # of t-SNE, where there are enough images
MAX_POINTS = 200  # images of a set on the map
OTHER_HALF = "other half"  # of a real set, as a side of it


# N images: vectors, float [N, D], and numbers of the scenes, int [N].
Features = tuple[np.ndarray, np.ndarray]


def cover(
    real: Features, others: Mapping[tuple[str, str], Features], seed: int, name: str
) -> dict[str, Any]:
    """Returns coverage and density of a real set by others, with equal sample sizes.

    Each of `NUM_DRAWS` draws splits the real scenes into two random halves and draws as
    many scenes from each other set, one image from each scene. The axes are scaled to the
    real set's variance, so that a result does not depend on the other sets.

    Args:
      real: Set to be covered.
      others: Sets that cover it, by name and side.
      seed: Seed of the draws.
      name: Name of the real set.

    Returns:
      "samples", the number of images drawn from every set; "rows", each with "set",
      "side", and "coverage" and "density" as mean, low and high of the draws; and
      "too_few", the sets that were not measured with their number of "scenes": fewer than
      `MIN_SAMPLES`, or twice as many for the real one. The side `OTHER_HALF` stands for
      the other half of the real set, the ceiling.
    """
    scenes = {key: len(np.unique(scenes)) for key, (_, scenes) in others.items()}
    half = len(np.unique(real[1])) // 2
    too_few = {key: num for key, num in scenes.items() if num < MIN_SAMPLES}
    rows, num = {}, 0
    if half < MIN_SAMPLES:
        too_few = {(name, OTHER_HALF): len(np.unique(real[1])), **too_few}
    else:
        enough = {key: other for key, other in others.items() if key not in too_few}
        num = min([half, *(scenes[key] for key in enough)])

        def draw(of_set: Features, first: int = 0) -> list[np.ndarray]:
            """The samples of all draws: scenes from `first` on, in a random order."""
            orders = (_draw_scenes(of_set[1], seed, i) for i in range(NUM_DRAWS))
            indices = [order[first : first + num] for order in orders]
            return [standardise(of_set[0][i], real[0]) for i in indices]

        drawn = {(name, OTHER_HALF): draw(real, num)}
        drawn |= {key: draw(other) for key, other in enough.items()}
        references = draw(real)
        rows = {key: _measure(references, samples) for key, samples in drawn.items()}
    return {
        "samples": num,
        "rows": [{"set": s, "side": side} | row for (s, side), row in rows.items()],
        "too_few": [
            {"set": s, "side": side, "scenes": n} for (s, side), n in too_few.items()
        ],
    }


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
