"""How far one set of feature vectors covers another, by nearest neighbours.

Around each real vector lies a ball that reaches to its k-th nearest neighbour among the
other real ones. Sets are float [N, D] in one feature space, whose axes the caller has
brought to comparable scales: distances are Euclidean.

Both grow with the number of vectors, so that figures compare only between sets of the
same numbers. Two sets of one distribution, of equal numbers, have a coverage of about
1 - 2^-k and a density of about 1.

References:
  Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020,
  Eqs. (4) and (5).
"""

import numpy as np
from scipy.spatial import distance


def coverage(real: np.ndarray, synthetic: np.ndarray, k: int) -> float:
    """The share of real vectors whose ball holds at least one synthetic vector.

    Args:
      real: float [N, D] with N > k.
      synthetic: float [M, D].
      k: Number of neighbours that a ball reaches to.

    Raises:
      ValueError: If the shapes do not fit, a set is empty, or N <= k.
    """
    return float(_in_ball(real, synthetic, k).any(axis=1).mean())


def density(real: np.ndarray, synthetic: np.ndarray, k: int) -> float:
    """The mean number of real balls that hold a synthetic vector, over k; from 0.

    Above 1 where the synthetic vectors crowd in where the real ones are dense.

    Args and Raises: As `coverage`.
    """
    return float(_in_ball(real, synthetic, k).sum(axis=0).mean() / k)


def _in_ball(real: np.ndarray, synthetic: np.ndarray, k: int) -> np.ndarray:
    """Whether the ball of real vector i holds synthetic vector j, bool [N, M].

    Note: the balls are closed, so that a set covers itself even where vectors repeat.
    """
    shapes = real.shape, synthetic.shape
    if not all(len(shape) == 2 and shape[0] for shape in shapes) or (
        shapes[0][1] != shapes[1][1]
    ):
        raise ValueError(f"Expected sets [N, D] and [M, D], not {shapes}.")
    if not 1 <= k < len(real):
        raise ValueError(
            f"{len(real)} real vectors have no neighbours up to number {k}; k goes "
            f"from 1 to {len(real) - 1}."
        )
    among_real = distance.cdist(real, real)
    np.fill_diagonal(among_real, np.inf)  # no vector is its own neighbour
    radii = np.partition(among_real, k - 1, axis=1)[:, k - 1]
    return distance.cdist(real, synthetic) <= radii[:, None]
