"""Removing rain without JAX: ONNX, NumPy and Pillow.

    import ttl_jax.lite

    restored = ttl_jax.lite.load().restore(image)

launch/build_lite.py builds the package `ttl_jax_lite` from this package and the files
that it needs. `ttl_jax_lite.load()` is the same function.
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
      ValueError: If `ttl-jax export` did not write the file, it cannot be read, or
        onnxruntime is missing.
    """
    from ttl_jax.lite.onnx_restorer import OnnxRestorer

    return OnnxRestorer.from_file(path)
