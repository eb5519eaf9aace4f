"""Writes the files of a report."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from ttl_jax import atomic_files


def write(folder: str | os.PathLike[str], contents: Mapping[str, Any]) -> None:
    """Writes the files of a report, each atomically.

    Args:
      folder: Folder of the report; created if missing. Earlier reports are replaced.
      contents: Bytes, text, or a value to write as JSON, by path within the folder.

    Raises:
      ValueError: If a value cannot be written as JSON; then nothing is written.
      OSError: If a file cannot be written.
    """
    encoded = {pathlib.Path(folder, path): _encode(c) for path, c in contents.items()}
    for path, data in encoded.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_bytes(path, data)


def _encode(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if not isinstance(content, str):
        content = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return content.encode()
