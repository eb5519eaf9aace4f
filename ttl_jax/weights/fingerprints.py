"""Digests of weights and checksums of trees of arrays, to compare arrays by short values."""

import functools
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec


def digest(params: Mapping[str, Any]) -> str:
    """Returns a digest of names, types, shapes and values, 16 hex digits."""
    sha = hashlib.sha256()
    for name in sorted(params):
        value = np.asarray(params[name])
        sha.update(f"{name} {value.dtype} {value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()[:16]


def checksum(tree) -> int | str:
    """Returns a checksum of all leaf names and bytes, independent of the order of leaves.

    If arrays are sharded over several processes, every process must call this; the devices
    then sum the bytes, and the checksum is a string.
    """
    leaves = flatten(tree)
    if not all(map(_is_whole_here, leaves.values())):
        return _spread_checksum(leaves)
    return sum(
        zlib.crc32(np.asarray(leaf).tobytes(), zlib.crc32(name.encode()))
        for name, leaf in leaves.items()
    )


def verify_checksum(tree, saved: int | str | None) -> None:
    """Checks that arrays equal those that were saved, since disks may flip bits.

    The check is skipped if arrays were saved by one process and are now sharded over
    several.

    Args:
      saved: `checksum` of the saved arrays; None skips the check.

    Raises:
      ValueError: If the checksum differs.
    """
    if saved is None:
        return
    is_spread = isinstance(saved, str)
    found = _spread_checksum(flatten(tree)) if is_spread else checksum(tree)
    if type(found) is type(saved) and found != saved:
        raise ValueError("they differ from those that were saved")


def _is_whole_here(leaf) -> bool:
    return not isinstance(leaf, jax.Array) or (
        leaf.is_fully_addressable or leaf.is_fully_replicated
    )


def _spread_checksum(leaves: Mapping[str, Any]) -> str:
    total = sum(
        (zlib.crc32(name.encode()) | 1) * (1 + _sum_bytes(leaf))
        for name, leaf in leaves.items()
    )
    return f"bytes {total % 2**32}"


def _sum_bytes(leaf) -> int:
    """Returns the sum of the bytes of an array, weighted by 1, 3, 5, ..., modulo 2**32.

    Odd factors are invertible modulo 2**32, so one changed byte always changes the sum.
    """
    if _is_whole_here(leaf):
        values = np.frombuffer(np.asarray(leaf).tobytes(), np.uint8).astype(np.uint32)
        factors = 2 * np.arange(len(values), dtype=np.uint32) + np.uint32(1)
        return int(np.sum(values * factors, dtype=np.uint32))
    everywhere = NamedSharding(leaf.sharding.mesh, PartitionSpec())
    return int(jax.jit(_sum_bytes_spread, out_shardings=everywhere)(leaf))


def _sum_bytes_spread(leaf: jax.Array) -> jax.Array:
    values = lax.bitcast_convert_type(leaf, jnp.uint8).astype(jnp.uint32)
    index = jnp.zeros(values.shape, jnp.uint32)
    for axis, size in enumerate(values.shape):
        along = lax.broadcasted_iota(jnp.uint32, values.shape, axis)
        index = index * np.uint32(size) + along
    return jnp.sum(values * (2 * index + 1), dtype=jnp.uint32)


def flatten(tree) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths, such as "encoder/linear.kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name_of = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
    return {name_of(path): leaf for path, leaf in leaves}
