"""Grain datasets of the five kinds, element by element.

An element gives one row of a batch, or two; as a dict of arrays with the rows leading:
  couples   image uint8 [2, S, S, 3] and label float32 [2]: a rainy (1) and a rain-free
            (0) photograph, of different scenes
  clean     image uint8 [1, S, S, 3]: a rain-free photograph
  rainy     image uint8 [1, S, S, 3]: a rainy photograph
  pairs     rainy and clean, uint8 [1, S, S, 3] each: the same scene
  unpaired  the same, of different scenes, each as it is in its file
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

import bisect
import dataclasses
import functools
import itertools
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from ttl_jax.data.loading import transforms
from ttl_jax.data.loading.listings import Listing
from ttl_jax.data.rain import live_rain
from ttl_jax.data.sources.photographs import LivePair, Pair, Photograph

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

    def names_of(self, element: Couple | Pair | Photograph) -> list[str]:
        """The name of each of an element's rows."""
        names = _names_of_images(element)
        return names if self.rows_per_element > 1 else [" and ".join(names)]


def make_photograph_rows(
    photograph: Photograph, size: int, view: transforms.View
) -> Rows:
    """One row of the kinds clean and rainy."""
    image = transforms.crop(photograph.load(), size, view)
    return {"image": image[None], "name": np.array([photograph.name])}


def make_pair_rows(pair: Pair, size: int, view: transforms.View) -> Rows:
    """One row of the kind pairs: the same window of both sides."""
    reach = view.reach(size, pair.height, pair.width)
    if isinstance(pair, LivePair):
        sides = _crop_in_the_rain(pair, reach, view)
    else:
        sides = (transforms.crop(side, reach, view) for side in pair.load())
    rainy, clean = (transforms.resave(side, size, view) for side in sides)
    return {"rainy": rainy[None], "clean": clean[None], "name": np.array([pair.name])}


def _crop_in_the_rain(pair: LivePair, size: int, view: transforms.View):
    """The rainy and the clean crop: rain falls down in it, however it was turned."""
    photograph = pair.clean.load()
    clean = transforms.crop(photograph, size, view)
    surroundings = transforms.tint(transforms.coarse(photograph), view)
    if view.rain_seed is None:
        rng = live_rain.rng_of(pair.name)
    else:
        rng = np.random.default_rng(view.rain_seed)
    longer_side = max(photograph.shape)
    return pair.rain.fall(clean, surroundings, longer_side, rng), clean


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
        "name": np.array(_names_of_images(couple)),
    }


def make_unpaired_rows(couple: Couple, size: int, view: transforms.View) -> Rows:
    """One row of the kind unpaired."""
    rainy, clean = (
        transforms.crop(photograph.load(), size, view)
        for photograph in (couple.rainy, couple.clean)
    )
    names = KINDS["unpaired"].names_of(couple)
    return {"rainy": rainy[None], "clean": clean[None], "name": np.array(names)}


KINDS = {
    "couples": Kind(("rainy", "clean"), 2, make_couple_rows),
    "clean": Kind(("clean",), 1, make_photograph_rows),
    "rainy": Kind(("rainy",), 1, make_photograph_rows),
    "pairs": Kind(("pairs",), 1, make_pair_rows),
    "unpaired": Kind(("rainy", "clean"), 1, make_unpaired_rows),
}


def _names_of_images(element: Couple | Pair | Photograph) -> list[str]:
    if isinstance(element, Couple):
        return [element.rainy.name, element.clean.name]
    return [element.name]


def draw_order(listings: Mapping[str, Listing], seed: int) -> grain.MapDataset:
    """Elements in the order in which they are trained on, without end.

    Args:
      listings: By field of the kind. Of two, each is shuffled on its own, so that
        over the epochs every rainy photograph meets every rain-free one.
      seed: Of the run.
    """
    orders = [
        grain.MapDataset.source(_make_order(listing, seed))
        for listing in listings.values()
    ]
    if len(orders) == 1:
        return orders[0]
    return grain.experimental.ZipMapDataset(orders).map(lambda sides: Couple(*sides))


def _make_order(listing: Listing, seed: int) -> Sequence:
    purpose = f"order of {listing.field}"
    if not listing.weights:
        return _Epochs(list(listing), fold(seed, purpose))
    parts = [
        _Epochs(items, fold(seed, f"{purpose}, source {i}"))
        for i, items in enumerate(listing.by_source.values())
    ]
    return _Mixture(parts, listing.weights, fold(seed, f"{purpose}, mixture"))


class _Endless(Sequence):
    def __len__(self) -> int:
        return sys.maxsize


class _Epochs(_Endless):
    """Items again and again, each time in another random order.

    Grain's own `shuffle().repeat()` finds an index by trial, over at least 65,536 of
    them: 5 ms for each element of a listing of six, more than all else together.
    """

    def __init__(self, items: Sequence, seed: int):
        self._items, self._seed = items, seed

    def __getitem__(self, index: int):
        epoch, place = divmod(index, len(self._items))
        return self._items[_permutation(len(self._items), self._seed, epoch)[place]]


class _Mixture(_Endless):
    """Elements of several sequences without end, by weight.

    Each round of elements, in random order, holds of every sequence the share that its
    weight is of the sum, to the next whole number; each sequence is gone through without
    a gap. Grain's own `mix` alternates in a fixed rhythm: of two listings that are drawn
    side by side, as those of couples are, sources would meet the same others forever.
    """

    _ROUND = 10_000  # elements

    def __init__(self, parts: Sequence[Sequence], weights: Sequence[float], seed: int):
        self._parts, self._seed = parts, seed
        ends = itertools.accumulate(weights, initial=0)
        self._bounds = [int(self._ROUND * end / sum(weights) + 0.5) for end in ends]

    def __getitem__(self, index: int):
        rounds, place = divmod(index, self._ROUND)
        slot = int(_permutation(self._ROUND, self._seed, rounds)[place])
        part = bisect.bisect_right(self._bounds, slot) - 1
        start, end = self._bounds[part : part + 2]
        return self._parts[part][rounds * (end - start) + slot - start]


# Threads work on batches of neighbouring epochs at most: few per listing.
@functools.lru_cache(maxsize=32)
def _permutation(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


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
