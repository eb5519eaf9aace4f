"""Lists of the photographs or pairs of a config field, from which a run draws.

A field is "rainy", "clean" or "pairs". A config may also give weights of the sources
(`config.pairs_weights`) and text files of photographs to leave out (`config.exclude`).
Functions raise ValueError with the name of the invalid field, or as `source_names` does.
"""

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from ttl_jax import user_paths
from ttl_jax.data.files import decoding
from ttl_jax.data.rain.live_rain import Rain
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import Item, Photograph

_MIN_SHARE = 0.001  # smaller shares would be drawn too unevenly

Items = Sequence[Item]


@dataclasses.dataclass(frozen=True)
class Listing:
    """All photographs, or all pairs, of a field.

    Attributes:
      field: "rainy", "clean" or "pairs".
      by_source: Items of each source, by its name.
      weights: Shares of the elements that are drawn from each source, with the sum 1. If
        empty, all items are drawn equally often.
    """

    field: str
    by_source: Mapping[str, Items]
    weights: Sequence[float] = ()

    def __len__(self) -> int:
        return sum(len(items) for items in self.by_source.values())

    def __iter__(self) -> Iterator[Item]:
        return itertools.chain(*self.by_source.values())

    def origins(self) -> Iterator[Photograph]:
        """Yields all photographs.

        They include both sides of pairs, the pairs from which live rain takes streaks, and
        the photographs below drawings.
        """
        streaks = [pair for rain in _rains(self) for pair in rain.pairs]
        for item in [*self, *streaks]:
            yield from item.origins

    def describe(self) -> list[str]:
        """Returns a line per file; with weights, also a line before each source."""
        lines = []
        for i, (source, items) in enumerate(self.by_source.items()):
            if self.weights:
                lines.append(f"{self.field} {source} share {self.weights[i]:.6g}")
            lines += [
                f"{self.field} {line}" for item in items for line in item.describe()
            ]
            streaks = [pair for rain in _rains(items) for pair in rain.pairs]
            lines += [f"streaks {line}" for pair in streaks for line in pair.describe()]
        return lines

    def draw(self, count: int, seed: int) -> "Listing":
        """Draws `count` items; with the same seed, a smaller draw is a subset of a larger.

        Raises:
          ValueError: If there are fewer items, or a source with a weight loses all of them.
        """
        setting = f"config.num_{self.field}={count}"
        if count > len(self):
            raise ValueError(
                f"{setting}, but there are {len(self)} in {', '.join(self.by_source)}; "
                "lower the number, or set it to 0 for all."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        drawn = set(order[:count].tolist())
        numbers = itertools.count()
        kept = self._map(lambda items: [i for i in items if next(numbers) in drawn])
        if self.weights and not all(kept.by_source.values()):
            raise ValueError(
                f"{setting} leaves no items of a source with a weight; increase it, or "
                "remove the weights."
            )
        return kept

    def adapt(self, function: Callable[[Items], Items]) -> "Listing":
        """Applies `function` to the items of each source and to the pairs of its rain."""
        # The pairs of a source share one rain, and must do so afterwards.
        adapt_rain = functools.cache(lambda rain: rain.adapt(function))
        return self._map(
            lambda items: [item.map_rains(adapt_rain) for item in function(items)]
        )

    def _map(self, function: Callable[[Items], Items]) -> "Listing":
        by_source = {
            source: function(items) for source, items in self.by_source.items()
        }
        return dataclasses.replace(self, by_source=by_source)


def open_listing(
    field: str,
    names: Sequence[str],
    weights: Sequence[float] = (),
    excluded: Sequence[tuple[str, frozenset[str]]] = (),
) -> Listing:
    """Opens and checks the sources of a field.

    Args:
      excluded: Photographs to leave out, from `read_excluded`. A pair is left out with
        either of its sides, and a drawing with the photograph below it.
    """
    listing = Listing(field, source_names.open_each(names, field), weights)
    for file, left_out in excluded:
        listing = _leave_out(listing, file, left_out)
    return listing


def read_excluded(files: Sequence[str]) -> list[tuple[str, frozenset[str]]]:
    """Returns each file that lists photographs to leave out, and their names.

    A line has one `Photograph.name`; lines that begin with "# " are comments.
    """
    excluded = []
    for file in files:
        lines = user_paths.read_text_lines(file, "config.exclude names")
        excluded.append((file, frozenset(_key(line.strip()) for _, line in lines)))
    return excluded


def check_limit(field: str, names: Sequence[str], count: int) -> None:
    """Checks that `Listing.draw` can limit all sources: live rain has endless pairs."""
    if count and (live := [n for n in names if source_names.parse(n).is_live]):
        raise ValueError(
            f"config.num_{field}={count} cannot limit {', '.join(live)}, which renders new "
            "pairs without end; leave out this source, or set the number to 0."
        )


def normalize_weights(
    field: str, names: Sequence[str], weights: Sequence[float]
) -> tuple[float, ...]:
    """Returns the weights as shares of their sum."""
    setting = f"config.{field}_weights={weights}"
    if weights and len(weights) != len(names):
        raise ValueError(
            f"{setting} has {len(weights)} weights, but config.{field} names {len(names)} "
            "sources; give one weight for each, or none."
        )
    if not all(isinstance(w, int | float) and 0 < w < math.inf for w in weights):
        raise ValueError(
            f"{setting} must be positive numbers; remove sources that are not used."
        )
    shares = tuple(weight / sum(weights) for weight in weights)
    if shares and min(shares) < _MIN_SHARE:
        raise ValueError(
            f"{setting}: the smallest is {min(shares):.2g} of the sum; use at least "
            f"{_MIN_SHARE}, or remove the source."
        )
    return shares


def _leave_out(listing: Listing, file: str, names: frozenset[str]) -> Listing:
    kept = listing.adapt(
        lambda items: [
            item
            for item in items
            if names.isdisjoint(_key(origin.name) for origin in item.origins)
        ]
    )
    num_left_out = len(listing) - len(kept)
    level = logging.INFO if num_left_out else logging.WARNING
    message = "%s leaves out %d of %d %s"
    logging.log(level, message, file, num_left_out, len(listing), listing.field)
    empty = [source for source, items in kept.by_source.items() if not items]
    if not len(kept) or (kept.weights and empty):
        raise ValueError(
            f"{file} leaves out everything that config.{listing.field} has in "
            f"{', '.join(empty)}; name other sources, or shorten the list."
        )
    return kept


def _rains(items: Iterable[Item]) -> list[Rain]:
    """Returns each live rain of some items once."""
    return list(dict.fromkeys(rain for item in items for rain in item.rains))


def _key(name: str) -> str:
    """Returns a key that is the same for all paths to a file, also through links."""
    return os.path.realpath(decoding.printable(name))  # a NUL would be an error
