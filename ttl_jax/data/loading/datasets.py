"""The five kinds of Grain datasets, element by element.

An element is a dictionary of arrays with one or two rows of a batch:
  couples   image uint8 [2, S, S, 3] and label float32 [2]: a rainy (1) and a rain-free
            (0) photograph, of different scenes
  clean     image uint8 [1, S, S, 3]: a rain-free photograph
  rainy     image uint8 [1, S, S, 3]: a rainy photograph
  pairs     rainy and clean, uint8 [1, S, S, 3] each: the same scene
  unpaired  rainy and clean, uint8 [1, S, S, 3] each: different scenes, neither
            scaled nor re-encoded

The orders in which elements are drawn are infinite: element i is a pure function of
(seed, i, the photographs), and each epoch has its own order.

Note: the paper does not say how photographs are prepared for the recognition task. Instead
of rain, a network could recognize any other difference between the two collections: size,
sharpness after scaling, padding of photographs smaller than the crop, JPEG artefacts. Each
rainy photograph is therefore drawn together with a rain-free one, and both are scaled to the
same side, cropped, padded and re-encoded in the same way (`transforms.equalize`). Some
differences remain: a photograph that is scaled less keeps more of its noise and blur.
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
from ttl_jax.data.sources.photographs import Pair, Photograph

Rows = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Couple:
    """A rainy and a rain-free photograph, usually of different scenes and sizes."""

    rainy: Photograph
    clean: Photograph

    @property
    def name(self) -> str:
        return f"{self.rainy.name} and {self.clean.name}"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of dataset.

    Attributes:
      fields: Fields of the config from which it draws: "rainy", "clean" or "pairs".
      rows_per_element: Number of rows of an element, 1 or 2.
      make_rows: Maps (element, side of the crop in pixels, view) to rows.
    """

    fields: tuple[str, ...]
    rows_per_element: int
    make_rows: Callable[[Any, int, transforms.View], Rows]

    def names_of(self, element: Any) -> list[str]:
        """Returns the name of each row of an element."""
        if self.rows_per_element == 1:
            return [element.name]
        return [element.rainy.name, element.clean.name]


def make_photograph_rows(
    photograph: Photograph, size: int, view: transforms.View
) -> Rows:
    """Returns a row of the kinds clean and rainy."""
    return {"image": view.crop(photograph.load(), size)[None]}


def make_pair_rows(pair: Pair, size: int, view: transforms.View) -> Rows:
    """Returns a row of the kind pairs: the same window of both sides."""
    rainy, clean = pair.crop(size, view)
    return {"rainy": rainy[None], "clean": clean[None]}


def make_couple_rows(couple: Couple, size: int, view: transforms.View) -> Rows:
    """Returns two rows of the kind couples, the rainy one first."""
    loaded = couple.rainy.load(), couple.clean.load()
    shapes = [image.shape[:2] for image in loaded]
    side = transforms.couple_side(*shapes, size=size, scale=view.scale)
    crops = [transforms.equalize(image, side, size, view) for image in loaded]
    return {"image": np.stack(crops), "label": np.array([1, 0], np.float32)}


def make_unpaired_rows(couple: Couple, size: int, view: transforms.View) -> Rows:
    """Returns a row of the kind unpaired."""
    return {
        "rainy": view.crop(couple.rainy.load(), size)[None],
        "clean": view.crop(couple.clean.load(), size)[None],
    }


KINDS = {
    "couples": Kind(("rainy", "clean"), 2, make_couple_rows),
    "clean": Kind(("clean",), 1, make_photograph_rows),
    "rainy": Kind(("rainy",), 1, make_photograph_rows),
    "pairs": Kind(("pairs",), 1, make_pair_rows),
    "unpaired": Kind(("rainy", "clean"), 1, make_unpaired_rows),
}


def draw_order(listings: Mapping[str, Listing], seed: int) -> grain.MapDataset:
    """Returns an infinite dataset of the elements in the order of training.

    Args:
      listings: Listings by field of the kind. Two listings are shuffled independently, so
        that over the epochs every rainy photograph is combined with every rain-free one.
    """
    orders = [
        grain.MapDataset.range(sys.maxsize).map(_make_order(listing, seed))
        for listing in listings.values()
    ]
    if len(orders) == 1:
        return orders[0]
    return grain.experimental.ZipMapDataset(orders).map(lambda sides: Couple(*sides))


def _make_order(listing: Listing, seed: int) -> Callable[[int], Any]:
    """Returns the function from an index to an item."""
    purpose = f"order of {listing.field}"
    if not listing.weights:
        return functools.partial(_draw, list(listing), fold(seed, purpose))
    draws = [
        functools.partial(_draw, items, fold(seed, f"{purpose}, source {i}"))
        for i, items in enumerate(listing.by_source.values())
    ]
    ends = itertools.accumulate(listing.weights, initial=0)
    bounds = [int(_ROUND * end / sum(listing.weights) + 0.5) for end in ends]
    return functools.partial(
        _draw_by_weight, draws, bounds, fold(seed, f"{purpose}, mixture")
    )


def _draw(items: Sequence, seed: int, index: int):
    """Returns an item of an infinite order, in which each epoch is shuffled anew.

    Grain's `shuffle().repeat()` finds an index by trial among at least 65,536 values. For a
    listing of six this takes 5 ms per element, more than everything else together.
    """
    epoch, place = divmod(index, len(items))
    return items[_permutation(len(items), seed, epoch)[place]]


_ROUND = 10_000  # elements


def _draw_by_weight(
    draws: Sequence[Callable[[int], Any]], bounds: Sequence[int], seed: int, index: int
):
    """Returns an item of an infinite order of several sources, drawn by weight.

    Elements are drawn in rounds of 10,000, each in random order. In a round, the number
    of elements of a source is proportional to its weight, rounded. In the next round,
    each source continues in its own order. Grain's `mix` alternates the sources in a
    fixed pattern. For couples, which draw from two listings, it would always combine
    the same sources.

    Args:
      draws: Functions from an index to an item, one per source.
      bounds: Bounds of the positions of each source in a round before it is shuffled.
    """
    rounds, place = divmod(index, _ROUND)
    slot = int(_permutation(_ROUND, seed, rounds)[place])
    source = bisect.bisect_right(bounds, slot) - 1
    start, end = bounds[source : source + 2]
    return draws[source](rounds * (end - start) + slot - start)


# Threads work on batches of neighbouring epochs, so few permutations are in use.
@functools.lru_cache(maxsize=32)
def _permutation(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


def match_couples(
    rainy: Sequence[Photograph], clean: Sequence[Photograph]
) -> list[Couple]:
    """Returns couples with every photograph; those of the shorter list are repeated."""
    return [
        Couple(rainy[i % len(rainy)], clean[i % len(clean)])
        for i in range(max(len(rainy), len(clean)))
    ]


def concatenate_rows(elements: Sequence[Rows]) -> Rows:
    """Returns a batch of the rows of all elements."""
    return {name: np.concatenate([e[name] for e in elements]) for name in elements[0]}


def fold(seed: int, purpose: str) -> int:
    """Returns a 32-bit seed for one purpose, unrelated to the seeds for other purposes.

    Grain's own seeds depend on the position of a step in the pipeline, so adding a step
    would change the data of old seeds.
    """
    entropy = (seed, zlib.crc32(purpose.encode()))
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
