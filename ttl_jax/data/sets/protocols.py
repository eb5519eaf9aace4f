"""The photographs and pairs on which the paper trains and tests.

The paper (section "Experiments", Datasets) draws its sets at random and publishes no
lists. Each protocol here is a rule that draws from opened sources. Names of photographs
within their set are ordered by the SHA-256 of seed and name. The draws of realclear,
pairs6000 and realrain also depend on pixels, since `audit` compares the backgrounds. Those
of test1 to test3 depend only on seed and names. Unknown names and keys, and sets that are
missing or too small, raise ValueError.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ttl_jax import suggestions
from ttl_jax.data.sets import audit
from ttl_jax.data.sources import selections, source_names
from ttl_jax.data.sources.photographs import Item, Photograph
from ttl_jax.data.sources.source import Source, check_distinct

NUM_PER_SET = 100  # pairs of each set of Test-I
NUM_CLEAR = 10_000  # photographs of RealClear
NUM_PAIRS = 6_000  # pairs for the last stage, over all densities
DENSITIES = ("heavy", "light", "medium")  # of Rain1200
HELD_OUT_SHARE = 4  # one of four pictures of RealRain is for testing

Opened = Mapping[str, Sequence[Any]]  # photographs or pairs, by the key of their set


class Drawn(NamedTuple):
    """The draw of a protocol.

    Attributes:
      names: Names of photographs or pairs, sorted.
      notes: Counts, as text.
    """

    names: list[str]
    notes: list[str]


class Protocol(NamedTuple):
    """A rule that draws photographs or pairs from sets.

    Attributes:
      what: Description in one line.
      kind: Kind of items to draw: "pairs", "clean" or "rainy".
      sets: Keys of the sets from which it draws.
      draw: Maps the items of `sets`, the photographs of `avoided` and the seed to the
        draw. Raises ValueError if a set is too small.
      avoided: Keys of test sets, whose pictures are not drawn.
    """

    what: str
    kind: str
    sets: tuple[str, ...]
    draw: Callable[[Opened, Sequence[Photograph], int], Drawn]
    avoided: tuple[str, ...] = ()


class _Part(NamedTuple):
    """One of the sources that make up a set.

    Photographs are drawn by names that do not depend on the location of the files.

    Attributes:
      prefix: Replacement for the `root` of the source in names.
      items: Photographs or pairs, with the names of the source.
    """

    source: Source
    prefix: str
    items: Sequence[Item]

    def renamed(self) -> list[Item]:
        """Returns the items with the names that are used for the draw."""

        def rename(side: Photograph) -> Photograph:
            name = f"{self.prefix}{self.source.relative(side.name)}"
            return dataclasses.replace(side, name=name)

        return [item.map_sides(rename) for item in self.items]

    def section(self, names: frozenset[str]) -> selections.Section:
        """Returns the drawn part of the source, given all drawn names."""
        lines = [
            tuple(self.source.relative(side.name) for side in item.sides)
            for item, renamed in zip(self.items, self.renamed(), strict=True)
            if renamed.name in names
        ]
        return selections.Section(self.source.absolute, sorted(lines))


def select(
    name: str, seed: int = 0, given: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[str], list[selections.Section]]:
    """Opens the sets of a protocol and draws from them.

    Args:
      name: One of `PROTOCOLS`.
      seed: Seed of the random choices.
      given: Sources that replace prepared sets, by the key of the set.

    Returns:
      Comments that describe the draw, and the sections of the selection.

    Raises:
      ValueError: If the name or a key is unknown, a set cannot be opened or is too small,
        or nothing is drawn.
    """
    if name not in PROTOCOLS:
        known = suggestions.known_and_hint(name, PROTOCOLS)
        raise ValueError(f"Unknown protocol {name!r}; known: {known}")
    protocol, given = PROTOCOLS[name], given or {}
    keys = *protocol.sets, *protocol.avoided
    if unknown := given.keys() - {*keys}:
        raise ValueError(
            f"{name} has no set {', '.join(sorted(unknown))}; it has {', '.join(keys)}."
        )
    parts = {
        key: _open(name, key, list(given.get(key, (f"tfds:{key}",)))) for key in keys
    }
    opened: dict[str, list[Any]] = {
        key: [item for part in of for item in part.renamed()]
        for key, of in parts.items()
    }
    avoided = [item for key in protocol.avoided for item in opened.pop(key)]
    drawn = protocol.draw(opened, avoided, seed)
    if not drawn.names:
        raise ValueError(
            f"{name} draws nothing from {', '.join(protocol.sets)} ({drawn.notes[0]}); "
            "name larger sets by --set, or another --seed."
        )
    comments = [f"Protocol {name}, seed {seed}: {protocol.what}", *drawn.notes]
    names = frozenset(drawn.names)
    return comments, [part.section(names) for key in opened for part in parts[key]]


def _open(name: str, key: str, sources: Sequence[str]) -> list[_Part]:
    """Opens the sources that make up a set of a protocol; none may occur twice."""
    protocol, parts = PROTOCOLS[name], []
    for i, text in enumerate(sources):
        try:
            source = source_names.parse(text)
            items = source.open(protocol.kind if key in protocol.sets else "clean")
        except ValueError as error:
            # Published sets have a fixed name; photographs are prepared with --name.
            what = f"photos --name {key}" if key == _REAL_RAIN else key.split("/")[0]
            raise ValueError(
                f"{name} needs {key}, but {text!r} cannot be opened: {error} Make it "
                f"with python -m ttl_jax.prepare {what} --source DIR, or name another "
                f"source with --set {key}=SOURCE."
            ) from error
        prefix = f"{key}/" if source.root else ""
        if (
            prefix and len(sources) > 1
        ):  # several folders, perhaps named after densities
            prefix += f"{i}-{pathlib.PurePath(source.root).name}/"
        parts.append(_Part(source, prefix, items))
    check_distinct([(part.source.name, part.items) for part in parts])
    return parts


# Rules, with arguments and result as for `Protocol.draw`


def draw_some(opened: Opened, avoided: Sequence[Photograph], seed: int) -> Drawn:
    """Draws `NUM_PER_SET` pairs of each set."""
    del avoided
    names, notes = [], []
    for key, items in opened.items():
        if len(items) < NUM_PER_SET:
            raise ValueError(f"{key} holds {len(items)} pairs, not {NUM_PER_SET}.")
        names += _shuffled(items, seed)[:NUM_PER_SET]
        notes.append(f"{NUM_PER_SET} of the {len(items)} pairs of {key}")
    return Drawn(sorted(names), notes)


def draw_all(opened: Opened, avoided: Sequence[Photograph], seed: int) -> Drawn:
    """Draws all pairs of all sets."""
    del avoided, seed
    notes = [f"all {len(items)} pairs of {key}" for key, items in opened.items()]
    return Drawn(sorted(item.name for item in _all(opened)), notes)


def draw_distinct(opened: Opened, avoided: Sequence[Photograph], seed: int) -> Drawn:
    """Draws `NUM_CLEAR` photographs of different pictures, or all if there are fewer."""
    candidates = _all(opened)
    backgrounds = _backgrounds(candidates, avoided)
    # The first of each background, in the order of the seed.
    distinct: dict[str, str] = {}
    for name in _shuffled(candidates, seed):
        if name in backgrounds:
            distinct.setdefault(backgrounds[name], name)
    names = list(distinct.values())[:NUM_CLEAR]
    notes = [
        f"{len(candidates)} clean photographs in {', '.join(opened)}",
        f"{len(candidates) - len(backgrounds)} of them show backgrounds of test sets",
        f"{len(distinct)} different pictures among the others",
        f"{len(names)} drawn, of {NUM_CLEAR} wanted",
    ]
    return Drawn(sorted(names), notes)


def draw_stratified(opened: Opened, avoided: Sequence[Photograph], seed: int) -> Drawn:
    """Draws `NUM_PAIRS` pairs, equally many of each density, of many backgrounds.

    A background is drawn again only if no background that was drawn less often has a
    pair of a density that still lacks pairs.
    """
    pairs = _all(opened)
    backgrounds = _backgrounds([pair.clean for pair in pairs], avoided)
    usable = [pair for pair in pairs if pair.clean.name in backgrounds]
    strata = {
        pair.name: (density_of(pair.name), backgrounds[pair.clean.name])
        for pair in usable
    }
    names = _fill(strata, _shuffled(usable, seed))
    num_backgrounds = len({strata[name][1] for name in names})
    notes = [
        f"{len(pairs)} pairs in {', '.join(opened)}",
        f"{len(pairs) - len(usable)} of them show backgrounds of test sets",
        f"{len(set(backgrounds.values()))} different backgrounds among the others",
        f"{len(names)} drawn, equally many per density, of {num_backgrounds} backgrounds",
    ]
    return Drawn(sorted(names), notes)


def _fill(strata: Mapping[str, tuple[str, str]], order: Sequence[str]) -> list[str]:
    """Draws names in rounds until each density is full, each background once per round.

    Args:
      strata: Density and background by name.
    """
    num_each = NUM_PAIRS // len(DENSITIES)
    lacking = collections.Counter[str](dict.fromkeys(DENSITIES, num_each))
    drawn: dict[str, None] = {}
    while lacking.total():
        shown: set[str] = set()
        for name in order:
            density, background = strata[name]
            if name not in drawn and background not in shown and lacking[density]:
                shown.add(background)
                lacking[density] -= 1
                drawn[name] = None
        if not shown:
            missing = [f"{n} {density}" for density, n in lacking.items()]
            raise ValueError(
                f"Expected {num_each} pairs of each density; still missing: "
                f"{', '.join(missing)}"
            )
    return list(drawn)


def draw_part(
    opened: Opened, avoided: Sequence[Photograph], seed: int, *, is_test: bool
) -> Drawn:
    """Draws the photographs for training, or those for tests, which share no picture.

    Photographs of the same picture stay together; the first of their names decides.

    Args:
      is_test: Whether to draw the photographs for tests.
    """
    photographs = _all(opened)
    backgrounds = _backgrounds(photographs, avoided)
    names = [
        name
        for name, background in backgrounds.items()
        if (_rank(background, seed) % HELD_OUT_SHARE == 0) == is_test
    ]
    num_pictures = len(set(backgrounds.values()))
    note = f"{len(names)} of {len(photographs)} photographs of {num_pictures} pictures"
    return Drawn(sorted(names), [note])


def density_of(name: str) -> str:
    """Returns the density, one of `DENSITIES`, from the last folder named after one.

    Raises:
      ValueError: If no folder in the name is named after a density.
    """
    for folder in reversed(re.split(r"[/\\:]", name)[:-1]):
        if (word := re.split(r"[_-]", folder.lower())[-1]) in DENSITIES:
            return word
    raise ValueError(
        f"{name}: no folder in it is named after a density: {', '.join(DENSITIES)}."
    )


def _all(opened: Opened) -> list[Any]:
    return list(itertools.chain(*opened.values()))


def _backgrounds(
    photographs: Iterable[Photograph], avoided: Iterable[Photograph]
) -> dict[str, str]:
    """Returns, for each name, the first name with the same picture, if not avoided."""
    kept = {item.name: item for item in sorted(photographs, key=lambda item: item.name)}
    names = list(kept)
    shown = [*kept.values(), *sorted(avoided, key=lambda item: item.name)]
    backgrounds = dict(zip(names, names))
    matches = audit.find_matches(audit.fingerprint_all(shown))
    for indices in audit.group(len(shown), matches):
        same = [names[i] for i in indices if i < len(names)]
        for name in same:
            backgrounds[name] = same[0]
            if len(same) < len(indices):
                del backgrounds[name]
    return backgrounds


def _shuffled(items: Iterable[Item], seed: int) -> list[str]:
    """Returns the names of items in the order of their ranks."""
    return sorted((item.name for item in items), key=lambda name: _rank(name, seed))


def _rank(name: str, seed: int) -> int:
    """Returns a pseudorandom number; NumPy's generators may change with its version."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest())


# The protocols of the paper

_MSPFN = ("rain1200/test", "rain14000/test2800", "rain800/test")
_ORIGINAL = ("rain1200/test", "rain14000/test1400", "rain800/test")
_TEST_1 = (*_MSPFN, "rain14000/test1400")
_CLEAR = ("rain1200/train", "rain14000/train2800")
_REAL_RAIN = "realrain"

PROTOCOLS: Mapping[str, Protocol] = {
    # Others call the 200 backgrounds of Jiang et al. (MSPFN, 2020) "Rain2800".
    "test1": Protocol("Test-I, as test1_mspfn", "pairs", _MSPFN, draw_some),
    "test1_mspfn": Protocol(
        "Test-I with the 2,800 pairs that MSPFN and its followers test on",
        "pairs", _MSPFN, draw_some,
    ),
    "test1_orig": Protocol(
        "Test-I with the 1,400 test pairs of Fu et al. (2017)",
        "pairs", _ORIGINAL, draw_some,
    ),
    "test2": Protocol(
        "Test-II, the rain streaks of MPID", "pairs", ("mpid_rain_streak/test",), draw_all
    ),
    "test3": Protocol("Test-III, SPA-Data", "pairs", ("spa/test",), draw_all),
    "realclear": Protocol(
        "RealClear, clean photographs of different pictures",
        "clean", _CLEAR, draw_distinct, _TEST_1,
    ),
    "pairs6000": Protocol(
        "pairs of Rain1200, a third of each density",
        "pairs", ("rain1200/train",), draw_stratified, _TEST_1,
    ),
    "realrain_train": Protocol(
        "rainy photographs for training",
        "rainy", (_REAL_RAIN,), functools.partial(draw_part, is_test=False),
    ),
    "realrain_test": Protocol(
        "rainy photographs for tests",
        "rainy", (_REAL_RAIN,), functools.partial(draw_part, is_test=True),
    ),
}  # fmt: skip
