"""The best step of a run, by a metric of its evaluations.

The metric has its name in the log, "<set>/<metric>". Larger is better; with a minus sign
before the name, smaller is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ttl_jax import suggestions


def check_metric(metric: str, known: Sequence[str]) -> None:
    """Checks that the evaluations have the metric.

    Raises:
      ValueError: Naming the metrics that they have.
    """
    name = metric.removeprefix("-")
    if name not in known:
        raise ValueError(
            f"config.best_metric={metric!r}: the evaluations give "
            f"{', '.join(known) or 'nothing, without evaluation sets'}"
            f"{suggestions.hint(name, known)}"
        )


def update(
    best: Mapping[str, Any] | None,
    step: int,
    evaluation: Mapping[str, float],
    metric: str,
) -> Mapping[str, Any] | None:
    """Returns the best evaluation so far, in the form of a checkpoint's metadata.

    Args:
      best: Best evaluation before this one, {"metric", "step", "value"}, or None.
      step: Number of updates before this evaluation.
      evaluation: Metrics of this evaluation.
      metric: Metric that decides; empty: there is no best step.

    Returns:
      `best`, unless this evaluation is better. The first of equal ones stays; a value
      that is not finite is never the best.
    """
    if not metric:
        return None
    value = evaluation[metric.removeprefix("-")]
    sign = -1 if metric.startswith("-") else 1
    if math.isfinite(value) and (best is None or sign * value > sign * best["value"]):
        return {"metric": metric, "step": step, "value": value}
    return best
