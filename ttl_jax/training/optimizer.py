"""Adam with one learning rate per module, and its schedule."""

import dataclasses
import math
from collections.abc import Hashable, Mapping
from typing import Any

import optax

from ttl_jax.config_fields import SCHEDULES

# Smallest relative decrease of the loss that counts, about the resolution of float32.
_SMALLEST_DECREASE = 1e-6


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Schedule of the learning rates of a run.

    Note: the paper halves rates "when the losses do not decrease", without a window, a
    patience or a floor; those of "plateau" are ours, since the loss of a batch is noisy.

    Attributes:
      kind: "plateau" halves each rate if the mean loss over a window has not decreased
        for `patience` windows (section Training details). "cosine" warms up linearly, then
        decays to `final_fraction` of the rate. "constant" keeps the rate.
      num_steps: Number of updates of the run (cosine).
      warmup_steps: Number of updates of linear warm-up (cosine).
      final_fraction: Ratio of the last rate to the peak rate (cosine).
      patience: Windows without decrease before a rate is halved (plateau).
      window: Number of updates of a window (plateau).
      min_learning_rate: Floor of each rate (plateau).

    Raises:
      ValueError: If the kind is unknown.
    """

    kind: str
    num_steps: int
    warmup_steps: int
    final_fraction: float
    patience: int
    window: int
    min_learning_rate: float

    def __post_init__(self):
        if self.kind not in SCHEDULES:
            raise ValueError(
                f"Unknown schedule {self.kind!r}; choose from {SCHEDULES}."
            )

    def of_step(self, rate: float) -> optax.Schedule:
        """Returns the rate as a function of the step, without the halving on plateaus."""
        if self.kind != "cosine":
            return optax.constant_schedule(rate)
        return optax.warmup_cosine_decay_schedule(
            init_value=rate / max(self.warmup_steps, 1),  # 0 would waste an update
            peak_value=rate,
            warmup_steps=self.warmup_steps,
            decay_steps=max(self.num_steps, self.warmup_steps + 1),
            end_value=self.final_fraction * rate,
        )

    def at(self, rate: float, step: int) -> float:
        """Returns the rate after `step` updates, without halvings."""
        return float(self.of_step(rate)(step))  # pyright: ignore[reportArgumentType]

    def jump(
        self, rate: float, step: int, num_steps: int
    ) -> tuple[float, float] | None:
        """Returns how the rate jumps when a run resumes with another `num_steps`.

        Args:
          step: Number of updates done.
          num_steps: Number of updates that the run had until then.

        Returns:
          The rate of the last update and that of the next one; None if the rate of the
          next one does not change.
        """
        before = dataclasses.replace(self, num_steps=num_steps)
        after = self.at(rate, step)
        if math.isclose(before.at(rate, step), after, rel_tol=1e-3):
            return None
        return before.at(rate, step - 1), after

    def adam(self, rate: float) -> optax.GradientTransformation:
        """Returns Adam whose rate starts at `rate` and follows this schedule."""
        adam = optax.adam(self.of_step(rate))
        if self.kind != "plateau":
            return adam
        halving = optax.contrib.reduce_on_plateau(
            factor=0.5,
            patience=self.patience,
            rtol=_SMALLEST_DECREASE,
            accumulation_size=self.window,
            min_scale=min(self.min_learning_rate / rate, 1.0),
        )
        return optax.chain(adam, halving)


def make_optimizer(
    learning_rates: Mapping[str, float],
    schedule: Schedule,
    *,
    clip_norm: float,
) -> optax.GradientTransformationExtraArgs:
    """Returns Adam for params whose top level is the name of the module.

    Its `update` takes the loss as `value`.

    Args:
      clip_norm: Largest global norm of the gradient; 0 does not clip.
    """

    def module_of_each(params):
        return {name: dict.fromkeys(leaves, name) for name, leaves in params.items()}

    adams: Mapping[Hashable, optax.GradientTransformation] = {
        name: schedule.adam(rate) for name, rate in learning_rates.items()
    }
    adam = optax.partition(adams, module_of_each)
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    return optax.with_extra_args_support(optax.chain(clip, adam))


def current_learning_rates(
    learning_rates: Mapping[str, float], schedule: Schedule, step: int, opt_state: Any
) -> dict[str, float]:
    """Returns the rate of each module in the last update, including halving.

    Args:
      step: Number of updates done, at least 1.
    """
    rates = {name: schedule.at(rate, step - 1) for name, rate in learning_rates.items()}
    for path, scale in optax.tree_utils.tree_get_all_with_path(opt_state, "scale"):
        modules = [getattr(key, "key", None) for key in path]
        name = next(module for module in modules if module in rates)
        rates[name] *= float(scale)
    return rates
