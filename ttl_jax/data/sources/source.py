"""The base class of all sources: values that open their photographs and pairs.

Methods raise ValueError as `source_names` does.
"""

import abc
import os
from collections.abc import Iterable, Sequence
from typing import Any

from ttl_jax.data.sources.photographs import Item, Pair, Photograph


class Source(abc.ABC):
    """Photographs or pairs with one name; nothing is read until they are opened.

    A kind of source is a subclass and a line in the table `source_names.KINDS`. The
    constructor gets the whole name, the text after the colon, and `source_names.parse`.

    Attributes:
      name: The source as users write it.
      absolute: The source with absolute paths, valid in any folder.
      root: Folder, ending in "/", below which the files are; "" if the names of
        photographs contain no folder.
      parts: Sources from which this one is made.
      is_live: Whether rain is rendered anew for each crop, which gives endless pairs.
      set_name: Name of the prepared set; None if the source is not one.
      split: Split of the prepared set; "" for all of them.
    """

    root: str = ""
    parts: "Sequence[Source]" = ()
    is_live: bool = False
    set_name: str | None = None
    split: str = ""

    def __init__(self, name: str):
        self.name = self.absolute = name

    @abc.abstractmethod
    def photographs(self, role: str) -> list[Photograph]:
        """Opens the photographs of a role; see `source_names.open_photographs`."""

    @abc.abstractmethod
    def pairs(self) -> list[Pair]:
        """Opens the pairs; see `source_names.open_pairs`."""

    def open(self, field: str) -> list[Any]:
        """Opens "rainy" or "clean" photographs, or "pairs"."""
        items = self.pairs() if field == "pairs" else self.photographs(field)
        check_distinct([(self.name, items)])
        return items

    def relative(self, name: str) -> str:
        """Returns the name of a photograph of this source without `root`."""
        return name.removeprefix(self.root)

    def bases(self) -> "list[Source]":
        """Returns the sources of files, records or packages from which this one is made."""
        return [base for part in self.parts for base in part.bases()] or [self]


def check_distinct(opened: Iterable[tuple[str, Sequence[Item]]]) -> None:
    """Raises ValueError if an item occurs twice.

    Args:
      opened: Names of sources, and their items.
    """
    origin: dict[str, str] = {}
    for name, items in opened:
        for item in items:
            key = os.path.abspath(item.name)  # equal for all spellings of a path
            if key in origin:
                remedy = "name each photograph once"
                if "\N{REPLACEMENT CHARACTER}" in item.name:
                    remedy += ", or rename files whose printable names are the same"
                raise ValueError(
                    f"{item.name} is in {origin[key]!r} and again in {name!r}; {remedy}."
                )
            origin[key] = name
