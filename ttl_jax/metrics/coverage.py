"""How far one set of feature vectors covers another, by nearest neighbours.

Each real vector is the centre of a ball. Its radius is the distance to the k-th nearest
neighbour among the other real vectors. Sets are float [N, D] in one feature space.
Distances are Euclidean, so the caller has to scale the axes.

Coverage and density grow with the number of vectors; compare only sets of equal size. Two
sets of equal size from one distribution have a coverage of about 1 - 2^-k and a density
of about 1.

References:
  Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020,
  Eqs. (4) and (5).
"""

import numpy as np
from scipy.spatial import distance


def coverage(real: np.ndarray, synthetic: np.ndarray, k: int) -> float:
    """Returns the share of real vectors whose ball contains a synthetic vector, in [0, 1].

    Args:
      real: Real vectors, float [N, D] with N > k.
      synthetic: Synthetic vectors, float [M, D].
      k: Rank of the neighbour that defines the radius of a ball, from 1.

    Raises:
      ValueError: If the shapes do not fit, a set is empty, or N <= k.
    """
    return float(_in_ball(real, synthetic, k).any(axis=1).mean())


def density(real: np.ndarray, synthetic: np.ndarray, k: int) -> float:
    """Returns the mean number of real balls that contain a synthetic vector, divided by k.

    It is 0 or more, and above 1 if synthetic vectors concentrate in dense regions of the
    real ones. Arguments and errors are those of `coverage`.
    """
    return float(_in_ball(real, synthetic, k).sum(axis=0).mean() / k)


def _in_ball(real: np.ndarray, synthetic: np.ndarray, k: int) -> np.ndarray:
    """Returns whether the ball of real vector i contains synthetic vector j, bool [N, M].

    Note: The balls are closed, so a set covers itself even if vectors repeat.
    """
    shapes = real.shape, synthetic.shape
    if not all(len(shape) == 2 and shape[0] for shape in shapes) or (
        shapes[0][1] != shapes[1][1]
    ):
        raise ValueError(f"Expected sets [N, D] and [M, D], not {shapes}.")
    if not 1 <= k < len(real):
        raise ValueError(
            f"k={k} is out of range for {len(real)} real vectors: 1 to {len(real) - 1}."
        )
    among_real = distance.cdist(real, real)
    np.fill_diagonal(among_real, np.inf)  # no vector is its own neighbour
    radii = np.partition(among_real, k - 1, axis=1)[:, k - 1]
    return distance.cdist(real, synthetic) <= radii[:, None]
