"""Which photographs and pairs the paper trains and tests on.

The paper (section "Experiments", Datasets) draws its sets at random and publishes no
lists. Each protocol here is a rule that draws them from opened sources. What it draws
depends on the names of the photographs within their set and on the seed alone: names are
ordered by their SHA-256 together with the seed. Backgrounds are told apart by `audit`,
not by names.
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
from ttl_jax.data.sources.photographs import Pair, Photograph

NUM_PER_SET = 100  # pairs of each set of Test-I
NUM_CLEAR = 10_000  # photographs of RealClear
NUM_PAIRS = 6_000  # pairs for the last stage, over all densities
DENSITIES = ("heavy", "light", "medium")  # of Rain1200
HELD_OUT_SHARE = 4  # of RealRain, one group of photographs in four is tested on

Opened = Mapping[str, Sequence[Any]]  # photographs or pairs, by the key of their set


class Drawn(NamedTuple):
    """What a protocol draws.

    Attributes:
      names: Of photographs or pairs, sorted.
      notes: What was counted, for people.
    """

    names: list[str]
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A rule that draws photographs or pairs from sets.

    Attributes:
      what: It in one line.
      kind: Of what it draws: "pairs", "clean" or "rainy".
      sets: The sets drawn from, by their keys.
      draw: Maps what is opened of `sets` and `avoided`, and the seed, to what is drawn.
      avoided: Test sets, of which only the clean sides are opened.
    """

    what: str
    kind: str
    sets: tuple[str, ...]
    draw: Callable[[Opened, int], Drawn]
    avoided: tuple[str, ...] = ()


def select(
    name: str, seed: int = 0, given: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[str], list[selections.Section]]:
    """Opens the sets of a protocol and draws from them.

    Args:
      name: One of `PROTOCOLS`.
      seed: Of what is drawn at random.
      given: Sources in place of the prepared sets, by the key of the set.

    Returns:
      Comments that say what it is, and the sections of the selection.

    Raises:
      ValueError: If a name or key is unknown, a set cannot be opened, or it holds less
        than is to be drawn, or nothing is.
    """
    protocol, given = _find(name), given or {}
    if unknown := given.keys() - {*protocol.sets, *protocol.avoided}:
        raise ValueError(
            f"{name} has no set {', '.join(sorted(unknown))}; it has "
            f"{', '.join((*protocol.sets, *protocol.avoided))}."
        )

    def open_set(key: str, kind: str) -> list[_Source]:
        named = given.get(key, (f"tfds:{key}",))
        return [
            _Source(source, _prefix(key, source, named), _open(name, key, source, kind))
            for source in named
        ]

    drawn_from = {key: open_set(key, protocol.kind) for key in protocol.sets}
    avoided = {key: open_set(key, "clean") for key in protocol.avoided}
    opened = {
        key: [item for source in found for item in source.renamed()]
        for key, found in {**drawn_from, **avoided}.items()
    }
    drawn = protocol.draw(opened, seed)
    if not drawn.names:
        raise ValueError(
            f"{name} draws nothing from {', '.join(protocol.sets)} ({drawn.notes[0]}); "
            "name larger sets by --set, or another --seed."
        )
    comments = [f"Protocol {name}, seed {seed}: {protocol.what}", *drawn.notes]
    names = frozenset(drawn.names)
    sections = [s.section(names) for found in drawn_from.values() for s in found]
    return comments, sections


class _Source(NamedTuple):
    """A source that a protocol draws from.

    Its photographs are drawn by names that are the same wherever its files lie: what
    their names begin with, their folder, is replaced.

    Attributes:
      name: Of the source.
      prefix: In place of `selections.root_of` the source.
      items: Photographs or pairs under the source's own names.
    """

    name: str
    prefix: str
    items: list

    def renamed(self) -> list:
        """The items under the names that they are drawn by."""
        return [self._rename(item) for item in self.items]

    def section(self, names: frozenset[str]) -> selections.Section:
        """What is drawn of this source, given the names of all that is drawn."""
        root = selections.root_of(self.name)
        lines = [
            tuple(side.name.removeprefix(root) for side in _sides(item))
            for item in self.items
            if self._rename(item).name in names
        ]
        return selections.Section(selections.absolute(self.name), sorted(lines))

    def _rename(self, item: Photograph | Pair) -> Photograph | Pair:
        if isinstance(item, Pair):
            return Pair(self._rename(item.rainy), self._rename(item.clean))
        root = selections.root_of(self.name)
        name = f"{self.prefix}{item.name.removeprefix(root)}"
        return dataclasses.replace(item, name=name)


def _prefix(key: str, source: str, named: Sequence[str]) -> str:
    """What the photographs of a source are drawn by, before their name within it."""
    root = selections.root_of(source)
    if not root:
        return ""
    if len(named) == 1:
        return f"{key}/"
    # Of several folders, which may be named for densities of rain.
    return f"{key}/{list(named).index(source)}-{pathlib.PurePath(root).name}/"


def _sides(item: Photograph | Pair) -> tuple[Photograph, ...]:
    return (item.rainy, item.clean) if isinstance(item, Pair) else (item,)


def _find(name: str) -> Protocol:
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    known = suggestions.known_and_hint(name, PROTOCOLS)
    raise ValueError(f"Unknown protocol {name!r}; known: {known}")


def _open(protocol: str, key: str, source: str, kind: str) -> list:
    try:
        if kind == "pairs":
            return source_names.open_pairs(source)
        return source_names.open_photographs(source, kind)
    except ValueError as error:
        raise ValueError(
            f"{protocol} needs {key}, and {source!r} cannot be opened: {error} Make it "
            f"by python -m ttl_jax.prepare {_how_to_prepare(key)} --source DIR, or name "
            f"another source by --set {key}=SOURCE."
        ) from error


def _how_to_prepare(key: str) -> str:
    # A published set is prepared under its name, one's own photographs under any.
    return f"photos --name {key}" if key == _REAL_RAIN else key.partition("/")[0]


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
        names += _shuffled((item.name for item in items), seed)[:NUM_PER_SET]
        notes.append(f"{NUM_PER_SET} of the {len(items)} pairs of {key}")
    return Drawn(sorted(names), notes)


def draw_all(opened: Opened, seed: int) -> Drawn:
    """All pairs of all sets; nothing is random."""
    del seed
    notes = [f"all {len(items)} pairs of {key}" for key, items in opened.items()]
    return Drawn(
        sorted(item.name for items in opened.values() for item in items), notes
    )


def draw_distinct(opened: Opened, seed: int, sets: Sequence[str]) -> Drawn:
    """`NUM_CLEAR` photographs of different pictures, or as many as there are.

    Args:
      opened: Clean photographs.
      seed: Of which are drawn.
      sets: Keys of those drawn from; pictures of the others are left out.
    """
    candidates = [item for key in sets for item in opened[key]]
    backgrounds = _backgrounds(candidates, _others(opened, sets))
    # The first of each background, in the order of the seed.
    distinct: dict[str, str] = {}
    for name in _shuffled(backgrounds, seed):
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
    """`NUM_PAIRS` pairs, as many of each density; backgrounds as different as may be.

    No background is drawn a second time while one that was not drawn would do for a
    density that still lacks pairs, and so on for the third time.

    Args:
      opened: Pairs by key for `sets`, else clean photographs.
      seed: Of which are drawn.
      sets: Keys of those drawn from; backgrounds of the others are left out.

    Raises:
      ValueError: If a name tells no density, or there are too few of one.
    """
    pairs = [pair for key in sets for pair in opened[key]]
    clean = {pair.clean.name: pair.clean for pair in pairs}
    backgrounds = _backgrounds(list(clean.values()), _others(opened, sets))
    usable = {
        pair.name: (density_of(pair.name), backgrounds[pair.clean.name])
        for pair in pairs
        if pair.clean.name in backgrounds
    }
    names = _fill(usable, _shuffled(usable, seed), NUM_PAIRS // len(DENSITIES))
    num_backgrounds = len({usable[name][1] for name in names})
    notes = [
        f"{len(pairs)} pairs in {', '.join(sets)}",
        f"{len(pairs) - len(usable)} of them show backgrounds of test sets",
        f"{len(set(backgrounds.values()))} different backgrounds among the others",
        f"{len(names)} drawn, as many of each density, of {num_backgrounds} backgrounds",
    ]
    return Drawn(sorted(names), notes)


def _fill(
    usable: Mapping[str, tuple[str, str]], order: Sequence[str], num_each: int
) -> list[str]:
    """Names in this order until each density has its number, backgrounds in rounds."""
    lacking = dict.fromkeys(DENSITIES, num_each)
    remaining = list(order)
    drawn: list[str] = []
    while any(lacking.values()):
        shown: set[str] = set()  # backgrounds of this round
        later = []
        for name in remaining:
            density, background = usable[name]
            if background in shown or not lacking[density]:
                later.append(name)
                continue
            shown.add(background)
            lacking[density] -= 1
            drawn.append(name)
        if len(later) == len(remaining):
            raise ValueError(
                f"Wanted are {num_each} pairs of each density; there are too few: "
                + ", ".join(f"{n} of {density} lack" for density, n in lacking.items())
            )
        remaining = later
    return drawn


def draw_part(opened: Opened, seed: int, is_test: bool) -> Drawn:
    """The photographs to train on, or to test on, that share no picture.

    A group of photographs of the same picture is tested on as a whole, which its first
    name decides.
    """
    photographs = [item for items in opened.values() for item in items]
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
    """The density of rain that a folder in a name tells: "heavy", "light" or "medium".

    Raises:
      ValueError: If no folder does.
    """
    for folder in reversed(re.split(r"[/\\]", name)[:-1]):
        if (word := re.split(r"[_-]", folder.lower())[-1]) in DENSITIES:
            return word
    raise ValueError(
        f"{name}: no folder in it is named for a density of rain, {', '.join(DENSITIES)}."
    )


def _others(opened: Opened, sets: Sequence[str]) -> list[Photograph]:
    return [item for key, items in opened.items() if key not in sets for item in items]


def _backgrounds(
    photographs: Sequence[Photograph], avoided: Sequence[Photograph]
) -> dict[str, str]:
    """The first name of the same picture, by name; without those of avoided pictures."""
    kept = {item.name: item for item in sorted(photographs, key=lambda item: item.name)}
    everything = [*kept.values(), *sorted(avoided, key=lambda item: item.name)]
    fingerprints = audit.fingerprint_all(everything)
    groups = audit.group(len(everything), audit.find_matches(fingerprints))
    backgrounds = {name: name for name in kept}
    for indices in groups:
        names = [everything[i].name for i in indices if i < len(kept)]
        for name in names:
            if indices[-1] >= len(kept):
                del backgrounds[name]
            else:
                backgrounds[name] = names[0]
    return backgrounds


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: _rank(name, seed))


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
