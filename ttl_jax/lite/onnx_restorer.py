"""Removal of rain from images by onnxruntime."""

import importlib.util
import json
import os
import pathlib
from typing import Any, Self

import numpy as np

from ttl_jax import threads, user_paths
from ttl_jax.data.files import decoding
from ttl_jax.inference import windowed

SUFFIX = ".onnx"
# The shipped weights, written by `python -m ttl_jax.export`.
PACKED = pathlib.Path(__file__).resolve().parent / "derain.onnx"

_GPU = "CUDAExecutionProvider"
_GPU_BATCH_SIZE = 8  # windows


def is_installed() -> bool:
    """Whether onnxruntime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


class OnnxRestorer(windowed.WindowedRestorer):
    """Removes rain: `restorer.restore(image)`. Threads may share it.

    Attributes:
      metadata: Description of the network, see `ttl_jax.inference.exporting.describe`.
    """

    def __init__(self, session: Any, *, batch_size: int = 1):
        """Takes a session of onnxruntime; raises ValueError if it has no metadata."""
        self.metadata = _read_metadata(session)
        (name,) = (tensor.name for tensor in session.get_inputs())
        digest, precision = self.metadata["digest"], self.metadata["precision"]
        super().__init__(
            lambda images: np.asarray(session.run(None, {name: images})[0]),
            name=self.metadata["name"],
            digest=digest if precision == "fp32" else f"{digest} {precision}",
            grid=self.metadata["grid"],
            side=self.metadata["window"],
            overlap=self.metadata["margin"],
            batch_size=batch_size,
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike | None = None) -> Self:
        """Loads a file that `ttl-jax export` wrote; a GPU is used where there is one.

        Args:
          path: FILE.onnx; None means the packed weights.

        Raises:
          ValueError: If `ttl-jax export` did not write the file, it cannot be read, or
            onnxruntime is missing.
        """
        if not is_installed():
            raise ValueError(
                "the ONNX engine needs onnxruntime; install: pip install onnxruntime"
            )
        import onnxruntime  # takes half of the start of a short command

        path = PACKED if path is None else user_paths.expand(path)
        on_gpu = _GPU in onnxruntime.get_available_providers()
        options = onnxruntime.SessionOptions()
        # Threads that spin while they wait take 50 % more CPU time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = (
            False  # would take twice the memory, in no less time
        )
        if (num_cpus := threads.count_cpus()) < (os.cpu_count() or 1):
            # By default there is a thread for each core of the machine, also for those
            # that this process may not use.
            options.intra_op_num_threads = num_cpus
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                path.read_bytes(),
                options,
                providers=[_GPU] * on_gpu + ["CPUExecutionProvider"],
            )
            return cls(session, batch_size=_GPU_BATCH_SIZE if on_gpu else 1)
        except Exception as error:  # onnxruntime's errors have no common type
            reason = getattr(error, "strerror", None) or decoding.describe(error)
            raise ValueError(f"{path} cannot be read: {reason}") from error


def _read_metadata(session: Any) -> dict[str, Any]:
    """Returns the metadata that the export wrote, as values."""
    texts = session.get_modelmeta().custom_metadata_map
    try:
        metadata = {key: json.loads(text) for key, text in texts.items()}
        types = {"digest": str, "name": str, "precision": str}
        types |= dict.fromkeys(("grid", "window", "margin"), int)
        if all(isinstance(metadata[key], kind) for key, kind in types.items()):
            return metadata
    except (KeyError, ValueError):
        pass
    raise ValueError("it has no metadata of ttl_jax; write it by `ttl-jax export`")
