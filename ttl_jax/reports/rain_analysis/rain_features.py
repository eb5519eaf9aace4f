"""Sets of images in a feature space: coverage, and a map by t-SNE.

Coverage is measured in the feature space, never on the map: t-SNE preserves neighbours, but
neither distances nor densities.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn import manifold

from ttl_jax.metrics import coverage

NUM_NEIGHBOURS = 5  # k of coverage and density
NUM_DRAWS = 100  # of subsets of equal size
MIN_SAMPLES = 20  # scenes; the coverage of a set with fewer is not measured
PERPLEXITY = 30.0  # of t-SNE, if there are enough images
MAX_POINTS = 200  # images of a set on the map
OTHER_HALF = "other half"  # name of the second half of a real set, used as a side


# Features of N images, float [N, D], and their scene numbers, int [N].
Features = tuple[np.ndarray, np.ndarray]


def cover(
    real: Features, others: Mapping[tuple[str, str], Features], seed: int, name: str
) -> dict[str, Any]:
    """Returns coverage and density of a real set by others, with equal sample sizes.

    Each of `NUM_DRAWS` draws splits the real scenes into two random halves and draws the
    same number of scenes from each other set, one image per scene. The axes are scaled by
    the standard deviation of the real set, so results do not depend on the other sets.

    Args:
      real: Set to be covered.
      others: Sets that cover it, by name and side.

    Returns:
      A dictionary with
      - "samples": number of images drawn from every set;
      - "rows": for each set and side "set", "side", "coverage" and "density", the last two
        as mean, low and high of the draws. The side `OTHER_HALF` is the second half of the
        real set, which gives the highest values to expect;
      - "too_few": "set", "side" and "scenes" of sets that were not measured, because they
        have fewer than `MIN_SAMPLES` scenes (the real set: fewer than twice as many).
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
            """Returns the samples of all draws: scenes from `first` on, in random order."""
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
    """Returns positions of images in the plane by t-SNE of their standardised features.

    Args:
      features: Feature vectors, float [N, D] with N >= 4.

    Returns:
      Positions, float [N, 2], and the perplexity: `PERPLEXITY`, or (N - 1) / 3 if smaller.

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
    """Returns the indices of one random image of each scene, in random order."""
    rng = np.random.default_rng((seed, draw))
    order = rng.permutation(len(scenes))
    _, first = np.unique(scenes[order], return_index=True)
    return rng.permutation(order[first])


def _measure(
    references: Sequence[np.ndarray], samples: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """Returns mean, lowest and highest coverage and density over the draws."""
    found = {}
    for measure in (coverage.coverage, coverage.density):
        pairs = zip(references, samples, strict=True)
        values = [measure(*pair, NUM_NEIGHBOURS) for pair in pairs]
        limits = {"low": min(values), "high": max(values)}
        found[measure.__name__] = {"mean": float(np.mean(values)), **limits}
    return found
