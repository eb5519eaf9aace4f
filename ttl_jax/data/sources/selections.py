"""The source selection:FILE: a text file that selects from other sources by name.

The file has sections. A section begins with a line `[SOURCE]`. The lines below it name
photographs of that source, or pairs: the names of the rainy and the clean side, separated by
a TAB. Photographs of folder: and list: are named by their path relative to the folder, or to
the folder of the list. Sources made from these add a prefix: structures:CLEAN has names
such as structures:a.png#1, and rain:CLEAN such as rain:a.png. Lines that begin with
"# " are comments. Invalid lines, missing names, and pairs whose sides have other names
raise ValueError. For example

  # Protocol test1, seed 0
  [tfds:rain1200/test]
  rain1200/test/rainy/17<TAB>rain1200/test/clean/17
"""

import functools
import os
from collections.abc import Iterable
from typing import NamedTuple

from ttl_jax import suggestions, user_paths
from ttl_jax.data.sources.photographs import Item, NoPairsError
from ttl_jax.data.sources.source import Source


class Section(NamedTuple):
    """Names that are selected from one source.

    Attributes:
      source: Name of the source.
      lines: Tuples with the name of a photograph, or of both sides of a pair.
    """

    source: str
    lines: list[tuple[str, ...]]


class Selection(Source):
    """The photographs or pairs that the sections of a file select."""

    def __init__(self, name, path, parse):
        super().__init__(name)
        self._file, self._parse = path, parse
        self.absolute = f"selection:{user_paths.expand(path).absolute()}"

    @functools.cached_property
    def _sections(self) -> list[Section]:
        return read(self._file)

    @functools.cached_property
    def parts(self):
        return [self._parse(section.source) for section in self._sections]

    @property
    def is_live(self):
        return any(part.is_live for part in self.parts)

    def photographs(self, role):
        if len(self._sections[0].lines[0]) == 1:
            return self._select(role)
        sides = [getattr(pair, role) for pair in self.pairs()]
        # Several rainy photographs may share a clean one, which is listed once.
        return list({side.name: side for side in sides}.values())

    def pairs(self):
        if len(self._sections[0].lines[0]) == 1:
            raise NoPairsError(
                f"{self.name!r} has one column, photographs; pairs need two."
            )
        return self._select("pairs")

    def _select(self, field: str) -> list:
        """Returns the selected items, each once, in the order of the lines."""
        selected = []
        for section, source in zip(self._sections, self.parts, strict=True):
            items = source.open(field)
            by_name = {item.name: item for item in items}
            by_name |= {source.relative(item.name): item for item in items}
            wanted = dict.fromkeys(names[0] for names in section.lines)
            if missing := [name for name in wanted if name not in by_name]:
                raise ValueError(
                    f"{len(missing)} of {len(wanted)} names are not among the "
                    f"{len(items)} photographs of {source.name!r}: "
                    f"{suggestions.name_some(missing)}. Was the selection made from another "
                    "version, or in another folder?"
                )
            for names in section.lines:
                _check_sides(self.name, source, by_name[names[0]], names)
            found = [by_name[name] for name in wanted]
            selected += {item.name: item for item in found}.values()
        return selected


def _check_sides(
    selection: str, source: Source, item: Item, names: tuple[str, ...]
) -> None:
    """Raises ValueError if an item has other sides than a line of a selection names."""
    for side, name in zip(item.sides, names, strict=True):
        own = source.relative(side.name)
        if name not in (own, side.name):
            raise ValueError(
                f"{selection!r} pairs {names[0]} with {name}, but {source.name!r} pairs it "
                f"with {own}. Was the selection made from another version? Make it again, "
                "or correct the line."
            )


def read(file: str | os.PathLike[str]) -> list[Section]:
    """Returns the sections of a file, which all have photographs or all have pairs."""
    sections: list[Section] = []
    for number, line in user_paths.read_text_lines(file, "The selection is"):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            sections.append(Section(line[1:-1], []))
            if (
                "selection:" in line
            ):  # also within another source, such as rain:selection:FILE
                raise ValueError(
                    f"{file}, line {number}: {line} is a selection within a selection; "
                    "name the sources of that file instead."
                )
        elif not sections:
            raise ValueError(
                f"{file}, line {number}: {line!r} is not in a section; begin one with a "
                "line [SOURCE]."
            )
        else:
            sections[-1].lines.append(tuple(name.strip() for name in line.split("\t")))
    columns = {len(line) for section in sections for line in section.lines}
    if columns not in ({1}, {2}):
        raise ValueError(
            f"{file}: expected one name in every line, or two names with a TAB between "
            f"them; numbers of names per line: {sorted(columns) or 'no lines'}."
        )
    return [section for section in sections if section.lines]


def to_text(comments: Iterable[str], sections: Iterable[Section]) -> str:
    """Returns the text file of some sections; those without lines are left out.

    Raises:
      ValueError: If `read` would not find a name again.
    """
    lines = [f"# {comment}" for comment in comments]
    for section in sections:
        if section.lines:
            lines += [f"[{section.source}]", *map(_to_line, section.lines)]
    return "\n".join(lines) + "\n"


def _to_line(names: tuple[str, ...]) -> str:
    line = "\t".join(names)
    is_syntax = (
        f"{line} ".startswith("# ") or line.startswith("[") and line.endswith("]")
    )
    if is_syntax or any(name != name.strip() for name in names):
        raise ValueError(
            f"{line!r} cannot be in a selection: names must not begin with '# ', have "
            "spaces at an end, or be in brackets. Rename the file."
        )
    return line
