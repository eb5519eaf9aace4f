"""The source tfds:NAME/SPLIT: photographs and pairs out of prepared records."""

import functools
import pathlib
from typing import NamedTuple

import numpy as np

from ttl_jax import suggestions
from ttl_jax.data.files import image_folders, images
from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.sources import records
from ttl_jax.data.sources.photographs import NoPairsError, Pair, Photograph


class _Record(NamedTuple):
    split: str
    position: int
    row: records.Row


class Records:
    """A split of a prepared set, or all of them.

    Photographs are named "NAME/SPLIT/NAME OF THE EXAMPLE", the sides of pairs
    "NAME/SPLIT/rainy/NAME OF THE EXAMPLE" and likewise clean. They come in the order of
    the folder that the set was made from.

    Args:
      path: "NAME/SPLIT" or "NAME".

    Raises:
      ValueError: If no such set is prepared, or it has no such split.
    """

    def __init__(self, path: str):
        name, _, split = path.partition("/")
        data_dir = records.default_data_dir().absolute()  # wherever it is loaded
        self._source = f"tfds:{path}"
        self._folder = records.folder_of(data_dir, name)
        index = records.read_index(self._folder)
        if index is None:
            raise ValueError(
                f"{self._source!r}: {data_dir} holds no prepared set {name!r}; make it "
                "by python -m ttl_jax.prepare, or set TTL_JAX_DATA_DIR to the folder "
                "where it is."
            )
        self._index = index
        self._records = self._find(split)

    def photographs(self, role: str) -> list[Photograph]:
        """As `sources.open_photographs`, of this source alone."""
        if "image" in self._index.image_names:
            return [self._photograph(record, "image") for record in self._records]
        if role == "rainy":
            return [self._photograph(record, "rainy") for record in self._records]
        clean = self._clean_sides()
        return [clean[path] for path in image_folders.in_order(clean)]

    def pairs(self) -> list[Pair]:
        """As `sources.open_pairs`, of this source alone."""
        if "rainy" not in self._index.image_names:
            raise NoPairsError(
                f"{self._source!r} holds photographs, no pairs; prepare a folder of "
                "pairs by python -m ttl_jax.prepare pairs."
            )
        clean = self._clean_sides()
        return [
            Pair(self._photograph(record, "rainy"), clean[_clean_path(record)])
            for record in self._records
        ]

    def _clean_sides(self) -> dict[str, Photograph]:
        """By path: several rainy photographs may share one, which counts once."""
        first = {_clean_path(record): record for record in reversed(self._records)}
        return {path: self._photograph(r, "clean") for path, r in first.items()}

    def _find(self, split: str) -> list[_Record]:
        index = self._index
        if split in index.views:
            stored, positions = index.views[split]
            return [_Record(stored, i, index.splits[stored][i]) for i in positions]
        known = [*index.splits, *index.views]
        if split and split not in index.splits:
            raise ValueError(
                f"{self._source!r}: {index.name} has the splits "
                f"{suggestions.known_and_hint(split, known)}"
            )
        return [
            _Record(name, position, row)
            for name in ([split] if split else index.splits)
            for position, row in enumerate(index.splits[name])
        ]

    def _photograph(self, record: _Record, image: str) -> Photograph:
        row = record.row
        side = "" if image == "image" else f"{image}/"
        name = f"{self._index.name}/{record.split}/{side}{row.name}"
        return Photograph(
            name,
            row.width,
            row.height,
            row.num_bytes[self._index.image_names.index(image)],
            functools.partial(
                _load, name, self._folder, record.split, record.position, image
            ),
        )


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
        raise ImageError(name, f"is no more in {folder}, whose records are cut off")
    return images.decode(data, name)
