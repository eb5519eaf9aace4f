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


class _Record(NamedTuple):
    split: str
    position: int
    row: records.Row


class Records(Source):
    """A split of a prepared set, or all of them.

    Photographs are named "NAME/SPLIT/NAME OF THE EXAMPLE", the sides of pairs
    "NAME/SPLIT/rainy/NAME OF THE EXAMPLE" and likewise clean. They come in the order of
    the folder that the set was made from.
    """

    set_name: str

    def __init__(self, name, path, parse):
        del parse
        super().__init__(name)
        self.set_name, _, self.split = path.partition("/")

    def photographs(self, role: str) -> list[Photograph]:
        opened = self._open()
        if "image" in opened.index.image_names:
            return [opened.photograph(record, "image") for record in opened.records]
        if role == "rainy":
            return [opened.photograph(record, "rainy") for record in opened.records]
        clean = opened.clean_sides()
        return [clean[path] for path in image_folders.in_order(clean)]

    def pairs(self) -> list[Pair]:
        opened = self._open()
        if "rainy" not in opened.index.image_names:
            raise NoPairsError(
                f"{self.name!r} holds photographs, no pairs; prepare a folder of "
                "pairs by python -m ttl_jax.prepare pairs."
            )
        clean = opened.clean_sides()
        return [
            Pair(opened.photograph(record, "rainy"), clean[_clean_path(record)])
            for record in opened.records
        ]

    def _open(self) -> "_Opened":
        data_dir = records.default_data_dir().absolute()  # wherever it is loaded
        folder = records.folder_of(data_dir, self.set_name)
        index = records.read_index(folder)
        if index is None:
            raise ValueError(
                f"{self.name!r}: {data_dir} holds no prepared set {self.set_name!r}; "
                "make it by python -m ttl_jax.prepare, or set TTL_JAX_DATA_DIR to the "
                "folder where it is."
            )
        return _Opened(folder, index, self._select(index))

    def _select(self, index: records.Index) -> list[_Record]:
        if self.split in index.views:
            stored, positions = index.views[self.split]
            return [_Record(stored, i, index.splits[stored][i]) for i in positions]
        if self.split and self.split not in index.splits:
            known = [*index.splits, *index.views]
            raise ValueError(
                f"{self.name!r}: {index.name} has the splits "
                f"{suggestions.known_and_hint(self.split, known)}"
            )
        return [
            _Record(split, position, row)
            for split in ([self.split] if self.split else index.splits)
            for position, row in enumerate(index.splits[split])
        ]


class _Opened(NamedTuple):
    """The folder of a prepared set, its index, and the records of a source."""

    folder: pathlib.Path
    index: records.Index
    records: list[_Record]

    def clean_sides(self) -> dict[str, Photograph]:
        """By path: several rainy photographs may share one, which counts once."""
        first = {_clean_path(record): record for record in reversed(self.records)}
        return {path: self.photograph(r, "clean") for path, r in first.items()}

    def photograph(self, record: _Record, image: str) -> Photograph:
        split, position, row = record
        side = "" if image == "image" else f"{image}/"
        name = f"{self.index.name}/{split}/{side}{row.name}"
        num_bytes = row.num_bytes[self.index.image_names.index(image)]
        load = functools.partial(_load, name, self.folder, split, position, image)
        return Photograph(name, row.width, row.height, num_bytes, load)


def _clean_path(record: _Record) -> str:
    return f"{record.split}/{record.row.last_file}"


def _load(
    name: str, folder: pathlib.Path, split: str, position: int, image: str
) -> np.ndarray:
    try:
        data = records.read_image(folder, split, position, image)
    except Exception as error:  # TFDS and ArrayRecord raise nearly anything.
        reason = " ".join(str(error).split())
        raise ImageError(name, f"cannot be read from {folder}: {reason}") from error
    if not data:
        raise ImageError(name, f"is no longer in {folder}, whose records are truncated")
    return images.decode(data, name)
