"""Which photographs and pairs the paper trains and tests on.

The paper (section "Experiments", Datasets) draws its sets at random and publishes no
lists. Each protocol here is a rule that draws from opened sources. The result depends
only on the names of the photographs within their set and on the seed: names are ordered
by their SHA-256 together with the seed. Backgrounds are compared by `audit`, not by name.
"""

import dataclasses
import functools
import hashlib
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ttl_jax import suggestions
from ttl_jax.data.sets import audit
from ttl_jax.data.sources import selections, source_names
from ttl_jax.data.sources.photographs import Item, Photograph
from ttl_jax.data.sources.source import Source

NUM_PER_SET = 100  # pairs of each set of Test-I
NUM_CLEAR = 10_000  # photographs of RealClear
NUM_PAIRS = 6_000  # pairs for the last stage, over all densities
DENSITIES = ("heavy", "light", "medium")  # of Rain1200
HELD_OUT_SHARE = 4  # one group of RealRain photographs in four is tested on

Opened = Mapping[str, Sequence[Any]]  # photographs or pairs, by the key of their set


class Drawn(NamedTuple):
    """The draw of a protocol.

    Attributes:
      names: Names of photographs or pairs, sorted.
      notes: Counts, as text.
    """

    names: list[str]
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A rule that draws photographs or pairs from sets.

    Attributes:
      what: Description in one line.
      kind: Field that it draws: "pairs", "clean" or "rainy".
      sets: Keys of the sets that it draws from.
      draw: Maps the items of `sets` and `avoided`, and the seed, to the draw.
      avoided: Keys of test sets; only their clean sides are opened.
    """

    what: str
    kind: str
    sets: tuple[str, ...]
    draw: Callable[[Opened, int], Drawn]
    avoided: tuple[str, ...] = ()


class _Opened(NamedTuple):
    """A source that a protocol draws from.

    Its photographs are drawn by names that do not depend on where its files lie: the
    folder in their names is replaced.

    Attributes:
      source: The source.
      prefix: Replacement for its `root`.
      items: Photographs or pairs under the source's own names.
    """

    source: Source
    prefix: str
    items: Sequence[Item]

    def rename(self, item: Item) -> Item:
        """The item under the name that it is drawn by."""
        return item.map_sides(
            lambda side: dataclasses.replace(
                side, name=f"{self.prefix}{side.name.removeprefix(self.source.root)}"
            )
        )

    def section(self, names: frozenset[str]) -> selections.Section:
        """The part of the source that is drawn, given all names that are drawn."""
        lines = [
            tuple(side.name.removeprefix(self.source.root) for side in item.sides)
            for item in self.items
            if self.rename(item).name in names
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
      ValueError: If a name or key is unknown, a set cannot be opened or is too small, or
        nothing is drawn.
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
    opened = {}
    for key in keys:
        field = protocol.kind if key in protocol.sets else "clean"
        sources = list(given.get(key, (f"tfds:{key}",)))
        opened[key] = [
            _open(name, key, sources, index, field) for index in range(len(sources))
        ]
    drawn = protocol.draw(
        {
            key: [s.rename(i) for s in found for i in s.items]
            for key, found in opened.items()
        },
        seed,
    )
    if not drawn.names:
        raise ValueError(
            f"{name} draws nothing from {', '.join(protocol.sets)} ({drawn.notes[0]}); "
            "name larger sets by --set, or another --seed."
        )
    comments = [f"Protocol {name}, seed {seed}: {protocol.what}", *drawn.notes]
    names = frozenset(drawn.names)
    sections = [s.section(names) for key in protocol.sets for s in opened[key]]
    return comments, sections


def _open(protocol: str, key: str, names: list[str], index: int, field: str) -> _Opened:
    """Opens one of the sources that make up a set."""
    name = names[index]
    try:
        source = source_names.parse(name)
        items = source.open(field)
    except ValueError as error:
        # A published set is prepared under its name, the user's own photographs under any name.
        what = f"photos --name {key}" if key == _REAL_RAIN else key.partition("/")[0]
        raise ValueError(
            f"{protocol} needs {key}, and {name!r} cannot be opened: {error} Make it "
            f"by python -m ttl_jax.prepare {what} --source DIR, or name another source "
            f"by --set {key}=SOURCE."
        ) from error
    prefix = f"{key}/" if source.root else ""
    if prefix and len(names) > 1:  # several folders, perhaps named for densities
        prefix += f"{index}-{pathlib.PurePath(source.root).name}/"
    return _Opened(source, prefix, items)


# Rules


def draw_some(opened: Opened, seed: int) -> Drawn:
    """`NUM_PER_SET` pairs of each set.

    Raises:
      ValueError: If a set holds fewer.
    """
    names, notes = [], []
    for key, items in opened.items():
        if len(items) < NUM_PER_SET:
            raise ValueError(f"{key} holds {len(items)} pairs, not {NUM_PER_SET}.")
        names += _shuffled(items, seed)[:NUM_PER_SET]
        notes.append(f"{NUM_PER_SET} of the {len(items)} pairs of {key}")
    return Drawn(sorted(names), notes)


def draw_all(opened: Opened, seed: int) -> Drawn:
    """All pairs of all sets; nothing is random."""
    del seed
    names = sorted(item.name for items in opened.values() for item in items)
    notes = [f"all {len(items)} pairs of {key}" for key, items in opened.items()]
    return Drawn(names, notes)


def draw_distinct(opened: Opened, seed: int, sets: Sequence[str]) -> Drawn:
    """`NUM_CLEAR` photographs of different pictures, or as many as there are.

    Args:
      opened: Clean photographs by key.
      seed: Seed of the draw.
      sets: Keys of the sets to draw from; pictures of the others are left out.
    """
    candidates, avoided = _divide(opened, sets)
    backgrounds = _backgrounds(candidates, avoided)
    # The first of each background, in the order of the seed.
    distinct: dict[str, str] = {}
    for name in _shuffled(candidates, seed):
        if name in backgrounds:
            distinct.setdefault(backgrounds[name], name)
    names = list(distinct.values())[:NUM_CLEAR]
    notes = [
        f"{len(candidates)} clean photographs in {', '.join(sets)}",
        f"{len(candidates) - len(backgrounds)} of them show backgrounds of test sets",
        f"{len(distinct)} different pictures among the others",
        f"{len(names)} drawn, of {NUM_CLEAR} wanted",
    ]
    return Drawn(sorted(names), notes)


def draw_stratified(opened: Opened, seed: int, sets: Sequence[str]) -> Drawn:
    """`NUM_PAIRS` pairs, equally many of each density, of as many backgrounds as possible.

    No background is drawn a second time while an unused one has a pair of a density that
    still lacks pairs; likewise for a third time.

    Args:
      opened: Pairs by key for `sets`, else clean photographs.
      seed: Seed of the draw.
      sets: Keys of the sets to draw from; backgrounds of the others are left out.

    Raises:
      ValueError: If a name contains no density, or a density has too few pairs.
    """
    pairs, avoided = _divide(opened, sets)
    clean = {pair.clean.name: pair.clean for pair in pairs}
    backgrounds = _backgrounds(list(clean.values()), avoided)
    usable = [pair for pair in pairs if pair.clean.name in backgrounds]
    strata = {
        pair.name: (density_of(pair.name), backgrounds[pair.clean.name])
        for pair in usable
    }
    names = _fill(strata, _shuffled(usable, seed), NUM_PAIRS // len(DENSITIES))
    num_backgrounds = len({strata[name][1] for name in names})
    notes = [
        f"{len(pairs)} pairs in {', '.join(sets)}",
        f"{len(pairs) - len(usable)} of them show backgrounds of test sets",
        f"{len(set(backgrounds.values()))} different backgrounds among the others",
        f"{len(names)} drawn, as many of each density, of {num_backgrounds} backgrounds",
    ]
    return Drawn(sorted(names), notes)


def _fill(
    strata: Mapping[str, tuple[str, str]], order: Sequence[str], num_each: int
) -> list[str]:
    """Names in this order until each density has `num_each`; backgrounds in rounds."""
    lacking: dict[str, int] = dict.fromkeys(DENSITIES, num_each)
    remaining, drawn = list(order), []
    while any(lacking.values()):
        shown: set[str] = set()  # backgrounds of this round
        later = []
        for name in remaining:
            density, background = strata[name]
            if background in shown or not lacking[density]:
                later.append(name)
                continue
            shown.add(background)
            lacking[density] -= 1
            drawn.append(name)
        if len(later) == len(remaining):
            missing = [f"{n} of {density} lack" for density, n in lacking.items()]
            raise ValueError(
                f"Expected {num_each} pairs of each density; there are too few: "
                f"{', '.join(missing)}"
            )
        remaining = later
    return drawn


def draw_part(opened: Opened, seed: int, is_test: bool) -> Drawn:
    """The photographs to train on, or to test on, which share no picture.

    Photographs of the same picture stay together; the first of their names decides.
    """
    photographs, _ = _divide(opened, opened)
    backgrounds = _backgrounds(photographs, [])
    names = [
        name
        for name, background in backgrounds.items()
        if (_rank(background, seed) % HELD_OUT_SHARE == 0) == is_test
    ]
    num_pictures = len(set(backgrounds.values()))
    note = f"{len(names)} of {len(photographs)} photographs of {num_pictures} pictures"
    return Drawn(sorted(names), [note])


def density_of(name: str) -> str:
    """The density of rain that a folder is named for: "heavy", "light" or "medium".

    Raises:
      ValueError: If no folder is.
    """
    for folder in reversed(re.split(r"[/\\]", name)[:-1]):
        if (word := re.split(r"[_-]", folder.lower())[-1]) in DENSITIES:
            return word
    raise ValueError(
        f"{name}: no folder in it is named for a density of rain, {', '.join(DENSITIES)}."
    )


def _divide(opened: Opened, sets: Iterable[str]) -> tuple[list, list]:
    """The items of some sets, and those of the others."""
    return (
        [item for key in sets for item in opened[key]],
        [item for key in opened if key not in sets for item in opened[key]],
    )


def _backgrounds(
    photographs: Sequence[Photograph], avoided: Sequence[Photograph]
) -> dict[str, str]:
    """The first name of the same picture, by name, without pictures that are avoided."""
    kept = sorted({item.name: item for item in photographs}.items())
    names = [name for name, _ in kept]
    everything = [item for _, item in kept]
    everything += sorted(avoided, key=lambda item: item.name)
    fingerprints = audit.fingerprint_all(everything)
    backgrounds = dict(zip(names, names))
    for indices in audit.group(len(everything), audit.find_matches(fingerprints)):
        same = [names[i] for i in indices if i < len(names)]
        for name in same:
            if indices[-1] >= len(names):
                del backgrounds[name]
            else:
                backgrounds[name] = same[0]
    return backgrounds


def _shuffled(items: Iterable[Item], seed: int) -> list[str]:
    """The names of items in the order of their ranks."""
    return sorted((item.name for item in items), key=lambda name: _rank(name, seed))


def _rank(name: str, seed: int) -> int:
    """A number that looks random; NumPy's generators may change with its version."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest())


# The protocols of the paper

_MSPFN = ("rain1200/test", "rain14000/test2800", "rain800/test")
_ORIGINAL = ("rain1200/test", "rain14000/test1400", "rain800/test")
_TEST_1 = (*_MSPFN, "rain14000/test1400")
_RAIN_1200 = ("rain1200/train",)
_CLEAR = ("rain1200/train", "rain14000/train2800")
_REAL_RAIN = "realrain"


def _real_rain(is_test: bool) -> Protocol:
    part = "test on" if is_test else "train on"
    draw = functools.partial(draw_part, is_test=is_test)
    return Protocol(f"rainy photographs to {part}", "rainy", (_REAL_RAIN,), draw)


PROTOCOLS: Mapping[str, Protocol] = {
    # "Rain2800" is what others call the 200 backgrounds of Jiang et al. (MSPFN, 2020).
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
        "RealClear, clean photographs of different pictures", "clean", _CLEAR,
        functools.partial(draw_distinct, sets=_CLEAR), _TEST_1,
    ),
    "pairs6000": Protocol(
        "pairs of Rain1200, a third of each density", "pairs", _RAIN_1200,
        functools.partial(draw_stratified, sets=_RAIN_1200), _TEST_1,
    ),
    "realrain_train": _real_rain(is_test=False),
    "realrain_test": _real_rain(is_test=True),
}  # fmt: skip
