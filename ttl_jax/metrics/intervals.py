"""Bootstrap intervals of mean scores that resample scenes, not images.

Test sets hold several images of one scene (Rain1400 fourteen, each the same photograph
under other rain). Their scores move together: images drawn one by one would give an
interval that is too narrow, by up to the root of their number. Here a resample draws as
many scenes as there are, with replacement, each with all its images, and percentiles of
the resamples' means bound the interval.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean over images and the bounds of its interval, NaN where there are none."""

    mean: float
    low: float
    high: float


def bootstrap_difference(
    values: Sequence[float],
    reference: Sequence[float],
    groups: Sequence[str] | Sequence[int],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean of `values - reference`, paired by image, and its percentile interval.

    An interval without 0 says that on scenes like these one method is better: what all
    methods find hard in a scene cancels, which it does not between two intervals of
    `bootstrap_mean`.

    Args:
      values: A method's score of each image [N].
      reference: Another method's score of the same images [N], in the same order.
      groups: The scene of each image [N], by a name or a number.
      num_resamples: How many resamples; 2000 leave a bound uncertain by about 2 % of the
        interval's width.
      seed: Of the draws. The same scores give the same interval, whatever the order of
        the images.
      level: Share of the resamples within the interval, in (0, 1).

    Returns:
      Mean, low and high. Of one scene nothing says how scenes differ: low and high are
      NaN. Of few scenes the interval is too narrow: simulated normal scores are covered
      by that of 95 % in 84, 90 and 93 % of trials with 5, 10 and 20 scenes.

    Raises:
      ValueError: The arrays are empty or differ in shape, a score is not finite, or
        `num_resamples` or `level` is out of range.

    References:
      Efron and Tibshirani, An introduction to the bootstrap, 1993, chapters 8 and 13.
    """
    values, reference = np.asarray(values, float), np.asarray(reference, float)
    if values.shape != reference.shape:
        raise ValueError(
            f"Scores of shape {values.shape} cannot be paired with a reference of shape "
            f"{reference.shape}."
        )
    return bootstrap_mean(
        values - reference,
        groups,
        num_resamples=num_resamples,
        seed=seed,
        level=level,
    )


def bootstrap_mean(
    values: Sequence[float],
    groups: Sequence[str] | Sequence[int],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean of `values` over images and its percentile interval.

    Arguments, returns, errors and references as for `bootstrap_difference`.
    """
    values, groups = np.asarray(values, float), np.asarray(groups)
    if values.ndim != 1 or not len(values) or values.shape != groups.shape:
        raise ValueError(
            f"Expected a score and a scene for each image, [N] and [N], not shapes "
            f"{values.shape} and {groups.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"Scores have to be finite; of {len(values)} there are "
            f"{np.count_nonzero(~np.isfinite(values))} that are not."
        )
    if num_resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"Expected num_resamples of at least 1 and a level between 0 and 1, not "
            f"{num_resamples} and {level}."
        )
    scenes, scene_of_image = np.unique(groups, return_inverse=True)
    mean = float(values.mean())
    if len(scenes) == 1:
        return Interval(mean, np.nan, np.nan)
    sums = np.bincount(scene_of_image, values)
    sizes = np.bincount(scene_of_image)
    # How often each scene is drawn is multinomial: [resamples, scenes].
    num_scenes = len(scenes)
    times = np.random.default_rng(seed).multinomial(
        num_scenes, np.full(num_scenes, 1 / num_scenes), size=num_resamples
    )
    means = (times @ sums) / (times @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))
