"""Removing rain without JAX: ONNX, NumPy and Pillow.

    import ttl_jax.lite

    restored = ttl_jax.lite.load().restore(image)

The package `ttl_jax_lite`, built by launch/build_lite.py, consists of this room and of the
files that it needs: `ttl_jax_lite.load()` is the same function.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttl_jax.lite.onnx_restorer import OnnxRestorer

__all__ = ["load"]


def load(path: str | os.PathLike | None = None) -> OnnxRestorer:
    """Returns a rain remover: `OnnxRestorer.restore` takes and returns arrays.

    Args:
      path: File that `ttl-jax export` wrote; None means the packed weights.

    Raises:
      ValueError: If it cannot be read or is another program's, or onnxruntime is missing.
    """
    from ttl_jax.lite.onnx_restorer import OnnxRestorer

    return OnnxRestorer.from_file(path)
