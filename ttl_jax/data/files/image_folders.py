"""Finds image files in folders, in an order that depends on their paths alone."""

import collections
import os
import pathlib
import unicodedata
from collections.abc import Iterable
from typing import NoReturn

from ttl_jax.data.files import decoding

# Subfolders of rainy and clean images; the last are BasicSR's.
PAIR_LAYOUTS = (("rainy", "clean"), ("input", "target"), ("lq", "gt"))

# Files and folders that systems leave beside photographs: thumbnails, bins.
_CLUTTER = (
    "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx", "@recycle",
    "#recycle", "$recycle.bin", "system volume information", "lost+found",
)  # fmt: skip


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or no user's but a system's."""
    return name.startswith(".") or name.lower() in _CLUTTER


def walk(root: str | os.PathLike[str]) -> list[str]:
    """Paths of all files below a folder, in the order of their relative paths.

    Links are followed; hidden files and folders and `is_clutter` are skipped.

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
        subfolders[:] = sorted(name for name in subfolders if not is_clutter(name))
        found += [os.path.join(folder, name) for name in files if not is_clutter(name)]
    return in_order(found)


def find_images(root: str | os.PathLike[str]) -> list[str]:
    """Paths of all images below a folder, as `walk`."""
    return [path for path in walk(root) if is_image(path)]


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
    """Paths sorted part by part, as folders are listed."""
    return sorted(paths, key=lambda path: pathlib.PurePath(path).parts)


def is_image(path: str) -> bool:
    """Whether the suffix is that of an image."""
    return path.lower().endswith(decoding.SUFFIXES)


def without_suffix(name: str) -> str:
    """A name without the suffix of an image; other dots in names stay."""
    return os.path.splitext(name)[0] if is_image(name) else name


def by_stem(
    folder: str | os.PathLike[str], paths: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Files of a folder by their path within it without the suffix.

    Names are printable and composed: macOS decomposes letters with accents.

    Returns:
      The paths by stem, and of several with the same stem the reason why all but the
      first are left out, by path.
    """
    found: dict[str, str] = {}
    faults: dict[str, str] = {}
    for path in paths:
        stem = os.path.splitext(os.path.relpath(path, folder))[0]
        stem = decoding.printable(unicodedata.normalize("NFC", stem))
        if found.setdefault(stem, path) != path:
            faults[path] = f"differs from {found[stem]} in its suffix only"
    return found, faults


def match_stems(
    one: tuple[str, Iterable[str]], other: tuple[str, Iterable[str]]
) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Matches the files of two folders that have the same path but for the suffix.

    Args:
      one: A folder and the paths of its files.
      other: The other folder and the paths of its files.

    Returns:
      The two paths of each pair by their stem, in the order of `one`; and a reason for
      each other file, by path.
    """
    (ones, faults), (others, more) = by_stem(*one), by_stem(*other)
    faults |= more
    for here, there, folder in ((ones, others, other[0]), (others, ones, one[0])):
        for stem in here.keys() - there.keys():
            faults[here[stem]] = f"has no partner in {folder}/"
    pairs = {s: (path, others[s]) for s, path in ones.items() if s in others}
    return pairs, faults


def find_pair_layout(root: str | os.PathLike[str]) -> tuple[str, str] | None:
    """The subfolders of a folder that hold the rainy and the clean sides, if any do.

    Their names may be in capitals.

    Raises:
      ValueError: If it has more than one such pair of subfolders, or cannot be read.
    """
    try:
        names = sorted(os.listdir(root))  # small letters are last and count
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
            f"{' and '.join('+'.join(names) for names in layouts)}; name a folder "
            "that holds them once."
        )
    return layouts[0] if layouts else None


def _raise_unreadable(error: OSError) -> NoReturn:
    raise ValueError(
        f"The folder {error.filename} cannot be read: {error.strerror}. Change its "
        "permissions or name another one."
    ) from error
