"""Packed weights: one safetensors file with the arrays, and JSON metadata in its header.

Reading a file executes no code from it. A file with an array that claims to be larger than
the file is rejected.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ttl_jax import atomic_files
from ttl_jax.weights import fingerprints
from ttl_jax.weights.flat_params import Params

SUFFIX = ".safetensors"

_METADATA = "ttl_jax"  # header entry with the metadata
_CHECKSUM = "sha256"  # header entry with the digest of the metadata
_DIGESTS = "digests"  # metadata entry with the digests of the modules


def write(
    path: pathlib.Path, modules: Mapping[str, Params], metadata: Mapping[str, Any]
) -> None:
    """Writes weights and their metadata atomically.

    Args:
      path: File to write; its suffix is `SUFFIX`.

    Raises:
      ValueError: If the suffix is not `SUFFIX`.
      OSError: If the file cannot be written; an earlier file is kept.
    """
    if path.suffix != SUFFIX:
        raise ValueError(
            f"The name of a file of weights must end in {SUFFIX}, not {path.name!r}."
        )
    arrays = {
        f"{module}/{name}": np.asarray(value, order="C")
        for module, params in modules.items()
        for name, value in params.items()
    }
    digests = {name: fingerprints.digest(params) for name, params in modules.items()}
    text = json.dumps({**metadata, _DIGESTS: digests}, sort_keys=True)
    header = {_METADATA: text, _CHECKSUM: _digest(text)}
    atomic_files.write_bytes(path, safetensors.numpy.save(arrays, header))


def read(path: pathlib.Path) -> tuple[dict[str, Params], dict[str, Any]]:
    """Returns the params by module, on the host, and the metadata passed to `write`.

    Raises:
      ValueError: If the file is missing, damaged, or was written by another program.
    """
    arrays, metadata, digests = _read(path, with_arrays=True)
    modules: dict[str, dict[str, Any]] = {name: {} for name in digests}
    for key, value in arrays.items():
        module, _, name = key.partition("/")
        modules.setdefault(module, {})[name] = value
    if {name: fingerprints.digest(of) for name, of in modules.items()} != digests:
        raise ValueError(
            f"{path} is damaged: its weights differ from those that were saved."
        )
    return modules, metadata


def read_metadata(path: pathlib.Path) -> dict[str, Any]:
    """Returns the metadata passed to `write`; raises as `read`."""
    return _read(path)[1]


def read_digests(path: pathlib.Path) -> dict[str, str]:
    """Returns the `fingerprints.digest` of each module; raises as `read`."""
    return _read(path)[2]


def _read(
    path: pathlib.Path, *, with_arrays: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    """Returns arrays by "module/name" (if requested), metadata, and digests by module."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            names = file.keys() if with_arrays else ()
            arrays = {name: file.get_tensor(name) for name in names}
        text = header[_METADATA]
        if header[_CHECKSUM] != _digest(text):
            raise ValueError("its metadata differs from what was saved")
        metadata = json.loads(text)
        digests = dict(metadata.pop(_DIGESTS))
    except KeyError:
        raise ValueError(f"{path} contains no weights of ttl_jax.") from None
    except (
        OSError, ValueError, TypeError, AttributeError, RecursionError,
        safetensors.SafetensorError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} cannot be read: {error}") from error
    return arrays, metadata, digests


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
