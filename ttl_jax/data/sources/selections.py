"""Photographs and pairs by their names: what a text file picks out of sources.

A selection is a text file in sections. A line `[SOURCE]` begins one; the lines below it
name photographs of that source, or its pairs, the rainy side's name and the clean one's
with a TAB between them. Files of a folder: or list: are named by their path within that
folder, or that of the list. Lines that begin with # are comments. For example

  # Protocol test1, seed 0
  [tfds:rain1200/test]
  rain1200/test/rainy/17<TAB>rain1200/test/clean/17

As the source `selection:FILE` it is read by whatever reads sources.
"""

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from ttl_jax import user_paths
from ttl_jax.data.files import decoding, images

PREFIX = "selection:"
_FILES = ("folder", "list")  # kinds of sources whose photographs are named by paths

Item = TypeVar("Item")  # a Photograph or a Pair


class Section(NamedTuple):
    """What is picked out of one source.

    Attributes:
      source: Its name.
      lines: The photographs' names, one in each, or the pairs', rainy and clean.
    """

    source: str
    lines: list[tuple[str, ...]]


def absolute(source: str) -> str:
    """The same source by a path that holds wherever it is read."""
    kind, path = _split(source)
    return source if path is None else f"{kind}:{path.absolute()}"


def _split(source: str) -> tuple[str, pathlib.Path | None]:
    """The kind of a source and its path, None if it has none."""
    kind, _, path = source.partition(":")
    if kind in _FILES:
        return kind, user_paths.expand(path)
    if kind.partition("/")[0] != "sample" and user_paths.expand(source).is_dir():
        return "folder", user_paths.expand(source)
    return kind, None


def root_of(source: str) -> str:
    """The folder that the names of a source's photographs begin with, "" if none."""
    kind, path = _split(source)
    if path is None:
        return ""
    folder = str(path if kind == "folder" else path.parent)
    # A list in the current folder names its files without it; a folder "." does not.
    return "" if kind == "list" and folder == "." else f"{decoding.printable(folder)}/"


def select(items: Iterable[Item], names: Iterable[str], root: str = "") -> list[Item]:
    """The items of these names, in the order of the names, each once.

    Args:
      items: What is selected from.
      names: As a selection has them.
      root: What `root_of` the source is.

    Raises:
      ValueError: If there is none of some name.
    """
    by_name = {item.name: item for item in items}
    wanted = list(dict.fromkeys(os.path.join(root, name) for name in names))
    if missing := [name for name in wanted if name not in by_name]:
        raise ValueError(
            f"{len(missing)} of {len(wanted)} names are not among the "
            f"{len(by_name)} photographs: {images.name_some(missing)}. Was the "
            "selection made from another version, or in another folder?"
        )
    return [by_name[name] for name in wanted]


def read(file: str | os.PathLike[str]) -> list[Section]:
    """The sections of a text file, which all hold photographs or all hold pairs.

    Raises:
      ValueError: If it cannot be read, or a line is at fault.
    """
    lines = user_paths.read_text_lines(file, "The selection is")
    sections: list[Section] = []
    for number, line in lines:
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            sections.append(Section(_source(file, number, line[1:-1]), []))
        elif not sections:
            raise ValueError(
                f"{file}, line {number}: {line!r} is in no section; a line [SOURCE] is "
                "to name its source."
            )
        else:
            sections[-1].lines.append(tuple(name.strip() for name in line.split("\t")))
    _check_columns(file, sections)
    return [section for section in sections if section.lines]


def _source(file: str | os.PathLike[str], number: int, name: str) -> str:
    if PREFIX in name:  # also within another source, as rain:selection:FILE
        raise ValueError(
            f"{file}, line {number}: a selection of {name!r} would be one of a "
            "selection; name the sources of that file."
        )
    return name


def _check_columns(file: str | os.PathLike[str], sections: Sequence[Section]) -> None:
    columns = {len(line) for section in sections for line in section.lines}
    if columns not in ({1}, {2}):
        raise ValueError(
            f"{file}: expected is a name in every line, or the two of a pair with a TAB "
            f"between in every line; there are lines of {sorted(columns) or 'none'}."
        )


def to_text(comments: Iterable[str], sections: Iterable[Section]) -> str:
    """The text file of some sections; those without lines are left out."""
    lines = [f"# {comment}" for comment in comments]
    for section in sections:
        if section.lines:
            lines.append(f"[{section.source}]")
            lines += ["\t".join(names) for names in section.lines]
    return "\n".join(lines) + "\n"
