"""Files that are written completely or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary stream that becomes the file when the block ends without an exception.

    Until then whatever is at `path` stays; a block that fails leaves no trace. The
    stream lies in the same folder, hidden, as only within one file system is renaming
    atomic.
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
