"""Photographs and pairs: named images that are read on demand.

Both are items of a source. Callers use their methods and never test their class.
"""

import abc
import dataclasses
import functools
import os
from collections.abc import Callable

import numpy as np

from ttl_jax.data import randomness
from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.rain import live_rain

ROLES = ("rainy", "clean")


class NoPairsError(ValueError):
    """A source has photographs, but no pairs."""


class Item(abc.ABC):
    """Common base of photographs and pairs.

    Attributes:
      name: Name of the photograph, or of the rainy side.
      sides: The photograph itself, or the rainy and the clean side of the pair.
      rains: Kinds of rain that are rendered anew for each crop.
    """

    name: str
    sides: "tuple[Photograph, ...]"
    rains: tuple[live_rain.Rain, ...] = ()

    @property
    def origins(self) -> "list[Photograph]":
        """The sides, and the photographs on which they are drawn."""
        return [origin for side in self.sides for origin in side.layers]

    def describe(self) -> list[str]:
        """Returns a line for each side: its name, and the size of its file."""
        return [f"{side.name} {side.size}" for side in self.sides]

    @abc.abstractmethod
    def map_sides(self, function: "Callable[[Photograph], Photograph]") -> "Item":
        """Returns the same item with `function` applied to each side."""

    def map_rains(self, function: Callable[[live_rain.Rain], live_rain.Rain]) -> "Item":
        """Returns the same item with `function` applied to each rain."""
        del function
        return self


@dataclasses.dataclass(frozen=True)
class Photograph(Item):
    """One image, read on demand.

    Attributes:
      name: Printable name, unique within the source.
      width: Width of the upright image, in pixels.
      height: Height of the upright image, in pixels.
      num_bytes: Size of the file; None for embedded and rendered images.
      load: Returns uint8 RGB [height, width, 3], which may be read-only. Raises
        `decoding.ImageError` if the image is missing or damaged.
      scene: Scene of a record, "SET/SPLIT/SCENE". All records of the split that show
        this scene have the same value. None if the photograph is not a record.
    """

    name: str
    width: int
    height: int
    num_bytes: int | None
    load: Callable[[], np.ndarray]
    scene: str | None = dataclasses.field(default=None, kw_only=True)

    @property
    def sides(self):
        return (self,)

    @property
    def layers(self) -> "tuple[Photograph, ...]":
        """The photograph and, from top to bottom, those on which it is drawn."""
        return (self,)

    @property
    def size(self) -> str:
        """Size of the file in bytes, as text, or a word if there is no file."""
        return "embedded" if self.num_bytes is None else str(self.num_bytes)

    def map_sides(self, function):
        return function(self)

    def read_by(self, read: Callable[[str, Callable], np.ndarray]) -> "Photograph":
        """Returns the same photograph with its file, if any, read by `read(name, load)`."""
        if self.num_bytes is None:
            return self
        load = functools.partial(read, self.name, self.load)
        return dataclasses.replace(self, load=load)


@dataclasses.dataclass(frozen=True)
class DrawnPhotograph(Photograph):
    """A photograph with a drawing on it; each load gives the same drawing.

    Attributes:
      base: Photograph below the drawing.
      draw: Maps an image and a random generator to uint8 RGB [height, width, 3]; it does
        not modify the image.
    """

    base: Photograph
    draw: Callable[[np.ndarray, np.random.Generator], np.ndarray]

    @classmethod
    def on(cls, base: Photograph, name: str, draw: Callable) -> "DrawnPhotograph":
        """Returns a photograph with a drawing from the generator `_fixed_rng`."""
        load = functools.partial(_load_drawn, base, name, draw)
        return cls(name, base.width, base.height, None, load, base, draw)

    @property
    def layers(self):
        return (self, *self.base.layers)

    @property
    def size(self):
        return f"rendered on {self.layers[-1].size}"

    def read_by(self, read):
        return self.on(self.base.read_by(read), self.name, self.draw)


def _load_drawn(base: Photograph, name: str, draw: Callable) -> np.ndarray:
    return draw(base.load(), _fixed_rng(base, name))


@dataclasses.dataclass(frozen=True)
class Pair(Item):
    """The same scene with and without rain, of the same size."""

    rainy: Photograph
    clean: Photograph

    @property
    def name(self):
        return self.rainy.name

    @property
    def width(self) -> int:
        return self.rainy.width

    @property
    def height(self) -> int:
        return self.rainy.height

    @property
    def sides(self):
        return (self.rainy, self.clean)

    def map_sides(self, function):
        return dataclasses.replace(
            self, rainy=function(self.rainy), clean=function(self.clean)
        )

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rainy and the clean image, each uint8 RGB [height, width, 3].

        Raises:
          ImageError: If a side is missing or damaged, or their sizes differ.
        """
        rainy = self.rainy.load()
        if self.clean.name == self.rainy.name:  # decode or draw the same image once
            return rainy, rainy
        clean = self.clean.load()
        if rainy.shape != clean.shape:
            raise ImageError(self.name, f"no longer has the size of {self.clean.name}")
        return rainy, clean

    def crop(self, size: int, view) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rainy and the clean crop at one place, uint8 [size, size, 3] each.

        Args:
          view: A `loading.transforms.View`.
        """
        rainy, clean = self._cut(view.reach(size, self.height, self.width), view)
        return view.resave(rainy, size), view.resave(clean, size)

    def _cut(self, side: int, view) -> tuple[np.ndarray, np.ndarray]:
        rainy, clean = self.load()
        return view.crop(rainy, side), view.crop(clean, side)


@dataclasses.dataclass(frozen=True)
class LivePair(Pair):
    """A clean photograph, with new rain on each crop.

    Its rainy side is the whole photograph with rain that is always the same.

    Attributes:
      rain: Kind of rain.
    """

    rain: live_rain.Rain

    @classmethod
    def on(cls, clean: Photograph, name: str, rain: live_rain.Rain) -> "LivePair":
        """Returns a pair with rain on a photograph; its rainy side has the given name."""
        load = functools.partial(_load_in_rain, clean, name, rain)
        rainy = Photograph(name, clean.width, clean.height, None, load)
        return cls(rainy, clean, rain)

    @property
    def rains(self):
        return (self.rain,)

    def describe(self):
        return [f"{self.name} rendered", *self.clean.describe()]

    def map_rains(self, function):
        return dataclasses.replace(self, rain=function(self.rain))

    def _cut(self, side, view):
        """Renders rain on the turned crop, so that it always falls downwards."""
        photograph = self.clean.load()
        clean = view.crop(photograph, side)
        surroundings = view.tint(live_rain.coarse(photograph))
        if view.rain_seed is None:
            rng = _fixed_rng(self.clean, self.name)
        else:
            rng = np.random.default_rng(view.rain_seed)
        return self.rain.render(clean, surroundings, max(photograph.shape), rng), clean


def _load_in_rain(clean: Photograph, name: str, rain: live_rain.Rain) -> np.ndarray:
    image = clean.load()
    return rain.render(image, image, max(image.shape), _fixed_rng(clean, name))


def _fixed_rng(base: Photograph, name: str) -> np.random.Generator:
    """Returns the random generator of a drawing, or of rain, the same at each load.

    For a file, it depends only on the name and the size of the file and on the number
    of the drawing. The same files then give the same test set in any folder. For
    records and embedded photographs, it depends on the whole name, which contains no
    folder.

    Args:
      base: Photograph below the drawing or the rain.
      name: Name of the result: that of `base` with a prefix, and perhaps with a number.
    """
    file = base.layers[-1]
    if file.num_bytes is None or file.scene is not None:
        return randomness.rng_of(name)
    number = name.rpartition(file.name)[2]  # "#2" for the second drawing
    return randomness.rng_of(f"{os.path.basename(file.name)}{number}", file.num_bytes)
