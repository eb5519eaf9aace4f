"""Which files of several folders show the same image, by their names.

Methods write their results under names of their own: `7_derained.png` of `7.png`, or
`rain-007x2.png` beside `norain-007.png`. Partners have the same path within their
folders, less the suffix; where there is none of the same path, the same one after the
common parts of names in `PREFIXES` and `SUFFIXES` are taken off. What was matched in this
way is told.
"""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from ttl_jax import user_paths
from ttl_jax.data.files import image_folders, images

PREFIXES = ("norain", "rainy", "rain", "derained", "derain", "restored", "clean", "gt")
SUFFIXES = (
    "derained", "derain", "derainy", "restored", "restore", "result", "results",
    "output", "out", "pred", "fake_b", "real_a", "real_b", "norain", "rainy", "rain",
    "clean", "clear", "gt", "target", "input", "in", "x2",
)  # fmt: skip

_PREFIX = re.compile(rf"^(?:{'|'.join(PREFIXES)})[-_ ]")
# Of these some are written without anything in front: 1x2, 000gt.
_SUFFIX = re.compile(rf"(?:[-_ ](?:{'|'.join(SUFFIXES)})|(?<=\d)(?:x2|gt))$")

Paths = dict[str, pathlib.Path]  # by the path within a folder, less the suffix


class Partners(NamedTuple):
    """The files of a folder that belong to those of another.

    Attributes:
      paths: By the other's name.
      renamed: The names that differ: this folder's by the other's.
    """

    paths: Paths
    renamed: dict[str, str]


def find_images(folder: str | os.PathLike[str]) -> Paths:
    """The images of a folder and its subfolders by path within it, less the suffix.

    Raises:
      ValueError: There is no such folder, it cannot be read, holds no images, or two of
        the same name but for the suffix.
    """
    folder = user_paths.expand(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    found: Paths = {}
    for path in map(
        pathlib.Path, filter(image_folders.is_image, image_folders.walk(folder))
    ):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise ValueError(
                f"{found[stem]} and {path} have the same name but for the suffix; one "
                "of them has to go."
            )
        found[stem] = path
    if not found:
        raise ValueError(
            f"{folder} holds no images; supported are {', '.join(images.SUFFIXES)}."
        )
    return found


def match(names: Mapping[str, object], others: Mapping[str, pathlib.Path]) -> Partners:
    """The partners that the images of these names have among others.

    Args:
      names: Of images, by path less the suffix.
      others: As `find_images` returns them.

    Raises:
      ValueError: Two of either have the same name without the common parts, and neither
        its own partner.
    """
    paths = {name: others[name] for name in names if name in others}
    alone = _by_core(name for name in names if name not in paths)
    candidates = _by_core(name for name in others if name not in paths)
    renamed = {}
    for core in alone.keys() & candidates.keys():
        if len(alone[core]) > 1 or len(candidates[core]) > 1:
            raise ValueError(
                f"{', '.join(alone[core])} may belong to {', '.join(candidates[core])}: "
                "more than one without the common parts of names; rename them."
            )
        renamed[alone[core][0]] = candidates[core][0]
    paths |= {name: others[other] for name, other in renamed.items()}
    return Partners({name: paths[name] for name in names if name in paths}, renamed)


def core_of(name: str) -> str:
    """A name without the common parts: "a/norain-7x2" is "a/7"."""
    folder, _, stem = name.rpartition("/")
    core, previous = stem.lower(), None
    while core != previous:
        previous = core
        core = _SUFFIX.sub("", _PREFIX.sub("", core)) or core
    return f"{folder}/{core}" if folder else core


def _by_core(names) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(core_of(name), []).append(name)
    return found
