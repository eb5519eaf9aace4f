"""Files and folders that are written completely or not at all."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a binary stream that becomes the file when the block ends without an exception.

    Until then an earlier file at `path` stays unchanged. If the block fails, nothing is
    left behind. The stream is a hidden file in the same folder, since renaming is atomic
    only within one file system.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{os.urandom(8).hex()}.partial")
    try:
        with open(partial, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty folder, which replaces the one at `path` when the block ends.

    If the block fails, the earlier folder stays, and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as work:
        made, earlier = pathlib.Path(work, "made"), pathlib.Path(work, "earlier")
        made.mkdir()
        yield made
        try:
            if path.exists():
                path.rename(earlier)
            made.rename(path)
        except BaseException:  # Ctrl-C too: `earlier` would be removed with `work`
            if earlier.exists() and not path.exists():
                earlier.rename(path)
            raise


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raises ValueError if no file can be written to a folder; leaves nothing behind.

    If the folder is missing, it must be possible to create it.
    """
    existing = os.path.abspath(folder)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ValueError(
            f"{folder} cannot hold the output: {existing}: {error.strerror}."
        ) from error


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes a file atomically.

    Raises:
      OSError: If it cannot be written; an earlier file at `path` stays unchanged.
    """
    with atomic_file(path) as file:
        file.write(data)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a value as JSON with sorted keys; raises as `write_bytes`."""
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    write_bytes(path, text.encode())


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file.

    Raises:
      ValueError: If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
