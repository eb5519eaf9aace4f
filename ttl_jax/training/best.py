"""The best step of a run, by a metric of its evaluations.

The metric has the same name as in the log, "<set>/<metric>". Larger values are better; if
the name has a minus sign in front, smaller values are better.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ttl_jax import suggestions


def check_metric(metric: str, known: Sequence[str]) -> None:
    """Checks that the evaluations have a metric.

    Raises:
      ValueError: If they do not; the message names the known metrics.
    """
    name = metric.removeprefix("-")
    if name not in known:
        raise ValueError(
            f"config.best_metric={metric!r} is unknown; the evaluations have "
            f"{', '.join(known) or 'no metrics, since there are no sets'}"
            f"{suggestions.hint(name, known)}"
        )


def update(
    best: Mapping[str, Any] | None,
    step: int,
    evaluation: Mapping[str, float],
    metric: str,
) -> Mapping[str, Any] | None:
    """Returns the best evaluation so far, in the form that checkpoints store.

    Args:
      best: Best evaluation before this one, {"metric", "step", "value"}, or None.
      step: Number of updates before this evaluation.
      evaluation: Metrics of this evaluation.
      metric: Metric to compare; if empty, there is no best step.

    Returns:
      `best`, unless this evaluation is better. The first of equal values is kept;
      values that are not finite are ignored.
    """
    if not metric:
        return None
    value = evaluation[metric.removeprefix("-")]
    sign = -1 if metric.startswith("-") else 1
    if math.isfinite(value) and (best is None or sign * value > sign * best["value"]):
        return {"metric": metric, "step": step, "value": value}
    return best
