"""Measures of a classifier of two classes, from its scores."""

import numpy as np
from scipy import stats


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the area under the ROC curve, in [0, 1]; ties count one half.

    This is the probability that a random sample of class 1 scores above a random sample
    of class 0 (Mann and Whitney 1947).

    Args:
      scores: Unbounded scores [N].
      labels: Classes, 1 or 0 [N].

    Raises:
      ValueError: If a class has no sample.
    """
    positive = np.asarray(labels) == 1
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        raise ValueError(
            f"The area under the ROC curve needs both classes; got {num_positive} "
            f"samples of class 1 and {num_negative} of class 0."
        )
    rank_sum = stats.rankdata(scores)[positive].sum()
    wins = rank_sum - num_positive * (num_positive + 1) / 2
    return float(wins / (num_positive * num_negative))


def paired_accuracy(scores: np.ndarray, partner_scores: np.ndarray) -> float:
    """Returns the share of pairs whose first score is higher; ties count one half.

    Args:
      scores: Scores of the rainy sides [N].
      partner_scores: Scores of the clean sides [N], in the same order.
    """
    difference = np.asarray(scores) - np.asarray(partner_scores)
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))
