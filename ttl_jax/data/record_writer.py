"""Writes the records of a set and their index, to appear all at once."""

import contextlib
import fcntl
import functools
import io
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from PIL import Image

from ttl_jax.data import decoding, images, records
from ttl_jax.data.pair_checks import Checked, CheckedExample, split_halves
from ttl_jax.data.raw_sets import RawSet
from ttl_jax.data.records import Index, Row

_IMAGES = {
    "pairs": ("rainy", "clean"),
    "halves": ("rainy", "clean"),
    "photos": ("image",),
}
_MAX_SHARD_BYTES = 2**28  # TFDS holds as much in memory
# A PNG of a photograph takes about so many bytes for each of its pixels' bytes.
_PNG_SHARE = 0.75


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

    image_names = _IMAGES[raw_set.kind]
    rows: dict[str, list[Row]] = {split: [] for split in checked.splits}
    with tqdm.tqdm(
        desc="writing",
        total=sum(map(len, checked.splits.values())),
        unit="example",
        disable=None,  # shown in a terminal only
    ) as progress:
        splits = {
            split: [
                functools.partial(
                    _generate, raw_set, root, shard, rows[split], progress
                )
                for shard in _group(raw_set, examples)
            ]
            for split, examples in checked.splits.items()
        }
        written = record_builder.RecordBuilder(
            raw_set.name, image_names, splits, folder
        ).write()
    views = _make_views(raw_set, rows)
    index = Index(raw_set.name, image_names, rows, views, source, checked.excluded)
    records.write_index(written, index)
    return written


def publish(written: pathlib.Path, data_dir: pathlib.Path) -> pathlib.Path:
    """Moves a written set to its place, and what was there out of the way."""
    name = written.parent.name
    target = data_dir / name
    if target.exists():
        os.rename(target, written.parent.with_name("replaced"))
    os.rename(written.parent, target)
    return records.folder_of(data_dir, name)


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


def _generate(
    raw_set: RawSet,
    root: pathlib.Path,
    examples: Sequence[CheckedExample],
    rows: list[Row],
    progress: tqdm.tqdm,
) -> Iterator[tuple[int, dict]]:
    """What `record_builder` writes of each example; its row is added to the others."""
    for example in examples:
        encoded = _encode(raw_set, root, example)
        row = _make_row(example, encoded)
        content = dict(zip(_IMAGES[raw_set.kind], encoded, strict=True))
        yield len(rows), {"name": row.name, "scene": row.scene, **content}
        rows.append(row)
        progress.update()


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


def _encode_png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _make_row(example: CheckedExample, encoded: Sequence[bytes]) -> Row:
    raw = example.raw
    # A half has no file of its own.
    last_file = raw.files[-1] if len(raw.files) == len(encoded) else raw.name
    return Row(
        decoding.printable(raw.name),
        decoding.printable(raw.scene),
        example.width,
        example.height,
        [len(data) for data in encoded],
        last_file,
    )


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
