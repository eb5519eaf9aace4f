"""The source tfds:NAME/SPLIT: photographs and pairs from prepared records."""

import functools
import pathlib
from typing import NamedTuple

import numpy as np

from ttl_jax import suggestions
from ttl_jax.data.files import image_folders, images
from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.sources import records
from ttl_jax.data.sources.photographs import NoPairsError, Pair, Photograph
from ttl_jax.data.sources.source import Source

# Split and position of a record, and its row.
_Record = tuple[str, int, records.Row]


class _Prepared(NamedTuple):
    """A prepared set: its folder, its stamp and its index."""

    folder: pathlib.Path
    stamp: records.Stamp
    index: records.Index


class Records(Source):
    """A split of a prepared set, or all of them.

    Photographs are named "NAME/SPLIT/NAME OF THE EXAMPLE", and the sides of pairs
    "NAME/SPLIT/rainy/NAME OF THE EXAMPLE" and the same with clean. They have the order of
    the folder from which the set was made.
    """

    set_name: str

    def __init__(self, name, path, parse):
        super().__init__(name)
        self.set_name, _, self.split = path.partition("/")
        self._parse = parse

    def bases(self) -> list[Source]:
        """Returns this source, and those on whose photographs its rain was rendered."""
        index = records.read_index(
            records.folder_of(records.default_data_dir(), self.set_name)
        )
        # Sets made by earlier versions do not name them.
        named = index.source.get("bases", ()) if index else ()
        return [self, *map(self._parse, named)]

    def photographs(self, role: str) -> list[Photograph]:
        prepared, selected = self._open()
        image_names = prepared.index.image_names
        if role == "rainy" or "image" in image_names:
            image = "image" if "image" in image_names else role
            return [_photograph(prepared, record, image) for record in selected]
        clean = _clean_sides(prepared, selected)
        return [clean[path] for path in image_folders.in_order(clean)]

    def pairs(self) -> list[Pair]:
        """Opens the pairs of the set's selected splits."""
        prepared, selected = self._open()
        if "rainy" not in prepared.index.image_names:
            raise NoPairsError(
                f"{self.name!r} holds photographs, no pairs; prepare a folder of pairs "
                "with python -m ttl_jax.prepare pairs."
            )
        clean = _clean_sides(prepared, selected)
        return [
            Pair(_photograph(prepared, record, "rainy"), clean[_clean_path(record)])
            for record in selected
        ]

    def _open(self) -> tuple[_Prepared, list[_Record]]:
        """Returns the set, and the records of this source."""
        data_dir = (
            records.default_data_dir().absolute()
        )  # the current folder may change
        folder = records.folder_of(data_dir, self.set_name)
        stamp = records.stamp_of(folder)  # before the index, which may be replaced
        index = records.read_index(folder)
        if index is None:
            raise ValueError(
                f"{self.name!r}: {data_dir} holds no prepared set {self.set_name!r}; "
                "make it with python -m ttl_jax.prepare, or set TTL_JAX_DATA_DIR to its "
                "folder."
            )
        return _Prepared(folder, stamp, index), self._select(index)

    def _select(self, index: records.Index) -> list[_Record]:
        if self.split in index.views:
            split, positions = index.views[self.split]
            return [(split, i, index.splits[split][i]) for i in positions]
        if self.split and self.split not in index.splits:
            known = [*index.splits, *index.views]
            raise ValueError(
                f"{self.name!r}: {index.name} has the splits "
                f"{suggestions.known_and_hint(self.split, known)}"
            )
        return [
            (split, i, row)
            for split in ([self.split] if self.split else index.splits)
            for i, row in enumerate(index.splits[split])
        ]


def _clean_sides(prepared: _Prepared, selected: list[_Record]) -> dict[str, Photograph]:
    """Returns clean sides by path; several rainy photographs may share one."""
    first = {_clean_path(record): record for record in reversed(selected)}
    return {path: _photograph(prepared, r, "clean") for path, r in first.items()}


def _photograph(prepared: _Prepared, record: _Record, image: str) -> Photograph:
    folder, stamp, index = prepared
    split, position, row = record
    side = "" if image == "image" else f"{image}/"
    name = f"{index.name}/{split}/{side}{row.name}"
    num_bytes = row.num_bytes[index.image_names.index(image)]
    load = functools.partial(_load, name, folder, stamp, split, position, image)
    scene = f"{index.name}/{split}/{row.scene}"
    return Photograph(name, row.width, row.height, num_bytes, load, scene=scene)


def _clean_path(record: _Record) -> str:
    split, _, row = record
    return f"{split}/{row.last_file}"


def _load(
    name: str,
    folder: pathlib.Path,
    stamp: records.Stamp,
    split: str,
    position: int,
    image: str,
) -> np.ndarray:
    try:
        data = records.read_image(folder, stamp, split, position, image)
    except Exception as error:  # TFDS and ArrayRecord raise nearly anything.
        reason = " ".join(str(error).split())
        raise ImageError(name, f"cannot be read from {folder}: {reason}") from error
    if not data:
        raise ImageError(name, f"is missing in {folder}, whose records are truncated")
    return images.decode(data, name)
