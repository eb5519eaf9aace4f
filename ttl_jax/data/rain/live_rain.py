"""Rain, or holes of its shape, rendered anew each time a photograph is read."""

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ttl_jax.data.rain import rain_kinds, renderer, streak_bank


class Rain(abc.ABC):
    """A kind of rain.

    Attributes:
      pairs: Pairs from which streaks are taken; empty for rendered rain.
    """

    pairs: Sequence[Any] = ()

    @abc.abstractmethod
    def render(
        self,
        clean: np.ndarray,
        surroundings: np.ndarray,
        longer_side: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Returns a clean crop with rain, uint8 [H, W, 3].

        Args:
          clean: Crop, uint8 [H, W, 3].
          surroundings: The whole photograph, or a coarse copy of it, with the colours of
            the crop. It gives the ambient light, which a crop does not show.
          longer_side: Longer side of the whole photograph, in pixels.
          rng: Random generator for the drops and the intensity.
        """

    def adapt(self, function: Callable[[Sequence], Sequence]) -> "Rain":
        """Returns the same kind of rain with `function(pairs)` instead of `pairs`."""
        del function
        return self


class Physical(Rain):
    """Physically rendered rain, with all intensities equally likely."""

    def render(self, clean, surroundings, longer_side, rng):
        parameters = _draw_parameters(rng, longer_side)
        ambient = renderer.ambient_light(surroundings)
        return renderer.render(clean, parameters, rng, ambient=ambient)


class Kinds(Rain):
    """Physically rendered rain of the kinds that pairs of published sets lack."""

    def render(self, clean, surroundings, longer_side, rng):
        kind = rain_kinds.draw_kind(rng)
        parameters = rain_kinds.draw_parameters(rng, kind, longer_side=longer_side)
        ambient = renderer.ambient_light(surroundings)
        return renderer.render(clean, parameters, rng, ambient=ambient)


class Additive(Rain):
    """The streaks of `Physical` added to pixel values, as a control."""

    def render(self, clean, surroundings, longer_side, rng):
        return renderer.add(clean, _draw_parameters(rng, longer_side), rng)


class Holes(Rain):
    """Holes in the shape of streaks and drops, filled with one grey.

    Paper: the Introduction names the reconstruction of occluded objects as a task.
    """

    def render(self, clean, surroundings, longer_side, rng):
        return renderer.occlude(clean, _draw_parameters(rng, longer_side), rng)


class Smears(Rain):
    """Translucent grey smears in the shape of streaks and drops; they only brighten."""

    def render(self, clean, surroundings, longer_side, rng):
        return renderer.smear(clean, _draw_parameters(rng, longer_side), rng)


@dataclasses.dataclass(frozen=True, eq=False)
class Streaks(Rain):
    """Streaks taken from pairs, with all pairs equally likely.

    Raises:
      ValueError: If there are no pairs.
    """

    pairs: Sequence[Any]

    def __post_init__(self):
        if not self.pairs:
            raise ValueError(
                "No pairs are left to take streaks from; name other pairs."
            )

    def render(self, clean, surroundings, longer_side, rng):
        pair = self.pairs[int(rng.integers(len(self.pairs)))]
        return streak_bank.lay(clean, streak_bank.take_layer(*pair.load()), rng)

    def adapt(self, function):
        return Streaks(function(self.pairs))


_COARSE = 10_000  # pixels


def coarse(image: np.ndarray) -> np.ndarray:
    """Returns about `_COARSE` evenly spaced pixels of an image, or all if fewer."""
    stride = max(1, round(math.sqrt(image.shape[0] * image.shape[1] / _COARSE)))
    return image[::stride, ::stride]


def _draw_parameters(
    rng: np.random.Generator, longer_side: int
) -> renderer.RainParameters:
    intensity = renderer.INTENSITIES[rng.integers(len(renderer.INTENSITIES))]
    return renderer.draw_parameters(rng, intensity, longer_side=longer_side)
