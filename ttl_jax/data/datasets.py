"""Grain datasets of the four kinds, element by element.

An element gives one row of a batch, or two; as a dict of arrays with the rows leading:
  couples   image uint8 [2, S, S, 3] and label float32 [2]: a rainy (1) and a rain-free
            (0) photograph, of different scenes
  clean     image uint8 [1, S, S, 3]: a rain-free photograph
  rainy     image uint8 [1, S, S, 3]: a rainy photograph
  pairs     rainy and clean, uint8 [1, S, S, 3] each: the same scene
and name, str [rows], always.

The orders in which elements are drawn are infinite: element i is a pure function of
(seed, i, the photographs), each epoch in an order of its own.

Note: the paper does not say how photographs reach the recognition task. A network would
tell rainy from rain-free by whatever else differs between the two collections: size,
sharpness after scaling, padding where a photograph is smaller than the crop, traces of
JPEG. So each rainy photograph is drawn together with a rain-free one, and the couple is
scaled to one side, cropped, padded and re-encoded alike (`transforms.equalize`): the
distribution of all these is the same in both classes. What was in the files before
cannot be undone: a photograph that is scaled less keeps more of its own noise and blur.
"""

import dataclasses
import functools
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from ttl_jax.data import transforms
from ttl_jax.data.photographs import Pair, Photograph

Rows = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Couple:
    """A rainy and a rain-free photograph, in general of different scenes and sizes."""

    rainy: Photograph
    clean: Photograph


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of dataset.

    Attributes:
      fields: Which lists of sources it draws from: of "rainy", "clean" and "pairs".
      rows_per_element: 1 or 2.
      make_rows: Maps (element, size of the crop in pixels, view) to rows.
    """

    fields: tuple[str, ...]
    rows_per_element: int
    make_rows: Callable[[Any, int, transforms.View], Rows]


def make_photograph_rows(
    photograph: Photograph, size: int, view: transforms.View
) -> Rows:
    """One row of the kinds clean and rainy."""
    image = transforms.crop(photograph.load(), size, view)
    return {"image": image[None], "name": np.array([photograph.name])}


def make_pair_rows(pair: Pair, size: int, view: transforms.View) -> Rows:
    """One row of the kind pairs: the same window of both sides."""
    rainy, clean = (transforms.crop(side, size, view) for side in pair.load())
    return {"rainy": rainy[None], "clean": clean[None], "name": np.array([pair.name])}


def make_couple_rows(couple: Couple, size: int, view: transforms.View) -> Rows:
    """Two rows of the kind couples, the rainy one first."""
    photographs = couple.rainy, couple.clean
    loaded = [photograph.load() for photograph in photographs]
    shapes = [image.shape[:2] for image in loaded]
    side = transforms.couple_side(*shapes, size, view.scale)
    return {
        "image": np.stack(
            [transforms.equalize(image, side, size, view) for image in loaded]
        ),
        "label": np.array([1, 0], np.float32),
        "name": np.array(names_of(couple)),
    }


KINDS = {
    "couples": Kind(("rainy", "clean"), 2, make_couple_rows),
    "clean": Kind(("clean",), 1, make_photograph_rows),
    "rainy": Kind(("rainy",), 1, make_photograph_rows),
    "pairs": Kind(("pairs",), 1, make_pair_rows),
}


def names_of(element: Couple | Pair | Photograph) -> list[str]:
    """The name of each of an element's rows."""
    if isinstance(element, Couple):
        return [element.rainy.name, element.clean.name]
    return [element.name]


def draw_order(
    listings: dict[str, Sequence[Photograph | Pair]], seed: int
) -> grain.MapDataset:
    """Elements in the order in which they are trained on, without end.

    Args:
      listings: By field of the kind. Of two, each is shuffled on its own, so that
        over the epochs every rainy photograph meets every rain-free one.
      seed: Of the run.
    """
    orders = [
        grain.MapDataset.source(_Epochs(listing, fold(seed, f"order of {field}")))
        for field, listing in listings.items()
    ]
    if len(orders) == 1:
        return orders[0]
    return grain.experimental.ZipMapDataset(orders).map(lambda sides: Couple(*sides))


class _Epochs(Sequence):
    """A listing again and again, each time in another random order.

    Grain's own `shuffle().repeat()` finds an index by trial, over at least 65,536 of
    them: 5 ms for each element of a listing of six, more than all else together.
    """

    def __init__(self, listing: Sequence, seed: int):
        self._listing, self._seed = listing, seed
        # Threads work on batches of neighbouring epochs at most.
        self._permutation = functools.lru_cache(maxsize=8)(self._make_permutation)

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int):
        epoch, place = divmod(index, len(self._listing))
        return self._listing[self._permutation(epoch)[place]]

    def _make_permutation(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, epoch))
        return rng.permutation(len(self._listing))


def match_couples(
    rainy: Sequence[Photograph], clean: Sequence[Photograph]
) -> list[Couple]:
    """Couples for evaluation: every photograph at least once, the fewer ones again."""
    return [
        Couple(rainy[i % len(rainy)], clean[i % len(clean)])
        for i in range(max(len(rainy), len(clean)))
    ]


def concatenate_rows(elements: Sequence[Rows]) -> Rows:
    """A batch of the rows of all elements."""
    return {
        name: np.concatenate([element[name] for element in elements])
        for name in elements[0]
    }


def fold(seed: int, purpose: str) -> int:
    """A seed of 32 bits for one purpose, unrelated to that of others.

    Seeds are not left to Grain: its own depend on the place of a step in the pipeline,
    so that adding one would change the data of old seeds.
    """
    entropy = (seed, zlib.crc32(purpose.encode()))
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
