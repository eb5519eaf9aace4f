"""What every source gives: photographs and pairs of them, read when asked for."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ttl_jax.data import live_rain
from ttl_jax.data.decoding import ImageError

ROLES = ("rainy", "clean")


class NoPairsError(ValueError):
    """A source holds photographs, but no pairs."""


@dataclasses.dataclass(frozen=True)
class Photograph:
    """One image, read when asked for.

    Attributes:
      name: Printable; no other image has it.
      width: In pixels, upright.
      height: In pixels, upright.
      num_bytes: Size as encoded; None for what comes with an installed package.
      load: Returns uint8 RGB [height, width, 3], which may be read-only; raises
        `decoding.ImageError` where the image is gone or damaged.
    """

    name: str
    width: int
    height: int
    num_bytes: int | None
    load: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Pair:
    """The same scene with and without rain, of the same size."""

    rainy: Photograph
    clean: Photograph

    @property
    def name(self) -> str:
        return self.rainy.name

    @property
    def width(self) -> int:
        return self.rainy.width

    @property
    def height(self) -> int:
        return self.rainy.height

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """The rainy and the clean image, each uint8 RGB [height, width, 3].

        Raises:
          ImageError: If either is gone, damaged, or no longer of the other's size.
        """
        rainy, clean = self.rainy.load(), self.clean.load()
        if rainy.shape != clean.shape:
            raise ImageError(
                self.name, f"is no longer of the size of {self.clean.name}"
            )
        return rainy, clean


@dataclasses.dataclass(frozen=True)
class LivePair(Pair):
    """A clean photograph, and rain that falls anew each time it is trained on.

    Its rainy side is the photograph in one rain, always the same, for evaluation.

    Attributes:
      rain: A kind of `live_rain`.
    """

    rain: live_rain.Rain
