"""Agreement of raters who rank the same items."""

import numpy as np
from numpy.typing import ArrayLike


def kendall_w(ranks: ArrayLike) -> float:
    """Kendall's coefficient of concordance of rankings without ties, in [0, 1].

    1 means that all raters agree. Random rankings of m raters have the mean 1/m.

    Args:
      ranks: Ranks [raters, items]; each row has each rank from 1 to the number of items.

    Raises:
      ValueError: If there are fewer than two raters or items, or a row is invalid.

    References:
      Kendall and Babington Smith, The problem of m rankings, 1939.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 2 or min(ranks.shape) < 2:
        raise ValueError(
            f"Expected ranks [raters, items] of at least 2 each, not {ranks.shape}."
        )
    num_raters, num_items = ranks.shape
    if (np.sort(ranks, axis=1) != np.arange(1, num_items + 1)).any():
        raise ValueError(f"Each row must have each of the ranks 1 to {num_items} once.")
    sums = ranks.sum(axis=0)
    deviation = ((sums - sums.mean()) ** 2).sum()
    return float(12 * deviation / (num_raters**2 * (num_items**3 - num_items)))
