"""Which step of a run is the best, by a metric of its evaluations.

The metric is named as it is logged, "<set>/<metric>": more of it is better, or less with
a minus sign before its name.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ttl_jax import suggestions


def check_metric(metric: str, known: Sequence[str]) -> None:
    """Checks that an evaluation gives the metric.

    Raises:
      ValueError: If it does not, naming those that it gives.
    """
    name = metric.removeprefix("-")
    if name in known:
        return
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
    """The best of the evaluations so far, as a checkpoint's metadata tell it.

    Args:
      best: The one before: {"metric", "step", "value"}, or None.
      step: Updates that were done before this evaluation.
      evaluation: Its metrics.
      metric: The one that decides; empty: there is no best.

    Returns:
      `best`, unless this one is better. Of equal ones the first stays, and a value that
      is not finite is never the best.
    """
    if not metric:
        return None
    value = evaluation[metric.removeprefix("-")]
    sign = -1 if metric.startswith("-") else 1
    if math.isfinite(value) and (best is None or sign * value > sign * best["value"]):
        return {"metric": metric, "step": step, "value": value}
    return best
