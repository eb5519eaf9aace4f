"""Sizes of crops by step, from a config; raises ValueError if they are invalid."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ttl_jax.data.files.images import MIN_SIDE
from ttl_jax.data.loading import datasets


@dataclasses.dataclass(frozen=True)
class CropSizes:
    """Sides of the training crops by step, in pixels, including the margin of the stage.

    Attributes:
      phases: Pairs of a first step and the side of the crops from then on.
      mix: Pairs of a side and the share of the steps that train on such crops. If it is
        not empty, `phases` is ignored.
    """

    phases: tuple[tuple[int, int], ...]
    mix: tuple[tuple[int, float], ...]

    @property
    def largest(self) -> int:
        """Largest side of the crops of all steps."""
        return max([side for side, _ in self.mix] or [side for _, side in self.phases])

    def at(self, step: int, seed: int) -> int:
        """Returns the side of the crops of a step: a pure function of seed and step."""
        if not self.mix:
            return [side for first_step, side in self.phases if first_step <= step][-1]
        sides, shares = zip(*self.mix)
        rng = np.random.default_rng((datasets.fold(seed, "sizes of crops"), step))
        return int(rng.choice(sides, p=np.array(shares) / sum(shares)))


def find_crop_sizes(config) -> CropSizes:
    """Returns the sizes given by `crop_size`, `crop_sizes`, `crop_mix`, `crop_margin`."""
    mix, phases = config.crop_mix, config.crop_sizes or ((0, config.crop_size),)
    if not _are_pairs(
        mix, lambda side, share: isinstance(side, int) and 0 < share < math.inf
    ):
        raise ValueError(
            f"config.crop_mix={mix} must be pairs of a size in pixels and a positive "
            "share of the steps, for example ((96, 0.7), (192, 0.3))."
        )
    if not _are_pairs(phases, lambda *pair: all(isinstance(n, int) for n in pair)):
        raise ValueError(
            f"config.crop_sizes={phases} must be pairs of a first step and a size, both "
            "integers, for example ((0, 64), (1000, 128))."
        )
    first_steps = [first_step for first_step, _ in phases]
    if first_steps[0] != 0 or sorted(set(first_steps)) != first_steps:
        raise ValueError(
            f"config.crop_sizes={phases} must start at step 0; further steps must increase."
        )
    if mix and config.crop_sizes:
        raise ValueError(
            "config.crop_mix and config.crop_sizes both give the sizes of the crops; "
            "leave one of them empty."
        )
    sides = [side for _, side in phases] + [side for side, _ in mix]
    smallest = min(config.crop_size, *sides)
    if smallest < MIN_SIDE:
        raise ValueError(
            f"Crops of {smallest} pixels are too small; set config.crop_size, crop_sizes "
            f"and crop_mix to at least {MIN_SIDE}."
        )
    margin = 2 * config.get("crop_margin", 0)  # some stages cut it off again
    return CropSizes(
        tuple((first_step, side + margin) for first_step, side in phases),
        tuple((side + margin, share) for side, share in mix),
    )


def _are_pairs(values, is_valid: Callable[..., bool]) -> bool:
    try:
        return all(len(pair) == 2 and is_valid(*pair) for pair in values)
    except TypeError:
        return False
