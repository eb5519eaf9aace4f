"""Agreement of people who rank the same things."""

import numpy as np
from numpy.typing import ArrayLike


def kendall_w(ranks: ArrayLike) -> float:
    """Kendall's coefficient of concordance of rankings without ties, in [0, 1].

    1 means that all raters agree. Random rankings of m raters have the mean 1/m.

    Args:
      ranks: Ranks [raters, things]; each row holds 1 to the number of things once.

    Raises:
      ValueError: If there are fewer than two raters or things, or a row is no such ranking.

    References:
      Kendall and Babington Smith, The problem of m rankings, 1939.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 2 or min(ranks.shape) < 2:
        raise ValueError(
            f"Expected ranks [raters, things] of at least 2 each, not {ranks.shape}."
        )
    num_raters, num_things = ranks.shape
    if (np.sort(ranks, axis=1) != np.arange(1, num_things + 1)).any():
        raise ValueError(f"Each row must hold the ranks 1 to {num_things} once.")
    sums = ranks.sum(axis=0)
    deviation = ((sums - sums.mean()) ** 2).sum()
    return float(12 * deviation / (num_raters**2 * (num_things**3 - num_things)))
