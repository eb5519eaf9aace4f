"""Numbers that tell whether arrays are the same: digests of weights, checksums of trees."""

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def digest(params: Mapping[str, Any]) -> str:
    """Returns a fingerprint of names, types, shapes and values, 16 hex digits."""
    sha = hashlib.sha256()
    for name in sorted(params):
        value = np.asarray(params[name])
        sha.update(f"{name} {value.dtype} {value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()[:16]


def checksum(tree) -> int | None:
    """Returns a number that any changed bit of the arrays in a tree changes, or of their names.

    It does not depend on their order, which a template may change. None where arrays
    are spread over several processes, none of which has them whole.
    """
    leaves = flatten(tree)
    if not all(map(_is_whole_here, leaves.values())):
        return None
    return sum(
        zlib.crc32(np.asarray(leaf).tobytes(), zlib.crc32(name.encode()))
        for name, leaf in leaves.items()
    )


def _is_whole_here(leaf) -> bool:
    return not isinstance(leaf, jax.Array) or (
        leaf.is_fully_addressable or leaf.is_fully_replicated
    )


def verify_checksum(tree, saved: int | None) -> None:
    """Refuses arrays that are not those that were saved; disks flip bits.

    Args:
      tree: Arrays.
      saved: Their `checksum` when they were saved; None where there was none.

    Raises:
      ValueError: If it is another one.
    """
    found = checksum(tree)
    if None not in (saved, found) and found != saved:  # none in older steps
        raise ValueError("they are not those that were saved")


def flatten(tree) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths, as "encoder/linear.kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_path_name(path): leaf for path, leaf in leaves}


def _path_name(path) -> str:
    return "/".join(
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
        for key in path
    )
