"""Finds image files in folders, in an order that depends only on their paths."""

import collections
import os
import pathlib
import unicodedata
from collections.abc import Iterable
from typing import NoReturn

from ttl_jax.data.files import decoding

# Subfolders of rainy and clean images; the last are BasicSR's.
PAIR_LAYOUTS = (("rainy", "clean"), ("input", "target"), ("lq", "gt"))

# Files and folders that operating systems add to photographs: thumbnails, recycle bins.
_CLUTTER = (
    "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx", "@recycle",
    "#recycle", "$recycle.bin", "system volume information", "lost+found",
)  # fmt: skip


def is_clutter(name: str) -> bool:
    """Returns whether a file or folder is hidden, or comes from an operating system."""
    return name.startswith(".") or name.lower() in _CLUTTER


def walk(root: str | os.PathLike[str]) -> list[str]:
    """Returns the paths of all files below a folder, in the order of their relative paths.

    Links are followed. Files and folders with `is_clutter` true are skipped.

    Raises:
      ValueError: If a folder cannot be read.
    """
    found, seen = [], set()
    for folder, subfolders, files in os.walk(
        root, followlinks=True, onerror=_raise_unreadable
    ):
        # A link may point to a parent, so each folder is entered only once.
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not is_clutter(name))
        found += [os.path.join(folder, name) for name in files if not is_clutter(name)]
    return in_order(found)


def find_images(root: str | os.PathLike[str]) -> list[str]:
    """Returns the paths of all images below a folder; order and errors as `walk`."""
    return [path for path in walk(root) if is_image(path)]


def split(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Returns the paths of images, and the others."""
    paths = list(paths)
    found = [path for path in paths if is_image(path)]
    return found, [path for path in paths if not is_image(path)]


def describe_others(paths: Iterable[str]) -> list[str]:
    """Returns lines about files that are not images: their number by suffix."""
    suffixes = collections.Counter(
        os.path.splitext(path)[1] or os.path.basename(path) for path in sorted(paths)
    )
    if not suffixes:
        return []
    number = suffixes.total()
    counts = ", ".join(f"{name} {n}" for name, n in suffixes.most_common())
    lines = [f"Skipped {number} file{'s'[: number != 1]}: {counts}."]
    if {".heic", ".heif"} & {suffix.lower() for suffix in suffixes}:
        lines.append('HEIC needs: pip install "ttl_jax[heif]".')
    return lines


def in_order(paths: Iterable[str]) -> list[str]:
    """Returns paths sorted part by part, so that folders stay together."""
    return sorted(paths, key=lambda path: pathlib.PurePath(path).parts)


def is_image(path: str) -> bool:
    """Returns whether a path has the suffix of an image."""
    return path.lower().endswith(decoding.SUFFIXES)


def without_suffix(name: str) -> str:
    """Returns a name without the suffix of an image; other suffixes are kept."""
    return os.path.splitext(name)[0] if is_image(name) else name


def by_stem(
    folder: str | os.PathLike[str], paths: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns files by their path within a folder, without the suffix.

    The stems are printable and in the Unicode form NFC, since macOS decomposes letters
    with accents.

    Args:
      folder: Folder of the files.
      paths: Paths of the files.

    Returns:
      The paths by stem, and the reasons by path why files are left out. If several
      files have the same stem, all but the first are left out.
    """
    found: dict[str, str] = {}
    faults: dict[str, str] = {}
    for path in paths:
        stem = os.path.splitext(os.path.relpath(path, folder))[0]
        stem = decoding.printable(unicodedata.normalize("NFC", stem))
        if (first := found.setdefault(stem, path)) == path:
            continue
        if os.path.splitext(path)[0] == os.path.splitext(first)[0]:
            faults[path] = f"differs from {first} in its suffix only"
        else:
            faults[path] = f"has the same printable name as {first}"
    return found, faults


def match_stems(
    one: tuple[str, Iterable[str]], other: tuple[str, Iterable[str]]
) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Matches the files of two folders that have the same path without the suffix.

    Args:
      one: A folder and the paths of its files.
      other: The other folder and the paths of its files.

    Returns:
      The two paths of each pair by stem, in the order of `one`, and the reasons by path
      why files are in no pair.
    """
    (ones, faults), (others, more) = by_stem(*one), by_stem(*other)
    faults |= more
    for here, there, folder in ((ones, others, other[0]), (others, ones, one[0])):
        for stem in here.keys() - there.keys():
            faults[here[stem]] = f"has no partner in {folder}/"
    pairs = {s: (path, others[s]) for s, path in ones.items() if s in others}
    return pairs, faults


def find_pair_layout(root: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Returns the names of the subfolders with the rainy and the clean sides, or None.

    Their names may be in capitals.

    Raises:
      ValueError: If `root` has more than one such pair of subfolders, or is unreadable.
    """
    try:
        names = sorted(os.listdir(root))  # lowercase names come last and win
    except OSError as error:
        _raise_unreadable(error)
    own = {n.lower(): n for n in names if os.path.isdir(os.path.join(root, n))}
    layouts = [
        (own[rainy], own[clean])
        for rainy, clean in PAIR_LAYOUTS
        if rainy in own and clean in own
    ]
    if len(layouts) > 1:
        raise ValueError(
            f"{root} holds pairs twice, as "
            f"{' and '.join('+'.join(names) for names in layouts)}; use a folder with "
            "only one of these."
        )
    return layouts[0] if layouts else None


def find_pair_folders(paths: Iterable[str]) -> list[str]:
    """Returns the folders, at any depth, that have both sides of a pair layout.

    Args:
      paths: Paths of images.
    """
    subfolders = collections.defaultdict(set)
    for folder in {os.path.dirname(path) for path in paths}:
        for side in (pathlib.PurePath(folder), *pathlib.PurePath(folder).parents):
            subfolders[str(side.parent)].add(side.name.lower())
    return in_order(
        folder
        for folder, names in subfolders.items()
        if any(names.issuperset(layout) for layout in PAIR_LAYOUTS)
    )


def _raise_unreadable(error: OSError) -> NoReturn:
    raise ValueError(
        f"The folder {error.filename} cannot be read: {error.strerror}. Change its "
        "permissions or name another one."
    ) from error
