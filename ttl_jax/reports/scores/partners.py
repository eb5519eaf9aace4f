"""Which files of several folders show the same image, by their names.

Methods rename their results: `7_derained.png` for `7.png`, or `rain-007x2.png` beside
`norain-007.png`. Partners have the same path within their folders, without the suffix.
If there is no such file, the common parts of names in `PREFIXES` and `SUFFIXES` are
removed from both. The result lists the files that were matched in this way.
"""

import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ttl_jax import user_paths
from ttl_jax.data.files import decoding, image_folders

PREFIXES = ("norain", "rainy", "rain", "derained", "derain", "restored", "clean", "gt")
SUFFIXES = (
    "derained", "derain", "derainy", "restored", "restore", "result", "results",
    "output", "out", "pred", "fake_b", "real_a", "real_b", "norain", "rainy", "rain",
    "clean", "clear", "gt", "target", "input", "in", "x2",
)  # fmt: skip

_PREFIX = re.compile(rf"^(?:{'|'.join(PREFIXES)})[-_ ]")
# Some follow a number directly: 1x2, 000gt.
_SUFFIX = re.compile(rf"(?:[-_ ](?:{'|'.join(SUFFIXES)})|(?<=\d)(?:x2|gt))$")

Paths = dict[str, pathlib.Path]  # by the path within a folder, without the suffix


class Partners(NamedTuple):
    """The files of a folder that belong to those of another.

    Attributes:
      paths: Files of this folder by the other's name.
      renamed: This folder's names by the other's, where they differ.
    """

    paths: Paths
    renamed: dict[str, str]


def find_images(folder: str | os.PathLike[str]) -> Paths:
    """Returns the images below a folder by their path within it, without the suffix.

    Raises:
      ValueError: If the folder does not exist, cannot be read or holds no images, or two
        images differ only in their suffix.
    """
    folder = user_paths.expand(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    found: Paths = {}
    for path in filter(image_folders.is_image, image_folders.walk(folder)):
        path = pathlib.Path(path)
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise ValueError(
                f"{found[stem]} and {path} have the same name but for the suffix; "
                "remove one of them."
            )
        found[stem] = path
    if not found:
        raise ValueError(
            f"{folder} holds no images; supported are {', '.join(decoding.SUFFIXES)}."
        )
    return found


def match(names: Iterable[str], others: Mapping[str, pathlib.Path]) -> Partners:
    """Returns the partners of images among others.

    Args:
      names: Names of the images, as `find_images` gives them.
      others: Result of `find_images`.

    Raises:
      ValueError: If several images of one side have the same name without the common
        parts, and none has a partner of exactly its name.
    """
    paths = {name: others[name] for name in names if name in others}
    alone = _by_core(name for name in names if name not in paths)
    candidates = _by_core(name for name in others if name not in paths)
    renamed = {}
    for core in alone.keys() & candidates.keys():
        if len(alone[core]) > 1 or len(candidates[core]) > 1:
            raise ValueError(
                f"{', '.join(alone[core])} may belong to {', '.join(candidates[core])}: "
                "their names are the same without the common parts; rename them."
            )
        renamed[alone[core][0]] = candidates[core][0]
    paths |= {name: others[other] for name, other in renamed.items()}
    return Partners({name: paths[name] for name in names if name in paths}, renamed)


def core_of(name: str) -> str:
    """Returns a name without the common parts: "a/norain-7x2" gives "a/7"."""
    folder, _, stem = name.rpartition("/")
    core, previous = stem.lower(), None
    while core != previous:
        previous = core
        core = _SUFFIX.sub("", _PREFIX.sub("", core)) or core
    return f"{folder}/{core}" if folder else core


def _by_core(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(core_of(name), []).append(name)
    return found
