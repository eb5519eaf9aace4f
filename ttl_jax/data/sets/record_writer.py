"""Writes the records of a set and their index, to appear all at once."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import functools
import io
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from PIL import Image

from ttl_jax.data.sources import records
from ttl_jax.data.sources.records import Index, Row

_MAX_SHARD_BYTES = 2**28  # TFDS holds as much in memory
# A PNG of a photograph takes about so many bytes for each of its pixels' bytes.
_PNG_SHARE = 0.75


@dataclasses.dataclass(frozen=True)
class Part:
    """Examples that are made together.

    Attributes:
      num_examples: How many.
      num_bytes: About the size of their records.
      make: Returns the row and the encoded images of each; any thread may call it.
        Raises a ValueError if they cannot be made.
    """

    num_examples: int
    num_bytes: int
    make: Callable[[], Sequence[tuple[Row, Sequence[bytes]]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What is written of a set.

    Attributes:
      image_names: Of the images of each example: rainy and clean, or image.
      splits: What makes the examples of each split, in order.
      views: As `records.Index`.
      excluded: As `records.Index`.
      summary: What there is to tell, for people.
      report: All of it, in Markdown.
    """

    image_names: Sequence[str]
    splits: Mapping[str, Sequence[Part]]
    views: Mapping[str, tuple[str, Sequence[int]]] = dataclasses.field(
        default_factory=dict
    )
    excluded: Sequence[tuple[str, str]] = ()
    summary: str
    report: str

    @property
    def num_bytes(self) -> int:
        """About the size of all records."""
        return sum(part.num_bytes for parts in self.splits.values() for part in parts)


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
    name: str, contents: Contents, source: Mapping[str, Any], folder: pathlib.Path
) -> pathlib.Path:
    """Writes the records of a set, their index and the report.

    Args:
      name: Of the set.
      contents: What to write.
      source: To be kept in the index.
      folder: Where to write "<name>/<version>".

    Returns:
      The folder "<name>/<version>".

    Raises:
      ValueError: If an example cannot be made.
      OSError: If the records cannot be written.
    """
    from ttl_jax.data.sets import record_builder

    rows: dict[str, list[Row]] = {split: [] for split in contents.splits}
    with _made_ahead() as make_all, _progress(contents) as progress:

        def generate(split: str, parts: Sequence[Part]):
            """What `record_builder` writes of each example, whose row is kept."""
            for row, encoded in make_all(parts):
                images = dict(zip(contents.image_names, encoded, strict=True))
                key = len(rows[split])
                yield key, {"name": row.name, "scene": row.scene, **images}
                rows[split].append(row)
                progress.update()

        splits = {
            split: [
                functools.partial(generate, split, shard) for shard in _group(parts)
            ]
            for split, parts in contents.splits.items()
        }
        builder = record_builder.RecordBuilder(
            name, contents.image_names, splits, folder
        )
        written = builder.write()
    index = Index(
        name, contents.image_names, rows, contents.views, source, contents.excluded
    )
    records.write_index(written, index)
    (written / "report.md").write_text(f"{contents.report}\n", "utf-8")
    return written


def publish(written: pathlib.Path, data_dir: pathlib.Path) -> pathlib.Path:
    """Moves a written set to its place, and what was there out of the way."""
    name = written.parent.name
    target = data_dir / name
    if target.exists():
        os.rename(target, written.parent.with_name("replaced"))
    os.rename(written.parent, target)
    return records.folder_of(data_dir, name)


def encode_png(image: np.ndarray) -> bytes:
    """A PNG file of an image, uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def estimate_png(width: int, height: int) -> int:
    """About how many bytes `encode_png` makes of a photograph."""
    return int(_PNG_SHARE * 3 * width * height)


def _group(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts by the file that they are written to."""
    groups: list[list[Part]] = []
    total = 0
    for part in parts:
        if not groups or total > _MAX_SHARD_BYTES:
            groups.append([])
            total = 0
        groups[-1].append(part)
        total += part.num_bytes
    return groups


@contextlib.contextmanager
def _made_ahead() -> Iterator[Callable[[Sequence[Part]], Iterator]]:
    """A function that yields the examples of parts in order, made by threads.

    No more parts than threads are made ahead of what is taken, as memory is bounded.
    Threads do: reading files waits for the disk, and of the time that rendering takes,
    nine tenths leave Python's lock to others.
    """
    num_threads = os.cpu_count()
    pool = concurrent.futures.ThreadPoolExecutor(num_threads)

    def make_all(parts: Sequence[Part]):
        pending = collections.deque()
        for part in parts:
            pending.append(pool.submit(part.make))
            if len(pending) > num_threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()

    try:
        yield make_all
    finally:
        pool.shutdown(cancel_futures=True)


def _progress(contents: Contents) -> tqdm.tqdm:
    return tqdm.tqdm(
        desc="writing",
        total=sum(
            part.num_examples for parts in contents.splits.values() for part in parts
        ),
        unit="example",
        disable=None,  # shown in a terminal only
    )
