"""Opens photographs and rainy/clean pairs by the name of their source.

The table `KINDS` lists the sources, and README.md of the package `data` describes them.
Paths may begin with ~. In folders, hidden files and files without an image suffix are
skipped. If a source has pairs, its role "rainy" or "clean" is one side of them.

Opening a source raises ValueError if the source is unknown, missing or empty, if an image
cannot be used or lacks a partner of its size, or if a photograph occurs twice. It raises
NoPairsError, which is a ValueError, if pairs are expected but there are none.
"""

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from ttl_jax import suggestions, user_paths
from ttl_jax.data.rain import live_rain
from ttl_jax.data.sources import derived_sources as derived
from ttl_jax.data.sources.file_sources import Folder, List
from ttl_jax.data.sources.photographs import ROLES, Pair, Photograph
from ttl_jax.data.sources.record_source import Records
from ttl_jax.data.sources.sample_source import Sample
from ttl_jax.data.sources.selections import Selection
from ttl_jax.data.sources.source import Source, check_distinct

# Classes by the form of the name. The text after the colon is the second argument.
KINDS: dict[str, Callable[..., Source]] = {
    "sample": Sample,
    "sample/train": Sample,
    "sample/test": Sample,
    "folder:PATH": Folder,  # or the path alone
    "list:FILE": List,
    "tfds:NAME/SPLIT": Records,  # or tfds:NAME, for all splits
    "selection:FILE": Selection,
    "structures:CLEAN": derived.Structures,
    "rain:CLEAN": functools.partial(derived.LiveRain, live_rain.Physical),
    "kinds:CLEAN": functools.partial(derived.LiveRain, live_rain.Kinds),
    "additive:CLEAN": functools.partial(derived.LiveRain, live_rain.Additive),
    "holes:CLEAN": functools.partial(derived.LiveRain, live_rain.Holes),
    "smears:CLEAN": functools.partial(derived.LiveRain, live_rain.Smears),
    "streaks:PAIRS on CLEAN": derived.StreakRain,
    "identity:CLEAN": derived.Identity,
}
KNOWN = ", ".join(KINDS)


def open_photographs(sources: str | Sequence[str], role: str) -> list[Photograph]:
    """Opens the photographs of all sources, in an order that depends only on names.

    Args:
      sources: Name of a source, or several names.
      role: "rainy" or "clean". It selects one side of sources with pairs; the photographs
        of other sources may have both roles.

    Raises:
      ValueError: See the module's docstring.
    """
    if role not in ROLES:
        raise ValueError(f"A role is one of {ROLES}, not {role!r}.")
    return list(itertools.chain(*open_each(sources, role).values()))


def open_pairs(sources: str | Sequence[str]) -> list[Pair]:
    """Opens the pairs of all sources, in an order that depends only on names.

    Raises:
      ValueError: See the module's docstring.
    """
    return list(itertools.chain(*open_each(sources, "pairs").values()))


def open_each(sources: str | Sequence[str], field: str) -> dict[str, list[Any]]:
    """Returns the items of each source, by the name of the source.

    Args:
      sources: Name of a source, or several names.
      field: "rainy" or "clean", as for `open_photographs`, or "pairs".

    Raises:
      ValueError: See the module's docstring.
    """
    names = (sources,) if isinstance(sources, str) else tuple(sources)
    if not names:
        raise ValueError(f"No source is named; name one of {KNOWN}.")
    opened = [(name, parse(name).open(field)) for name in names]
    check_distinct(opened)
    return dict(opened)


def split_name(text: str) -> tuple[str | None, str]:
    """Splits `NAME=SOURCE` into name and source; a `SOURCE` alone has the name None.

    Raises:
      ValueError: If the name or the source is empty.
    """
    name, equals, source = text.partition("=")
    if not equals or "/" in name or ":" in name:  # the = is part of a path
        return None, text
    if not (name and source):
        raise ValueError(f"Expected SOURCE or NAME=SOURCE, not {text!r}.")
    return name, source


def parse(name: str) -> Source:
    """Returns the source with a name, without reading any file.

    Raises:
      ValueError: If the name is unknown.
    """
    kind, _, path = name.partition(":")
    if name.endswith(":") and any(form.startswith(name) for form in KINDS):
        raise ValueError(
            f"{name!r} names nothing after the colon; is a variable of the shell not set?"
        )
    for form, make in KINDS.items():
        if name == form or (path and form.startswith(f"{kind}:")):
            return make(name, path, parse)
    if os.path.isdir(user_paths.expand(name)):  # False, too, if a name is too long
        return Folder(name, name, parse)
    hint = f"; did you mean {near!r}?" if (near := _nearest(name)) else "."
    raise ValueError(
        f"Unknown source {name!r}, and there is no such folder; known: {KNOWN}{hint}"
    )


def _nearest(name: str) -> str | None:
    """Returns the source that was probably meant, or None."""
    kind, colon, path = name.partition(":")
    if os.path.isfile(user_paths.expand(name)):
        return f"list:{name}"
    kinds = [form.partition(":")[0] for form in KINDS if ":" in form]
    if near := suggestions.nearest(kind, kinds):
        return f"{near}:{path}" if colon else f"{near}:PATH"
    return suggestions.nearest(name, [form for form in KINDS if ":" not in form])
