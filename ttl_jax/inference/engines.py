"""The choice between JAX and onnxruntime for restoring; results agree within 1e-3."""

import importlib.util
import os
from typing import Any

from ttl_jax import allocator
from ttl_jax.lite import onnx_restorer

_JAX = "ttl_jax.inference.restorer"  # missing in the package without JAX


def choose(engine: str, checkpoint: str | None) -> str:
    """Returns "jax" or "onnx".

    Args:
      engine: "auto", "jax" or "onnx". "auto" takes ONNX for .onnx files, and for the
        shipped weights on a CPU if onnxruntime is installed: it starts sooner and takes
        no longer. The package without JAX always takes ONNX for the shipped weights.
      checkpoint: Weights as for `load`.

    Raises:
      ValueError: If the engine cannot read the weights, or JAX is needed and missing.
    """
    is_file = checkpoint is not None and checkpoint.endswith(onnx_restorer.SUFFIX)
    is_shipped = checkpoint in (None, "shipped")
    has_jax = importlib.util.find_spec(_JAX) is not None
    if engine == "auto":
        is_ready = onnx_restorer.is_installed() and allocator.will_use_cpu(os.environ)
        engine = "onnx" if is_file or (is_shipped and is_ready) else "jax"
        engine = engine if has_jax or not is_shipped else "onnx"
    if engine == "onnx" and not (is_file or is_shipped):
        raise ValueError(
            f"the ONNX engine reads .onnx files, not {checkpoint}; write one: ttl-jax "
            f"export --checkpoint {checkpoint} --output net.onnx"
        )
    if engine == "jax" and is_file:
        raise ValueError(f"JAX does not read {checkpoint}; use --engine onnx")
    if engine == "jax" and not has_jax:
        raise ValueError(
            f"{checkpoint or 'the JAX engine'} needs the package ttl_jax; without it, "
            "weights are FILE.onnx of `ttl-jax export`"
        )
    return engine


def load(engine: str, checkpoint: str | None) -> Any:
    """Returns a restorer, see `windowed.WindowedRestorer`.

    Args:
      checkpoint: Weights as for `Restorer.from_checkpoint`, or FILE.onnx; None means the
        shipped weights.

    Raises:
      ValueError: If there are no such weights, they cannot be read, or onnxruntime is
        needed and missing.
    """
    if engine == "onnx":
        path = checkpoint if checkpoint != "shipped" else None
        return onnx_restorer.OnnxRestorer.from_file(path)
    from ttl_jax import compilation_cache
    from ttl_jax.inference import restorer

    compilation_cache.enable()
    return restorer.Restorer.from_checkpoint(checkpoint)
