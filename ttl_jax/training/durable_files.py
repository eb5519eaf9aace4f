"""Files that are written completely or not at all, whenever the power goes."""

import json
import pathlib
from typing import Any

from ttl_jax import atomic_files


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes a file.

    Raises:
      OSError: If it cannot be written; what was at `path` is still there.
    """
    with atomic_files.atomic_file(path) as file:
        file.write(data)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON, as `write_bytes`."""
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    write_bytes(path, text.encode())


def read_json(path: pathlib.Path) -> Any:
    """Reads what `write_json` wrote.

    Raises:
      ValueError: If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
