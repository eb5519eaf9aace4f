"""What every source gives: photographs and pairs of them, read when asked for."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.rain import live_rain

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

    @property
    def origins(self) -> "tuple[Photograph, ...]":
        """The photograph itself and those that it is made from."""
        return (self,)


@dataclasses.dataclass(frozen=True)
class DrawnPhotograph(Photograph):
    """A photograph with something drawn on it when it is loaded, the same each time.

    Attributes:
      base: Photograph below the drawing.
      draw: Returns uint8 RGB [height, width, 3] from such an image, which it leaves as it
        is, and a random generator.
    """

    base: Photograph
    draw: Callable[[np.ndarray, np.random.Generator], np.ndarray]

    @classmethod
    def on(cls, base: Photograph, name: str, draw: Callable) -> "DrawnPhotograph":
        """What `draw` draws on a photograph for the random generator of a name."""
        load = functools.partial(_load_drawn, base, name, draw)
        return cls(name, base.width, base.height, None, load, base, draw)

    def with_base(self, base: Photograph) -> "DrawnPhotograph":
        """The same drawing on the same photograph, read in another way."""
        return self.on(base, self.name, self.draw)

    @property
    def origins(self) -> tuple[Photograph, ...]:
        return (self, *self.base.origins)


def _load_drawn(base: Photograph, name: str, draw: Callable) -> np.ndarray:
    # By the file's name alone: the same drawing wherever the folder lies.
    return draw(base.load(), live_rain.rng_of(name.rpartition("/")[2]))


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
        rainy = self.rainy.load()
        if self.clean.name == self.rainy.name:  # the same image: decoded or drawn once
            return rainy, rainy
        clean = self.clean.load()
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


def sides(item: Photograph | Pair) -> tuple[Photograph, ...]:
    """Returns a photograph by itself, or the rainy and the clean side of a pair."""
    return (item.rainy, item.clean) if isinstance(item, Pair) else (item,)


def describe(items: Sequence[Photograph | Pair]) -> Iterator[str]:
    """Yields the name and the size of each file that some items are read from."""
    for item in items:
        for file in sides(item):
            if isinstance(item, LivePair) and file is item.rainy:
                yield f"{file.name} rendered"
            elif isinstance(file, DrawnPhotograph):
                # The photograph below is known by its size, as a file by itself is.
                yield f"{file.name} rendered on {_size(file.origins[-1])}"
            else:
                yield f"{file.name} {_size(file)}"


def _size(file: Photograph) -> str:
    return "embedded" if file.num_bytes is None else str(file.num_bytes)
