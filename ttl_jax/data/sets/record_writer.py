"""Writes the records of a set with TensorFlow Datasets, and their index, atomically."""

import collections
import contextlib
import dataclasses
import fcntl
import functools
import io
import itertools
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ttl_jax import progress, threads
from ttl_jax.data.sources import records
from ttl_jax.data.sources.records import Index, Row

_MAX_SHARD_BYTES = 2**28  # TFDS keeps a whole shard in memory
_PNG_SHARE = 0.75  # bytes of a PNG of a photograph per byte of its pixels


class Part(NamedTuple):
    """Examples that are made together.

    Attributes:
      num_examples: Number of examples.
      num_bytes: Approximate size of their records.
      make: Returns the row and the encoded images of each example; any thread may call
        it. Raises ValueError if they cannot be made.
    """

    num_examples: int
    num_bytes: int
    make: Callable[[], Sequence[tuple[Row, Sequence[bytes]]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """Contents of a set to write.

    Attributes:
      image_names: Names of the images of each example: rainy and clean, or image.
      splits: Parts of each split, in order.
      views: Views, as in `records.Index`.
      excluded: Files left out, as in `records.Index`.
      summary: Short text for the user.
      report: Full text for the user, in Markdown.
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
    def parts(self) -> list[Part]:
        """The parts of all splits."""
        return list(itertools.chain(*self.splits.values()))


class _Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes examples in their given order as ArrayRecord, without TensorFlow.

    Images keep their encoded bytes. TFDS does not decode them, so any format can be
    written. The decoder of TFDS differs from ours for pixels that are not 8 bits deep, not
    grey or RGB, or not upright.

    `splits` has, for each split, a generator of the examples of each file.

    Note: `tfds.core.GeneratorBasedBuilder` needs TensorFlow for splits over 1 GB. This
    class keeps the examples of one file in memory.
    """

    VERSION = tfds.core.Version(records.VERSION)
    # Without this line TFDS would import a package that it does not require, to find the
    # checksums of downloads, which we do not have.
    code_path = None

    def __init__(self, name, image_names, splits, data_dir):
        # An attribute of the instance, since the class is used for all sets.
        self.name = name  # pyright: ignore[reportAttributeAccessIssue]
        self._image_names, self._splits = image_names, splits
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {name: tfds.features.Image() for name in self._image_names}
        features |= {name: tfds.features.Text() for name in ("name", "scene")}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager):
        return self._splits


@contextlib.contextmanager
def staging(data_dir: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """Yields an empty folder beside the prepared sets, which is removed at the end.

    Leftovers of a killed process are removed first. A set that it was replacing is put
    back.

    Raises:
      ValueError: If another process is preparing a set with this name.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / f".{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{name} is being prepared in {data_dir} by another process; wait for it."
            ) from error
        _finish_replacement(data_dir / name)
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
      source: Origin of the set, as in `records.Index`.

    Returns:
      The new folder "<name>/<version>" within `folder`.

    Raises:
      OSError: If they cannot be written, for example because the disk is full.
    """
    rows: dict[str, list[Row]] = {split: [] for split in contents.splits}
    num_examples = sum(part.num_examples for part in contents.parts)
    counter = progress.track(what="writing", total=num_examples, unit="example")
    with counter:

        def generate(split: str, parts: Sequence[Part]):
            """Yields the key and the record of each example, and stores its row."""
            # Few in advance, to bound the memory. Processes would not help: reading waits
            # for the disk, and rendering releases the GIL for 90 % of its time.
            made = threads.map_ahead(
                lambda part: part.make(), parts, num_ahead=threads.count_cpus()
            )
            for row, encoded in itertools.chain.from_iterable(made):
                images = dict(zip(contents.image_names, encoded, strict=True))
                key = len(rows[split])
                yield key, {"name": row.name, "scene": row.scene, **images}
                rows[split].append(row)
                counter.update()

        splits = {
            split: [functools.partial(generate, split, file) for file in _group(parts)]
            for split, parts in contents.splits.items()
        }
        builder = _Builder(name, contents.image_names, splits, folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints unknown sizes
                builder.download_and_prepare()
        except RuntimeError as error:  # ArrayRecord's kind of OSError
            raise OSError(f"Records cannot be written: {error}") from error
    written = pathlib.Path(builder.data_dir)
    index = Index(
        name, contents.image_names, rows, contents.views, source, contents.excluded
    )
    records.write_index(written, index)
    (written / "report.md").write_text(f"{contents.report}\n", "utf-8")
    return written


def publish(written: pathlib.Path, data_dir: pathlib.Path) -> None:
    """Moves a written set to its final folder; if that fails, an existing set stays."""
    target = data_dir / written.parent.name
    try:
        if target.exists():
            os.rename(target, _earlier(target))
        os.rename(written.parent, target)
    finally:
        _finish_replacement(target)


def _earlier(target: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a set while another one replaces it."""
    return target.with_name(f".{target.name}.replaced")


def _finish_replacement(target: pathlib.Path) -> None:
    """Removes the earlier set, or puts it back if no set has replaced it."""
    if target.exists():
        shutil.rmtree(_earlier(target), ignore_errors=True)
    elif _earlier(target).exists():
        os.rename(_earlier(target), target)


def encode_png(image: np.ndarray) -> bytes:
    """Returns a PNG file of an image, uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def estimate_png(width: int, height: int) -> int:
    """Returns the approximate size of `encode_png` of a photograph, in bytes."""
    return int(_PNG_SHARE * 3 * width * height)


def _group(parts: Sequence[Part]) -> list[list[Part]]:
    """Groups parts by the file to which they are written."""
    files = collections.defaultdict(list)
    start = 0
    for part in parts:
        files[start // _MAX_SHARD_BYTES].append(part)
        start += part.num_bytes
    return list(files.values())
