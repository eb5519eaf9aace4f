"""Collects the scalars of updates for the log."""

import datetime
import math
import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from ttl_jax import memory


class TrainLog:
    """Collects the scalars of updates, which stay on the device until the next summary.

    Attributes:
      replaced_share: Share of replaced images in all images up to the last summary. The
        divisor is at least the number of images of an epoch; otherwise the first few
        images would count too much.
    """

    def __init__(self, first_step: int, batch_size: int, epoch_steps: int):
        self.replaced_share = 0.0
        self._first_step = first_step
        self._num_steps, self._replaced_shares = 0, 0.0
        self._batch_size, self._epoch_steps = batch_size, epoch_steps
        self._scalars: list[dict[str, jax.Array]] = []
        self._start = self._first_start = 0.0

    def add(self, scalars: dict[str, jax.Array]) -> None:
        """Adds the scalars of an update."""
        # The clock starts after the first step, which includes compilation or evaluation;
        # likewise the peak of memory.
        if not self._scalars:
            memory.reset_peak()
            self._start = time.monotonic()
            self._first_start = self._first_start or self._start
        self._scalars.append(scalars)

    def bad_steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yields discarded steps since the last summary, and their scalars."""
        for step, scalars in enumerate(self._values(), self._first_step):
            if not _is_finite(scalars):
                yield step, scalars

    def _values(self) -> list[dict[str, float]]:
        return jax.tree.map(float, jax.device_get(self._scalars))

    def summary(self) -> dict[str, float]:
        """Returns means over steps not discarded, speed and memory; removes all scalars.

        The memory, in MiB, is the peak of this process on the host.
        """
        values = self._values()
        trained = list(filter(_is_finite, values))
        means = {
            f"train/{name}": float(np.mean([scalars[name] for scalars in trained]))
            for name in (trained[0] if trained else ())
        }
        num_skipped = len(values) - len(trained)
        self._first_step += len(values)
        self._num_steps += len(values)
        self._replaced_shares += sum(scalars["replaced_images"] for scalars in values)
        counted = max(self._num_steps, self._epoch_steps)
        self.replaced_share = self._replaced_shares / counted
        images = (len(values) - 1) * self._batch_size
        seconds = time.monotonic() - self._start
        self._scalars = []
        return {
            **means,
            **({"train/skipped_steps": num_skipped} if num_skipped else {}),
            **({"images_per_second": images / seconds} if images else {}),
            "peak_memory_mib": memory.peak_mib(),
        }

    def time_left(self, num_steps: int) -> datetime.timedelta | None:
        """Returns the time to step `num_steps` at the mean rate up to the last summary.

        The rate includes evaluations and saves. None: there is no rate after one step.
        """
        if self._num_steps < 2:
            return None
        seconds = time.monotonic() - self._first_start
        seconds *= (num_steps - self._first_step) / (self._num_steps - 1)
        return datetime.timedelta(seconds=round(seconds))


def _is_finite(scalars: Mapping[str, float]) -> bool:
    """Returns whether the train step keeps the update."""
    return math.isfinite(scalars["loss"]) and math.isfinite(scalars["grad_norm"])


def explain(scalars: Mapping[str, float]) -> str:
    """Returns which terms of a step are not finite, and the values of all."""
    terms = {name: v for name, v in scalars.items() if name != "replaced_images"}
    faults = [name for name, value in terms.items() if not math.isfinite(value)]
    shown = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    if faults == ["grad_norm"]:
        return f"only the gradient; {shown}"
    return f"{' and '.join(faults)}; {shown}"
