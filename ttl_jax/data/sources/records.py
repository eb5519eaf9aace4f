"""Prepared sets: records of encoded images, and an index of them.

The folder "<data folder>/<name>/<version>" of a set has ArrayRecord files, which
`tensorflow_datasets` can also read, `index.json` and `report.md`. It is written under
another name and renamed when it is complete.
"""

import functools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ttl_jax import user_paths

VERSION = "1.0.0"  # of the records and the index

Stamp = tuple[int, int] | None  # result of `stamp_of`

_INDEX = "index.json"
_FEATURES = "tensorflow_datasets.core.features"
_CLASSES = {
    f"{_FEATURES}.features_dict.FeaturesDict",
    f"{_FEATURES}.image_feature.Image",
    f"{_FEATURES}.text_feature.Text",
}


class Row(NamedTuple):
    """Entry of the index for one record.

    Attributes:
      name: Name, unique within the split.
      scene: Name shared by the records that show the same scene.
      width: Width of the upright image, in pixels.
      height: Height of the upright image, in pixels.
      num_bytes: Size of each of its images.
      last_file: Last file of the example; for pairs the clean image, which several rainy
        images may share.
    """

    name: str
    scene: str
    width: int
    height: int
    num_bytes: Sequence[int]
    last_file: str


class Index(NamedTuple):
    """Facts about a prepared set, without reading its records.

    Attributes:
      name: Name of the set.
      image_names: Image features of its records: rainy and clean, or image.
      splits: Rows of each split, in the order of its records.
      views: Splits that are parts of another split, by name: that split, and the
        positions in it.
      source: Origin of the set; see `preparation.Plan.source`.
      excluded: Files that were left out, and why.
    """

    name: str
    image_names: Sequence[str]
    splits: Mapping[str, Sequence[Row]]
    views: Mapping[str, tuple[str, Sequence[int]]]
    source: Mapping[str, Any]
    excluded: Sequence[tuple[str, str]]


def default_data_dir() -> pathlib.Path:
    """Returns $TTL_JAX_DATA_DIR, or the folder ttl_jax/data in the user's cache."""
    if folder := os.environ.get("TTL_JAX_DATA_DIR"):
        return user_paths.expand(folder)
    return user_paths.cache_folder("data")


def folder_of(data_dir: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the folder of the prepared set with a name."""
    return data_dir / name / VERSION


def read_index(folder: pathlib.Path) -> Index | None:
    """Returns the index of a prepared set, or None if there is no index.

    Raises:
      ValueError: If it cannot be read.
    """
    try:
        content = json.loads((folder / _INDEX).read_bytes())
        content["splits"] = {
            split: [Row(*row) for row in rows]
            for split, rows in content["splits"].items()
        }
        index = Index(**content)
        _check(index)
        return index
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError,
            RecursionError) as error:  # fmt: skip
        raise ValueError(
            f"{folder / _INDEX} cannot be read ({error!r}); prepare the set again with "
            "--overwrite."
        ) from error


def _check(index: Index) -> None:
    """Raises an error if a value is invalid."""
    if not isinstance(index.name, str):
        raise TypeError(f"invalid name {index.name!r}")
    source = index.source
    named = source["description"], source["digest"], *source.get("bases", ())
    if not all(isinstance(text, str) for text in named):
        raise TypeError(f"invalid source {source}")
    if sorted(index.image_names) not in (["image"], ["clean", "rainy"]):
        raise ValueError(f"invalid image names {index.image_names}")
    for row in (row for rows in index.splits.values() for row in rows):
        texts, sizes = (row.name, row.scene, row.last_file), row[2:4]
        if (
            not all(isinstance(text, str) for text in texts)
            or not all(isinstance(n, int) for n in (*sizes, *row.num_bytes))
            or len(row.num_bytes) != len(index.image_names)
        ):
            raise ValueError(f"invalid row {row}")
    for split, positions in index.views.values():
        for position in positions:
            index.splits[split][position]


def write_index(folder: pathlib.Path, index: Index) -> None:
    """Writes the index beside its records."""
    (folder / _INDEX).write_text(json.dumps(index._asdict()))


def stamp_of(folder: pathlib.Path) -> Stamp:
    """Returns a value that changes when the set is replaced; None if there is no index."""
    try:
        status = (folder / _INDEX).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def read_image(
    folder: pathlib.Path, stamp: Stamp, split: str, position: int, image: str
) -> bytes:
    """Returns the encoded bytes of one image; safe in any thread and process.

    Args:
      stamp: Result of `stamp_of` before the index was read.

    Raises:
      ValueError: If the set has another stamp now, so that the index is outdated.
    """
    try:
        # A forked process must not use the open files that it inherits.
        return _open_split(folder, stamp, split, os.getpid())[position][image]
    finally:
        if stamp_of(folder) != stamp:
            raise ValueError("the set was replaced after it was listed; start again")


@functools.cache
def _open_split(
    folder: pathlib.Path, stamp: Stamp, split: str, process_id: int
) -> Sequence[dict]:
    import tensorflow_datasets as tfds  # takes half a second

    # TFDS imports the module of any class that the file names.
    remaining = [json.loads((folder / "features.json").read_text("utf-8"))]
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict | list):
            remaining += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str) and "." in value and value not in _CLASSES:
            raise ValueError(
                f"{folder / 'features.json'} names {value!r}, which is not a feature of "
                "prepared sets; prepare the set again with --overwrite."
            )
    builder: Any = tfds.builder_from_directory(folder)
    encoded = {
        name: tfds.decode.SkipDecoding()
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    return builder.as_data_source(split, decoders=encoded)
