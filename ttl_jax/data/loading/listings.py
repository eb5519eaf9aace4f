"""What a run draws from: the photographs or pairs of a field of its config.

A field is "rainy", "clean" or "pairs". Beside its sources a config may name their weights
(`config.pairs_weights`) and text files of photographs to leave out (`config.exclude`).
"""

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from ttl_jax import user_paths
from ttl_jax.data.rain.live_rain import Rain
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import LivePair, Pair, Photograph, describe, sides

_MIN_SHARE = 0.001  # less would be drawn too unevenly

Items = Sequence[Photograph] | Sequence[Pair]


@dataclasses.dataclass(frozen=True)
class Listing:
    """All photographs, or all pairs, of a field.

    Attributes:
      field: "rainy", "clean" or "pairs".
      by_source: What each source holds.
      weights: Of each source, the share of the elements that are drawn from it; they
        sum to 1. Empty: every photograph is drawn as often as any other.
    """

    field: str
    by_source: Mapping[str, Items]
    weights: Sequence[float] = ()

    def __len__(self) -> int:
        return sum(len(items) for items in self.by_source.values())

    def __iter__(self) -> Iterator[Photograph | Pair]:
        for items in self.by_source.values():
            yield from items

    def file_names(self) -> dict[str, str]:
        """Names of all photographs, by what identifies each.

        Both sides of pairs count, those that live rain takes its streaks from, and
        those that something is drawn on.
        """
        return {
            _key(name): name
            for items in self.by_source.values()
            for item in [
                *items,
                *(pair for rain in _rains(items) for pair in rain.pairs),
            ]
            for name in _names(item)
        }

    def describe(self) -> list[str]:
        """A line per file, and where there are weights, per source before its files."""
        lines = []
        for i, (source, items) in enumerate(self.by_source.items()):
            if self.weights:
                lines.append(f"{self.field} {source} share {self.weights[i]:.6g}")
            lines += [f"{self.field} {file}" for file in describe(items)]
            for rain in _rains(items):
                lines += [f"streaks {file}" for file in describe(rain.pairs)]
        return lines

    def draw(self, count: int, seed: int) -> "Listing":
        """The listing of `count` of its items, drawn by the seed; fewer are among more.

        Raises:
          ValueError: If there are fewer, or a source that has a weight loses all; or if
            rain is rendered, on whose pairs no number is a limit.
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
        """The listing of `function(items)` of each source.

        And of the pairs that live rain takes its streaks from.
        """
        # All pairs of a source have the same rain, and shall have the same again.
        adapt_rain = functools.cache(lambda rain: rain.adapt(function))
        by_source = {
            source: [
                dataclasses.replace(item, rain=adapt_rain(item.rain))
                if isinstance(item, LivePair)
                else item
                for item in function(items)
            ]
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
      names: Of the sources.
      weights: As `normalize_weights` returns them.
      excluded: As `read_excluded` returns it. Pairs go with either of their sides, and
        drawings with the photograph that they are on.

    Raises:
      ValueError: As `sources.open_each`; or if nothing is left.
    """
    listing = Listing(field, source_names.open_each(names, field), weights)
    for file, left_out in excluded:
        listing = _leave_out(listing, file, left_out)
    return listing


def read_excluded(files: Sequence[str]) -> list[tuple[str, frozenset[str]]]:
    """Each file that lists photographs to leave out, and their names.

    Args:
      files: Text files with one name per line, as `Photograph.name` has it; lines that
        begin with # are comments.

    Raises:
      ValueError: If one cannot be read.
    """
    return [(file, frozenset(_read_names(file))) for file in files]


def normalize_weights(
    field: str, names: Sequence[str], weights: Sequence[float]
) -> tuple[float, ...]:
    """Weights as shares of the whole.

    Raises:
      ValueError: If there are some but not one per source, or one is not positive, or
        next to nothing beside the others.
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
            f"config.{field}_weights={weights} must be positive numbers; leave out a "
            "source that nothing is to be drawn from."
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
        return [item for item in items if names.isdisjoint(map(_key, _names(item)))]

    kept = listing.adapt(keep)
    level = logging.INFO if len(kept) < len(listing) else logging.WARNING
    logging.log(
        level, "%s leaves out %d of %d %s", file, len(listing) - len(kept), len(listing),
        listing.field,
    )  # fmt: skip
    empty = [source for source, items in kept.by_source.items() if not items]
    if not len(kept) or (kept.weights and empty):
        raise ValueError(
            f"{file} leaves out all that config.{listing.field} has in "
            f"{', '.join(empty)}; name other sources, or shorten that list."
        )
    return kept


def _rains(items: Items) -> list[Rain]:
    """Each live rain of some items once."""
    return list(dict.fromkeys(i.rain for i in items if isinstance(i, LivePair)))


def _names(item: Photograph | Pair) -> tuple[str, ...]:
    """The names of both sides, and of what they are drawn on."""
    return tuple(origin.name for side in sides(item) for origin in side.origins)


def _key(name: str) -> str:
    """The same for a relative and an absolute path to a file."""
    return os.path.abspath(name)


def _read_names(file: str) -> Iterator[str]:
    for _, line in user_paths.read_text_lines(file, "config.exclude names"):
        yield _key(line.strip())
