"""Rain that falls anew each time a photograph is looked at."""

import abc
import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ttl_jax.data.rain import renderer, streak_bank


class Rain(abc.ABC):
    """A kind of rain.

    Attributes:
      pairs: Where it takes its streaks from.
    """

    pairs: Sequence[Any] = ()

    @abc.abstractmethod
    def fall(
        self,
        clean: np.ndarray,
        surroundings: np.ndarray,
        longer_side: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """A clean crop in the rain.

        Args:
          clean: uint8 [H, W, 3].
          surroundings: The whole photograph, or a coarse copy of it, in the same
            colors: a crop alone does not show how light it is around the drops.
          longer_side: Of the whole photograph, in pixels.
          rng: Of the drops and of how hard it rains.

        Returns:
          uint8 [H, W, 3].
        """

    def adapt(self, function: Callable[[Sequence], Sequence]) -> "Rain":
        """The same kind of rain from `function(pairs)`."""
        return self


class Physical(Rain):
    """Rain as a camera sees it, of all intensities alike."""

    def fall(self, clean, surroundings, longer_side, rng):
        parameters = _draw_parameters(rng, longer_side)
        ambient = renderer.ambient_light(surroundings)
        return renderer.render(clean, parameters, rng, ambient=ambient)


class Additive(Rain):
    """The same streaks added to finished pixels: the control."""

    def fall(self, clean, surroundings, longer_side, rng):
        return renderer.add(clean, _draw_parameters(rng, longer_side), rng)


@dataclasses.dataclass(frozen=True, eq=False)
class Streaks(Rain):
    """Streaks taken from pairs, all pairs alike.

    Raises:
      ValueError: If there are no pairs.
    """

    pairs: Sequence[Any]

    def __post_init__(self):
        if not self.pairs:
            raise ValueError("No pairs are left to take streaks from; name others.")

    def fall(self, clean, surroundings, longer_side, rng):
        pair = self.pairs[rng.integers(len(self.pairs))]
        return streak_bank.lay(clean, streak_bank.take_layer(*pair.load()), rng)

    def adapt(self, function):
        return Streaks(function(self.pairs))


def rng_of(name: str, *numbers: int) -> np.random.Generator:
    """Chance for the rain that a name, with these numbers, always has."""
    return np.random.default_rng((zlib.crc32(name.encode()), *numbers))


def _draw_parameters(
    rng: np.random.Generator, longer_side: int
) -> renderer.RainParameters:
    intensity = renderer.INTENSITIES[rng.integers(len(renderer.INTENSITIES))]
    return renderer.draw_parameters(rng, intensity, longer_side=longer_side)
