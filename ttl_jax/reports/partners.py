"""Matches files of several folders that show the same image, by their names.

Partners have the same path within their folders, without the suffix. Some methods rename
their results: `7_derained.png` for `7.png`, or `rain-007x2.png` for `norain-007.png`. If
no file has exactly the name, the common parts in `PREFIXES` and `SUFFIXES` are removed from
both names.
"""

import collections
import os
import re
from collections.abc import Collection, Iterable, Mapping

from ttl_jax import user_paths
from ttl_jax.data.files import decoding, image_folders

PREFIXES = ("norain", "rainy", "rain", "derained", "derain", "restored", "clean", "gt")
SUFFIXES = (
    "derained", "derain", "derainy", "restored", "restore", "result", "results",
    "output", "out", "pred", "fake_b", "real_a", "real_b", "norain", "rainy", "rain",
    "clean", "clear", "gt", "target", "input", "in", "x2",
)  # fmt: skip

_PREFIX = re.compile(rf"^(?:{'|'.join(PREFIXES)})[-_ ]")
# x2 and gt may directly follow a number: 1x2, 000gt.
_SUFFIX = re.compile(rf"(?:[-_ ](?:{'|'.join(SUFFIXES)})|(?<=\d)(?:x2|gt))$")

Paths = Mapping[str, str]  # by the path within a folder, without the suffix


def find_images(folder: str | os.PathLike[str]) -> Paths:
    """Returns the images below a folder by their path within it, without the suffix.

    Raises:
      ValueError: If the folder does not exist, cannot be read or has no images, or two
        images differ only in their suffix.
    """
    folder = user_paths.expand(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    found, faults = image_folders.by_stem(folder, image_folders.find_images(folder))
    if faults:
        path, reason = next(iter(faults.items()))
        raise ValueError(f"{path} {reason}; remove one of them.")
    if not found:
        raise ValueError(
            f"{folder} holds no images; supported are {', '.join(decoding.SUFFIXES)}."
        )
    return found


def match(names: Collection[str], others: Collection[str]) -> dict[str, str]:
    """Returns the name of the partner by name, for names that have a partner.

    Args:
      names: Names from `find_images`; the result keeps their order.
      others: Names from `find_images` of another folder.

    Raises:
      ValueError: If partners are ambiguous: several images without a partner of exactly
        their name have the same name without the common parts.
    """
    single = _by_core(name for name in names if name not in others)
    candidates = _by_core(name for name in others if name not in names)
    found = {name: name for name in others}
    for core in single.keys() & candidates.keys():
        if len(single[core]) > 1 or len(candidates[core]) > 1:
            raise ValueError(
                f"{', '.join(single[core])} may belong to {', '.join(candidates[core])}: "
                "without the common parts, their names are the same; rename them."
            )
        found[single[core][0]] = candidates[core][0]
    return {name: found[name] for name in names if name in found}


def core_of(name: str) -> str:
    """Returns a name without the common parts, such as "a/7" for "a/norain-7x2"."""
    folder, slash, core = name.rpartition("/")
    core, previous = core.lower(), None
    while core != previous:
        previous = core
        core = _SUFFIX.sub("", _PREFIX.sub("", core)) or core
    return f"{folder}{slash}{core}"


def _by_core(names: Iterable[str]) -> Mapping[str, list[str]]:
    found = collections.defaultdict(list)
    for name in names:
        found[core_of(name)].append(name)
    return found
