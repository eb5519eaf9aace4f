"""Prepared sets: records of encoded images, and an index of them.

A set lies in "<data folder>/<name>/<version>": ArrayRecord files that
`tensorflow_datasets` also reads, `index.json` and `report.md`. It is put there whole, by
one renaming, when all of it is written.
"""

import contextlib
import fcntl
import functools
import io
import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tqdm
from PIL import Image

from ttl_jax.data import images
from ttl_jax.data.pair_checks import Checked, CheckedExample, split_halves
from ttl_jax.data.raw_sets import RawSet

VERSION = "1.0.0"  # of the records and the index

_IMAGES = {
    "pairs": ("rainy", "clean"),
    "halves": ("rainy", "clean"),
    "photos": ("image",),
}
_INDEX = "index.json"
_MAX_SHARD_BYTES = 2**28  # TFDS holds as much in memory
# A PNG of a photograph takes about so many bytes for each of its pixels' bytes.
_PNG_SHARE = 0.75


class Row(NamedTuple):
    """What the index knows of one record.

    Attributes:
      name: Unique within the split.
      scene: Shared by the records that show the same scene.
      width: In pixels, upright.
      height: In pixels, upright.
      num_bytes: Of each of its images.
      last_file: Of the source: the clean image of a pair, which several rainy ones may
        share.
    """

    name: str
    scene: str
    width: int
    height: int
    num_bytes: Sequence[int]
    last_file: str


class Index(NamedTuple):
    """What is known of a prepared set without reading its records.

    Attributes:
      name: Of the set.
      image_names: Features of its records: rainy and clean, or image.
      splits: Row i is of record i.
      views: Splits that are parts of another one: its name, and the positions in it.
      source: Where it came from, see `preparation`.
      excluded: Files that were left out, and why.
    """

    name: str
    image_names: Sequence[str]
    splits: Mapping[str, Sequence[Row]]
    views: Mapping[str, tuple[str, Sequence[int]]]
    source: Mapping[str, Any]
    excluded: Sequence[tuple[str, str]]


def default_data_dir() -> pathlib.Path:
    """$TTL_JAX_DATA_DIR, or the folder ttl_jax/data in the user's cache."""
    if folder := os.environ.get("TTL_JAX_DATA_DIR"):
        return pathlib.Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(cache, "ttl_jax", "data")


def folder_of(data_dir: pathlib.Path, name: str) -> pathlib.Path:
    """Where a set of that name is, once it is prepared."""
    return data_dir / name / VERSION


def read_index(folder: pathlib.Path) -> Index | None:
    """The index of a prepared set; None where there is none.

    Raises:
      ValueError: If it cannot be read.
    """
    try:
        content = json.loads((folder / _INDEX).read_bytes())
        content["splits"] = {
            split: [Row(*row) for row in rows]
            for split, rows in content["splits"].items()
        }
        return Index(**content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{folder / _INDEX} cannot be read ({error!r}); prepare the set again with "
            "--overwrite."
        ) from error


def read_image(folder: pathlib.Path, split: str, position: int, image: str) -> bytes:
    """The encoded bytes of one image of a record; any thread and process may call it."""
    # What a forked process inherits of open records is not its own.
    return _open_split(folder, split, os.getpid())[position][image]


@functools.cache
def _open_split(folder: pathlib.Path, split: str, process_id: int) -> Sequence[dict]:
    import tensorflow_datasets as tfds  # takes half a second

    builder = tfds.builder_from_directory(folder)
    encoded = {
        name: tfds.decode.SkipDecoding()
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    return builder.as_data_source(split, decoders=encoded)


# Writing


@contextlib.contextmanager
def staging(data_dir: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """An empty folder beside the prepared sets, to itself and removed in the end.

    What a killed process left is removed first.

    Raises:
      ValueError: If another process prepares a set of that name.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / f".{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{name} is being prepared in {data_dir} by another process; wait for "
                "it."
            ) from error
        folder = data_dir / f".{name}.incomplete"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write(
    raw_set: RawSet,
    root: pathlib.Path,
    checked: Checked,
    source: Mapping[str, Any],
    folder: pathlib.Path,
) -> pathlib.Path:
    """Writes the records of a set and their index.

    Args:
      raw_set: Under the name that it is to have.
      root: The folder of the set as distributed.
      checked: What to write.
      source: To be kept in the index.
      folder: Where to write "<name>/<version>".

    Returns:
      The folder "<name>/<version>".

    Raises:
      ValueError: If a file is no longer what was checked.
    """
    from ttl_jax.data import record_builder  # takes half a second

    rows: dict[str, list[Row]] = {split: [] for split in checked.splits}
    progress = tqdm.tqdm(
        desc="writing",
        total=sum(map(len, checked.splits.values())),
        unit="example",
        disable=None,  # shown in a terminal only
    )

    def generate(split: str, examples: Sequence[CheckedExample]) -> Iterator:
        for example in examples:
            encoded = _encode(raw_set, root, example)
            rows[split].append(_make_row(example, encoded))
            yield (
                len(rows[split]),
                {
                    "name": example.raw.name,
                    "scene": example.raw.scene,
                    **dict(zip(_IMAGES[raw_set.kind], encoded, strict=True)),
                },
            )
            progress.update()

    with progress:
        written = record_builder.RecordBuilder(
            raw_set.name,
            _IMAGES[raw_set.kind],
            {
                split: [
                    functools.partial(generate, split, shard)
                    for shard in _group(raw_set, examples)
                ]
                for split, examples in checked.splits.items()
            },
            folder,
        ).write()
    index = Index(
        raw_set.name,
        _IMAGES[raw_set.kind],
        rows,
        _make_views(raw_set, rows),
        source,
        checked.excluded,
    )
    (written / _INDEX).write_text(json.dumps(index._asdict()))
    return written


def publish(written: pathlib.Path, data_dir: pathlib.Path) -> pathlib.Path:
    """Moves a written set to its place, and what was there out of the way."""
    name = written.parent.name
    target = data_dir / name
    if target.exists():
        os.rename(target, written.parent.with_name("replaced"))
    os.rename(written.parent, target)
    return folder_of(data_dir, name)


def estimate_bytes(raw_set: RawSet, example: CheckedExample) -> int:
    """About how many bytes the record of an example will have."""
    if raw_set.kind == "halves":
        return int(_PNG_SHARE * 3 * 2 * example.width * example.height)
    return sum(example.num_bytes)


def _group(
    raw_set: RawSet, examples: Sequence[CheckedExample]
) -> list[list[CheckedExample]]:
    """Examples by the file that they are written to."""
    groups: list[list[CheckedExample]] = []
    total = 0
    for example in examples:
        if not groups or total > _MAX_SHARD_BYTES:
            groups.append([])
            total = 0
        groups[-1].append(example)
        total += estimate_bytes(raw_set, example)
    return groups


def _encode(
    raw_set: RawSet, root: pathlib.Path, example: CheckedExample
) -> list[bytes]:
    """The bytes of each image: as in its file, or PNG where it is half of one."""
    contents = [(root / file).read_bytes() for file in example.raw.files]
    for file, content, checksum in zip(
        example.raw.files, contents, example.checksums, strict=True
    ):
        if zlib.crc32(content) != checksum:
            raise ValueError(
                f"{root / file} changed while the set was prepared; do it again."
            )
    if raw_set.kind != "halves":
        return contents
    image = images.decode(contents[0], example.raw.files[0])
    return [_encode_png(half) for half in split_halves(image, raw_set.rainy_half)]


def _encode_png(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _make_row(example: CheckedExample, encoded: Sequence[bytes]) -> Row:
    raw = example.raw
    # A half has no file of its own.
    last_file = raw.files[-1] if len(raw.files) == len(encoded) else raw.name
    num_bytes = [len(data) for data in encoded]
    return Row(raw.name, raw.scene, example.width, example.height, num_bytes, last_file)


def _make_views(
    raw_set: RawSet, rows: Mapping[str, Sequence[Row]]
) -> dict[str, tuple[str, list[int]]]:
    return {
        view: (
            split,
            [
                position
                for position, row in enumerate(rows[split])
                if first <= int(row.scene) <= last
            ],
        )
        for view, (split, first, last) in raw_set.views.items()
    }
