"""Finds image files in folders, in an order that depends on their paths alone."""

import os
import pathlib
from collections.abc import Iterable

from ttl_jax.data.files import images

PAIR_LAYOUTS = (("rainy", "clean"), ("input", "target"))  # subfolders


def walk(root: str | os.PathLike[str]) -> list[str]:
    """Paths of all files below a folder, in the order of their relative paths.

    Links are followed; hidden files and folders are passed over.

    Raises:
      ValueError: If a folder cannot be read.
    """
    found, seen = [], set()
    for folder, subfolders, files in os.walk(
        root, followlinks=True, onerror=_raise_unreadable
    ):
        # A link may lead back up; each folder is entered once.
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if name[0] != ".")
        found += [os.path.join(folder, name) for name in files if name[0] != "."]
    return in_order(found)


def in_order(paths: Iterable[str]) -> list[str]:
    """Paths as folders are listed everywhere: part by part."""
    return sorted(paths, key=lambda path: pathlib.PurePath(path).parts)


def is_image(path: str) -> bool:
    """Whether the suffix is that of an image."""
    return path.lower().endswith(images.SUFFIXES)


def without_suffix(name: str) -> str:
    """A name less the suffix of an image: what follows a dot is not always one."""
    return os.path.splitext(name)[0] if is_image(name) else name


def find_pair_layout(root: str | os.PathLike[str]) -> tuple[str, str] | None:
    """The subfolders of a folder that hold the rainy and the clean sides, if any do.

    Raises:
      ValueError: If it has more than one such pair of subfolders.
    """
    layouts = [
        names
        for names in PAIR_LAYOUTS
        if all(os.path.isdir(os.path.join(root, name)) for name in names)
    ]
    if len(layouts) > 1:
        raise ValueError(
            f"{root} holds pairs twice, as "
            f"{' and '.join('+'.join(names) for names in layouts)}; name a folder "
            "that holds them once."
        )
    return layouts[0] if layouts else None


def _raise_unreadable(error: OSError):
    raise ValueError(
        f"The folder {error.filename} cannot be read: {error.strerror}. Change its "
        "permissions or name another one."
    ) from error
