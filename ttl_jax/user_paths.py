"""Paths and text lists as users write them, and the cache folder."""

import os
import pathlib


def expand(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path with a leading ~ or ~user replaced, if that user exists.

    Raises:
      ValueError: If the path is empty, since "" would mean the current folder.
    """
    if not os.fspath(path):
        raise ValueError("A path is empty; is a variable of the shell not set?")
    try:
        return pathlib.Path(path).expanduser()
    except (RuntimeError, ValueError):  # no such user, or not a path
        return pathlib.Path(path)


def cache_folder(*names: str) -> pathlib.Path:
    """Returns the path of a folder or file below `ttl_jax` in the user's cache.

    It may not exist. If there is no home folder, the path is relative.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(cache, "ttl_jax", *names)


def read_text_lines(file: str | os.PathLike[str], what: str) -> list[tuple[int, str]]:
    """Returns the lines of a text file with their numbers, counted from 1.

    Blank lines, comments (which begin with "# ") and a byte order mark are skipped.

    Args:
      file: Path, in which a leading ~ is replaced.
      what: First words of the error message, before the path.

    Raises:
      ValueError: If the file cannot be read as UTF-8.
    """
    path = expand(file)
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{what} {path}, which cannot be read as UTF-8 text: {error}"
        ) from error
    numbered = enumerate(text.split("\n"), 1)
    return [
        (i, line) for i, line in numbered
        if line.strip() and not (line.strip() + " ").startswith("# ")
    ]  # fmt: skip
