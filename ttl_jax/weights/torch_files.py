"""Reads the arrays of a PyTorch checkpoint without PyTorch, and without running its code.

A checkpoint of `torch.save` (since PyTorch 1.6) is a zip archive: `NAME/data.pkl`
describes tensors, and `NAME/data/KEY` holds their raw storages. A pickle may name any
function to call. The unpickler accepts only those that build dictionaries and tensors, as
described in "Restricting Globals" of Python's documentation of `pickle`.
"""

import collections
import math
import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

_DTYPES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
}
_MAX_BYTES = 2**31  # of all arrays together


class _Storage(NamedTuple):
    """A storage: the type of its elements, and its key in the archive."""

    dtype: str
    key: str


class _Tensor(NamedTuple):
    """A view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a checkpoint by dotted name.

    A dictionary under "params", "state_dict" or "params_ema" is taken for the weights, as
    in BasicSR and Lightning; the rest of the checkpoint is left out.

    Raises:
      ValueError: If the file is no such archive, is damaged, or asks for more than tensors
        in dictionaries.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise ValueError("it has no data.pkl")
            folder = names[0].removesuffix("data.pkl")
            order = f"{folder}byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise ValueError("its numbers are big-endian")
            with archive.open(names[0]) as program:
                tensors = _select_tensors(_Unpickler(program).load())
            total = sum(math.prod(tensor.shape) for tensor in tensors.values())
            if 8 * total > _MAX_BYTES:
                raise ValueError(f"it holds {total:,} numbers, more than expected")
            return {
                name: _load(archive, folder, tensor) for name, tensor in tensors.items()
            }
    except zipfile.BadZipFile:
        raise ValueError(
            f"{path} is no zip archive, as torch.save writes since PyTorch 1.6. Load it "
            "in PyTorch, and save it again."
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{path} cannot be read: {error}") from error


def _select_tensors(content: Any) -> dict[str, _Tensor]:
    """The tensors by name."""
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise ValueError(f"it holds a {kind}, not a dictionary")  # noqa: TRY004
    for key in ("params_ema", "params", "state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {
        str(name): value
        for name, value in content.items()
        if isinstance(value, _Tensor)
    }
    if not tensors:
        raise ValueError(
            f"it holds no tensors by name, but {sorted(map(str, content))}"
        )
    return tensors


def _load(archive: zipfile.ZipFile, folder: str, tensor: _Tensor) -> np.ndarray:
    storage = tensor.storage
    raw = np.frombuffer(archive.read(f"{folder}data/{storage.key}"), storage.dtype)
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) == 0 or tensor.offset + reach >= len(raw):
        raise ValueError(f"storage {storage.key} is smaller than its tensor")
    strides = [stride * raw.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(
        raw[tensor.offset :], tensor.shape, strides, writeable=False
    )
    return view.astype(np.float32) if raw.dtype.kind == "f" else view.copy()


class _Unpickler(pickle.Unpickler):
    """Refuses all functions and classes except those that a state dictionary needs."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        name = f"{module_name} {global_name}"
        known = _DTYPES | _BUILDERS
        if name not in known:
            raise ValueError(f"it asks to call {name!r}, which is refused")
        return known[name]

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", str(dtype), str(key), *_) if dtype in _DTYPES.values():
                return _Storage(dtype, key)
        raise ValueError(f"it refers to {pid!r}, which is no storage of numbers")


def _build_tensor(storage, offset, shape, strides, *_) -> _Tensor:
    numbers = (offset, *shape, *strides)
    are_valid = all(isinstance(number, int) and number >= 0 for number in numbers)
    if not (are_valid and isinstance(storage, _Storage)):
        raise ValueError(f"a tensor has the shape {shape}, {strides}")
    return _Tensor(storage, offset, shape, strides)


_BUILDERS = {
    "collections OrderedDict": collections.OrderedDict,
    "torch._utils _rebuild_tensor_v2": _build_tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
}
