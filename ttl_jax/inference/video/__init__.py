"""Restores video files; needs the packages of the extra `video` (see `check_packages`)."""

import importlib.util
import os

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg",
    ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".vob", ".mxf", ".y4m",
)  # fmt: skip
# Containers that can be written. Videos in other containers become .mkv.
WRITTEN = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
INSTALL = 'Videos need: pip install "ttl_jax[video]".'


def is_video(path: str | os.PathLike[str]) -> bool:
    """Returns whether the suffix is one of `SUFFIXES`."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def is_installed() -> bool:
    """Returns whether the packages of the extra `video` are installed."""
    return all(importlib.util.find_spec(name) for name in ("av", "cv2"))


def check_packages() -> None:
    """Raises ValueError if the packages of the extra `video` are missing."""
    if not is_installed():
        raise ValueError(INSTALL)


def target_suffix(path: str) -> str:
    """Returns the suffix of the restored video: unchanged if writable, otherwise .mkv."""
    suffix = os.path.splitext(path)[1]
    return suffix if suffix.lower() in WRITTEN else ".mkv"
