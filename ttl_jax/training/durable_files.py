"""Files that are written completely or not at all, whenever the power goes."""

import json
import os
import pathlib
from typing import Any


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes to a temporary name beside the file, then renames it.

    Raises:
      OSError: If it cannot be written; what was at `path` is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


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
