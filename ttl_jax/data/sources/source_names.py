"""Photographs and rainy/clean pairs by the name of their source.

A source is one of
  sample, sample/train, sample/test: photographs inside the packages scikit-image and
    scikit-learn, and rain rendered on them. Two of the eight are the test split.
  folder:PATH, or the path alone: all images below a folder, or pairs of the same relative
    name in its subfolders rainy and clean, or input and target.
  list:FILE: one image per line of a text file, or a rainy and a clean one with a TAB
    between them; relative to the file's folder. Lines that begin with # are comments.
  tfds:NAME/SPLIT, tfds:NAME: a split, or all, of a set that `ttl_jax.prepare` made.
  rain:CLEAN, additive:CLEAN, streaks:PAIRS on CLEAN: pairs whose clean side are the
    photographs of another source and whose rain is rendered on it when it is looked at
    (`live_rain`): as a camera sees it, added as a control, or taken from the source
    PAIRS. For example rain:folder:/photos/clean. `ttl_jax.prepare rendered` makes a
    tfds:NAME of it ahead of time.
  structures:CLEAN: the photographs of another source, each in four variants, with thin
    structures drawn on them that look like streaks and are none (`structures`): wires,
    twigs, blinds, lettering and so on.
  identity:CLEAN: pairs of each photograph of another source with itself, from which a
    network learns to leave rain-free photographs as they are; identity:structures:CLEAN
    teaches it with the hardest.
  selection:FILE: what a text file picks out of other sources by name, see `selections`.
Paths may begin with ~. In folders, hidden files and what has no image suffix are
passed over. Where a source holds pairs, its role "rainy" or "clean" is one side of them.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from ttl_jax import suggestions, user_paths
from ttl_jax.data.rain import live_rain
from ttl_jax.data.sources import file_sources, record_source, sample_source, selections
from ttl_jax.data.sources.photographs import (
    ROLES,
    DrawnPhotograph,
    LivePair,
    NoPairsError,
    Pair,
    Photograph,
)
from ttl_jax.data.structures import drawing

KNOWN = (
    "sample",
    "sample/train",
    "sample/test",
    "folder:PATH",
    "list:FILE",
    "tfds:NAME/SPLIT",
    "selection:FILE",
    "structures:CLEAN",
)
KNOWN_RAIN = ("rain:CLEAN", "additive:CLEAN", "streaks:PAIRS on CLEAN")
KNOWN_PAIRS = (*KNOWN_RAIN, "identity:CLEAN")
_NUM_VARIANTS = 4  # of the structures on each photograph


def open_photographs(sources: str | Sequence[str], role: str) -> list[Photograph]:
    """The photographs of all sources, in an order that depends on their names alone.

    Args:
      sources: One name or several.
      role: "rainy" or "clean". Of a source that holds pairs it selects the side; any
        other source is taken to hold what it is named for.

    Raises:
      ValueError: If a source is unknown, missing or empty; if one of its images cannot
        be used; or if a photograph comes twice.
    """
    if role not in ROLES:
        raise ValueError(f"A role is one of {ROLES}, not {role!r}.")
    return _concatenate(open_each(sources, role))


def open_pairs(sources: str | Sequence[str]) -> list[Pair]:
    """The pairs of all sources, in an order that depends on their names alone.

    Raises:
      NoPairsError: If a source holds no pairs.
      ValueError: As `open_photographs`; and if an image lacks its partner, or if the two
        are not of the same size.
    """
    return _concatenate(open_each(sources, "pairs"))


def open_each(sources: str | Sequence[str], field: str) -> dict[str, list]:
    """The photographs or pairs of several sources, by source.

    Args:
      sources: One name or several.
      field: "rainy" or "clean", as `open_photographs` takes it, or "pairs".

    Raises:
      ValueError: As `open_photographs` and `open_pairs`.
    """
    names = (sources,) if isinstance(sources, str) else tuple(sources)
    if not names:
        raise ValueError(f"No source is named; name one of {', '.join(KNOWN)}.")
    opened: dict[str, list] = {}
    origin: dict[str, str] = {}
    for name in names:
        source = _parse(name)
        items = source.pairs() if field == "pairs" else source.photographs(field)
        for item in items:
            key = os.path.abspath(item.name)  # however the path is spelt
            if key in origin:
                raise ValueError(
                    f"{item.name} is in {origin[key]!r} and again in {name!r}; "
                    "name each photograph once."
                )
            origin[key] = name
        opened[name] = items
    return opened


def split_name(text: str) -> tuple[str | None, str]:
    """The name, if any, and the source of `NAME=SOURCE` or `SOURCE`.

    Raises:
      ValueError: If either is empty.
    """
    name, equals, source = text.partition("=")
    if not equals or "/" in name or ":" in name:  # the = is part of a path
        return None, text
    if not (name and source):
        raise ValueError(f"Expected SOURCE or NAME=SOURCE, not {text!r}.")
    return name, source


def base_sources(source: str) -> Iterator[str]:
    """The sources that a source comes from in the end: of files, records, or `sample`.

    Raises:
      ValueError: If a selection cannot be read.
    """
    kind, _, nested = source.partition(":")
    if kind in ("rain", "additive", "identity", "structures"):
        yield from base_sources(nested)
    elif kind == "streaks":
        for part in nested.split(" on "):
            yield from base_sources(part)
    elif kind == "selection":
        for section in selections.read(nested):
            yield from base_sources(section.source)
    else:
        yield source


def _concatenate(opened: dict[str, list]) -> list:
    return [item for items in opened.values() for item in items]


class _Source(Protocol):
    def photographs(self, role: str) -> list[Photograph]:
        """As `open_photographs`, of this source alone."""

    def pairs(self) -> list[Pair]:
        """As `open_pairs`, of this source alone."""


def _parse(name: str) -> _Source:
    kind, colon, path = name.partition(":")
    if name in KNOWN and not colon:
        return sample_source.Sample(name.partition("/")[2] or None)
    if kind == "folder" and path:
        return file_sources.Folder(name, user_paths.expand(path))
    if kind == "list" and path:
        return file_sources.List(name, user_paths.expand(path))
    if kind == "tfds" and path:
        return record_source.Records(path)
    if kind in ("rain", "additive", "streaks") and path:
        return _LiveRain(name, kind, path)
    if kind == "structures" and path:
        return _Structures(name, path)
    if kind == "identity" and path:
        return _Identity(name, path)
    if kind == "selection" and path:
        return _Selection(name, path)
    if user_paths.expand(name).is_dir():
        return file_sources.Folder(name, user_paths.expand(name))
    hint = f"; did you mean {near!r}?" if (near := _nearest(name)) else "."
    known = ", ".join(KNOWN + KNOWN_PAIRS)
    raise ValueError(
        f"Unknown source {name!r}: there is no such folder; known are {known}{hint}"
    )


def _nearest(name: str) -> str | None:
    """The source that was probably meant."""
    kind, colon, path = name.partition(":")
    if user_paths.expand(name).is_file():
        return f"list:{name}"
    kinds = [known.partition(":")[0] for known in KNOWN + KNOWN_PAIRS if ":" in known]
    if near := suggestions.nearest(kind, kinds):
        return f"{near}:{path}" if colon else f"{near}:PATH"
    return suggestions.nearest(name, ("sample", "sample/train", "sample/test"))


class _LiveRain:
    """Rain that is rendered on the photographs of another source."""

    def __init__(self, source: str, kind: str, nested: str):
        self._source, self._kind = source, kind
        pairs, on, clean = nested.partition(" on ")
        if kind != "streaks":
            pairs, clean = "", nested
        elif not on or " on " in clean:
            raise ValueError(
                f"{source!r} must name two sources, as {KNOWN_RAIN[-1]!r}, with "
                "' on ' between them and nowhere else."
            )
        self._pairs, self._clean = pairs, clean

    def photographs(self, role: str) -> list[Photograph]:
        raise ValueError(
            f"{self._source!r} renders pairs, so it can be one of the pairs; as "
            f"{role} photographs name real ones."
        )

    def pairs(self) -> list[Pair]:
        live = self._make_rain()
        pairs = []
        for clean in open_photographs(self._clean, "clean"):
            # Streaks of other pairs on the same photograph are another pair.
            name = f"{self._kind}:{self._pairs and f'{self._pairs} on '}{clean.name}"
            load = functools.partial(_render_once, name, clean, live)
            rainy = Photograph(name, clean.width, clean.height, None, load)
            pairs.append(LivePair(rainy, clean, live))
        return pairs

    def _make_rain(self) -> live_rain.Rain:
        if self._kind == "rain":
            return live_rain.Physical()
        if self._kind == "additive":
            return live_rain.Additive()
        return live_rain.Streaks(open_pairs(self._pairs))


def _render_once(name: str, clean: Photograph, live: live_rain.Rain) -> np.ndarray:
    image = clean.load()
    return live.fall(image, image, max(image.shape), live_rain.rng_of(name))


class _Structures:
    """The photographs of another source with thin structures drawn on them."""

    def __init__(self, source: str, nested: str):
        self._source, self._clean = source, nested

    def photographs(self, role: str) -> list[Photograph]:
        if role != "clean":
            raise ValueError(
                f"{self._source!r} holds rain-free photographs, so it can be one of the "
                f"clean ones or part of pairs; as {role} photographs name others."
            )
        return [
            DrawnPhotograph.on(clean, f"structures:{clean.name}#{i}", drawing.draw)
            for clean in open_photographs(self._clean, "clean")
            for i in range(1, _NUM_VARIANTS + 1)
        ]

    def pairs(self) -> list[Pair]:
        raise NoPairsError(
            f"{self._source!r} holds photographs alone; for pairs of them name "
            f"identity:{self._source} or rain:{self._source}."
        )


class _Identity:
    """The photographs of another source, each paired with itself."""

    def __init__(self, source: str, nested: str):
        self._source, self._clean = source, nested

    def photographs(self, role: str) -> list[Photograph]:
        raise ValueError(
            f"{self._source!r} makes pairs, so it can be one of the pairs; as {role} "
            f"photographs name {self._clean}."
        )

    def pairs(self) -> list[Pair]:
        return [Pair(clean, clean) for clean in open_photographs(self._clean, "clean")]


class _Selection:
    """What a text file picks out of other sources by name."""

    def __init__(self, source: str, file: str):
        self._source, self._sections = source, selections.read(file)
        self._holds_pairs = len(self._sections[0].lines[0]) == 2

    def photographs(self, role: str) -> list[Photograph]:
        if not self._holds_pairs:
            return self._select(lambda source: open_photographs(source, role))
        sides = [getattr(pair, role) for pair in self.pairs()]
        # Several rainy photographs may share a clean one, which still counts once.
        return list({side.name: side for side in sides}.values())

    def pairs(self) -> list[Pair]:
        if not self._holds_pairs:
            raise NoPairsError(
                f"{self._source!r} has one column, of photographs; pairs need two."
            )
        return self._select(open_pairs)

    def _select(self, open_one: Callable[[str], list]) -> list:
        return [
            item
            for section in self._sections
            for item in selections.select(
                open_one(section.source),
                (names[0] for names in section.lines),
                selections.root_of(section.source),
            )
        ]
