"""Lists of the photographs or pairs of a field of a config, which a run draws from.

A field is "rainy", "clean" or "pairs". Beside its sources a config may name their weights
(`config.pairs_weights`) and text files of photographs to leave out (`config.exclude`).
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
from ttl_jax.data.rain.live_rain import Rain
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import Item

_MIN_SHARE = 0.001  # smaller shares would be drawn too unevenly

Items = Sequence[Item]


@dataclasses.dataclass(frozen=True)
class Listing:
    """All photographs, or all pairs, of a field.

    Attributes:
      field: "rainy", "clean" or "pairs".
      by_source: Items of each source, by its name.
      weights: Share of the elements that are drawn from each source; they sum to 1.
        Empty: every item is drawn as often as any other.
    """

    field: str
    by_source: Mapping[str, Items]
    weights: Sequence[float] = ()

    def __len__(self) -> int:
        return sum(len(items) for items in self.by_source.values())

    def __iter__(self) -> Iterator[Item]:
        return itertools.chain(*self.by_source.values())

    def file_names(self) -> dict[str, str]:
        """Names of all photographs, by what identifies each.

        They include both sides of pairs, the pairs that live rain takes its streaks
        from, and the photographs below drawings.
        """
        streaks = [pair for rain in _rains(self) for pair in rain.pairs]
        return {
            _key(origin.name): origin.name
            for item in [*self, *streaks]
            for origin in item.origins
        }

    def describe(self) -> list[str]:
        """A line per file; with weights, also a line before each source."""
        lines = []
        for i, (source, items) in enumerate(self.by_source.items()):
            if self.weights:
                lines.append(f"{self.field} {source} share {self.weights[i]:.6g}")
            lines += [f"{self.field} {file}" for file in _describe(items)]
            for rain in _rains(items):
                lines += [f"streaks {file}" for file in _describe(rain.pairs)]
        return lines

    def draw(self, count: int, seed: int) -> "Listing":
        """Draws `count` of the items; with the same seed, fewer are a subset of more.

        Raises:
          ValueError: If there are fewer items, or a source with a weight loses all; or
            if rain is rendered, which makes new pairs without end.
        """
        if rendered := [s for s, items in self.by_source.items() if _rains(items)]:
            raise ValueError(
                f"config.num_{self.field}={count} cannot limit {', '.join(rendered)}, "
                "which renders new pairs without end; leave that out, or set the number "
                "to 0."
            )
        if count > len(self):
            raise ValueError(
                f"config.num_{self.field}={count}, but there are {len(self)} in "
                f"{', '.join(self.by_source)}."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        drawn = set(order[:count].tolist())
        numbers = itertools.count()
        by_source = {
            source: [item for item in items if next(numbers) in drawn]
            for source, items in self.by_source.items()
        }
        if self.weights and not all(by_source.values()):
            raise ValueError(
                f"config.num_{self.field}={count} leaves a source with a weight without "
                "any; raise it, or take out the weights."
            )
        return dataclasses.replace(self, by_source=by_source)

    def adapt(self, function: Callable[[Items], Items]) -> "Listing":
        """The listing of `function(items)` of each source, and of the pairs of its rain."""
        # All pairs of a source share one rain, before and after.
        adapt_rain = functools.cache(lambda rain: rain.adapt(function))
        by_source = {
            source: [item.map_rains(adapt_rain) for item in function(items)]
            for source, items in self.by_source.items()
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
      field: "rainy", "clean" or "pairs".
      names: Names of the sources.
      weights: Shares, as `normalize_weights` returns them.
      excluded: Photographs to leave out, as `read_excluded` returns them. Pairs are left
        out with either of their sides, and drawings with the photograph below.

    Raises:
      ValueError: As `source_names.open_each`; or if nothing is left.
    """
    listing = Listing(field, source_names.open_each(names, field), weights)
    for file, left_out in excluded:
        listing = _leave_out(listing, file, left_out)
    return listing


def read_excluded(files: Sequence[str]) -> list[tuple[str, frozenset[str]]]:
    """Returns each file that lists photographs to leave out, and their names.

    Args:
      files: Text files with one `Photograph.name` per line; lines that begin with # are
        comments.

    Raises:
      ValueError: If a file cannot be read.
    """
    return [
        (file, frozenset(_key(line.strip()) for _, line in lines))
        for file in files
        for lines in [user_paths.read_text_lines(file, "config.exclude names")]
    ]


def normalize_weights(
    field: str, names: Sequence[str], weights: Sequence[float]
) -> tuple[float, ...]:
    """Weights as shares of their sum.

    Raises:
      ValueError: If there are weights, but not one per source, or one is not positive,
        or negligible beside the others.
    """
    if not weights:
        return ()
    if len(weights) != len(names):
        raise ValueError(
            f"config.{field}_weights={weights} are {len(weights)}, but config.{field} "
            f"names {len(names)} sources; give one weight to each, or none."
        )
    if not all(
        isinstance(weight, int | float) and 0 < weight < math.inf for weight in weights
    ):
        raise ValueError(
            f"config.{field}_weights={weights} must be positive numbers; leave out "
            "sources that nothing is to be drawn from."
        )
    shares = tuple(weight / sum(weights) for weight in weights)
    if min(shares) < _MIN_SHARE:
        raise ValueError(
            f"config.{field}_weights={weights}: the least is {min(shares):.2g} of the "
            f"sum; choose at least {_MIN_SHARE}, or leave out that source."
        )
    return shares


def _leave_out(listing: Listing, file: str, names: frozenset[str]) -> Listing:
    def keep(items: Items) -> Items:
        return [
            item
            for item in items
            if names.isdisjoint(_key(origin.name) for origin in item.origins)
        ]

    kept = listing.adapt(keep)
    num_left_out = len(listing) - len(kept)
    level = logging.INFO if num_left_out else logging.WARNING
    message = "%s leaves out %d of %d %s"
    logging.log(level, message, file, num_left_out, len(listing), listing.field)
    empty = [source for source, items in kept.by_source.items() if not items]
    if not len(kept) or (kept.weights and empty):
        raise ValueError(
            f"{file} leaves out all that config.{listing.field} has in "
            f"{', '.join(empty)}; name other sources, or shorten that list."
        )
    return kept


def _describe(items: Items) -> list[str]:
    return [line for item in items for line in item.describe()]


def _rains(items: Iterable[Item]) -> list[Rain]:
    """Each live rain of some items once."""
    return list(dict.fromkeys(rain for item in items for rain in item.rains))


def _key(name: str) -> str:
    """The same for a relative and an absolute path to a file."""
    return os.path.abspath(name)
