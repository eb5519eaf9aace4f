"""Paths and text lists as users write them, and the cache folder."""

import os
import pathlib


def expand(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path with a leading ~ or ~user replaced, where there is such a user.

    Raises:
      ValueError: If the path is empty, which would mean the current folder.
    """
    if not os.fspath(path):
        raise ValueError("A path is empty; is a variable of the shell not set?")
    try:
        return pathlib.Path(path).expanduser()
    except (RuntimeError, ValueError):  # ValueError: not a path at all
        return pathlib.Path(path)


def cache_folder(*names: str) -> pathlib.Path:
    """Returns a folder or file below `ttl_jax` in the user's cache; it may not exist.

    Without a home folder the path is relative.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(cache, "ttl_jax", *names)


def read_text_lines(file: str | os.PathLike[str], what: str) -> list[tuple[int, str]]:
    """Returns the lines of a text file with their numbers, counted from 1.

    Blank lines and comments, which begin with "# ", are skipped; so is a byte order mark.

    Args:
      file: Path, in which a leading ~ is replaced.
      what: First words of the message, before the path.

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
