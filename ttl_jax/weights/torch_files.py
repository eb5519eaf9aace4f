"""Reads the arrays of a PyTorch checkpoint without PyTorch, and without running its code.

A checkpoint of `torch.save` (since PyTorch 1.6) is a zip archive: `NAME/data.pkl`
describes tensors, and `NAME/data/KEY` holds their raw storages. A pickle is a program
for a stack machine. This module carries out only the operations that build nested
dictionaries of tensors. The pickle may call only the functions that build these.
Anything else is an error.
"""

import math
import pathlib
import pickletools
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ttl_jax.weights import saved_runs

_DTYPES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
}
_TENSOR, _PARAMETER = (
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)
_DICT = "collections OrderedDict"
_MAX_BYTES = 2**31  # of all arrays together
_MAX_EXPANSION = 10  # of a compressed archive; torch.save does not compress
_MAX_OPERATIONS = 2_000_000


class _Global(NamedTuple):
    """Function or class that the pickle names."""

    name: str


class _Storage(NamedTuple):
    """Storage: the type of its elements, and its key in the archive."""

    dtype: str
    key: str


class _Tensor(NamedTuple):
    """View of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a checkpoint by dotted name.

    The weights are the dictionary "params_ema", "params" or "state_dict", if there is one,
    as in BasicSR and Lightning. The rest of the checkpoint is ignored.

    Raises:
      ValueError: If the file is not such an archive, is damaged, has no tensors, or its
        pickle has other operations.
    """
    try:
        with _open(path) as archive:
            return _read_arrays(archive, _MAX_EXPANSION * path.stat().st_size)
    except Exception as error:  # A forged archive raises nearly anything.
        reason = saved_runs.reason_of(error)
        raise ValueError(f"{path} cannot be read: {reason}.") from error


def _open(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ValueError(
            "it is not a zip archive, as torch.save writes since PyTorch 1.6. Load it "
            "in PyTorch, and save it again"
        ) from None


def _read_arrays(archive: zipfile.ZipFile, max_bytes: int) -> dict[str, np.ndarray]:
    """Returns the arrays by dotted name.

    Args:
      max_bytes: Largest size of all files in the archive together.
    """
    claimed = sum(info.file_size for info in archive.infolist())
    if claimed > max_bytes:
        raise ValueError(f"it claims {claimed:,} bytes, more than {max_bytes:,}")
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError("it has no data.pkl")
    folder = names[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and _read_file(archive, order) != b"little":
        raise ValueError("its numbers are big-endian")
    tensors = _select_tensors(_run(_read_file(archive, names[0])))
    total = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if 8 * total > _MAX_BYTES:
        raise ValueError(f"it holds {total:,} numbers, more than expected")
    return {name: _load(archive, folder, tensor) for name, tensor in tensors.items()}


def _read_file(archive: zipfile.ZipFile, name: str) -> bytes:
    """Returns a file of the archive; it inflates to no more than the size it claims."""
    with archive.open(name) as file:
        return file.read(archive.getinfo(name).file_size)


def _select_tensors(content: Any) -> dict[str, _Tensor]:
    """Returns the tensors of a state dictionary by name."""
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
    raw = np.frombuffer(
        _read_file(archive, f"{folder}data/{storage.key}"), storage.dtype
    )
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) == 0 or tensor.offset + reach >= len(raw):
        raise ValueError(f"storage {storage.key} is smaller than its tensor")
    strides = [stride * raw.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(
        raw[tensor.offset :], tensor.shape, strides, writeable=False
    )
    return view.astype(np.float32) if raw.dtype.kind == "f" else view.copy()


def _run(program: bytes) -> Any:
    """Returns the object of a pickle."""
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(program)):
        if count > _MAX_OPERATIONS:
            raise ValueError(f"its pickle has more than {_MAX_OPERATIONS:,} operations")
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.step(opcode.name, argument)
    raise ValueError("its pickle has no end")


_CONSTANTS = {
    "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_LIST": list,
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
}  # fmt: skip
_VALUES = {
    "BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT",
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Stack machine of a pickle, with only the operations of a state dictionary."""

    def __init__(self):
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carries out one operation."""
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _VALUES:
            stack.append(argument)
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("PROTO", "FRAME"):
            pass
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(self._pop_marked()))
        elif name == "GLOBAL":
            stack.append(_Global(argument))
        elif name == "BINPERSID":
            stack.append(_as_storage(stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        elif name == "BUILD":  # attributes of an OrderedDict, such as its versions
            stack.pop()
        elif name in ("SETITEM", "SETITEMS", "APPEND", "APPENDS"):
            self._extend(name)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        else:
            raise ValueError(f"its pickle has the unsupported operation {name}")

    def _pop_marked(self) -> list[Any]:
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _extend(self, name: str) -> None:
        """Adds items to the dictionary or list below them."""
        count = {"SETITEM": 2, "APPEND": 1}.get(name)
        if count is None:
            values = self._pop_marked()
        else:
            values = self.stack[-count:]
            del self.stack[-count:]
        if name.startswith("SET"):
            # Hashing nested tuples could take forever, or exhaust the stack.
            if not all(isinstance(key, str | int) for key in values[::2]):
                raise ValueError("the keys of a dictionary must be text or integers")
            self.stack[-1].update(zip(values[::2], values[1::2], strict=True))
        else:
            self.stack[-1].extend(values)


def _as_storage(identity: Any) -> _Storage:
    match identity:
        case ("storage", _Global(name), str(key), str(), int()) if name in _DTYPES:
            return _Storage(_DTYPES[name], key)
    raise ValueError("its pickle refers to an unknown kind of storage")


def _call(function: Any, arguments: Sequence[Any]) -> Any:
    """Returns the result of one of the functions that a pickle may name."""
    match function, arguments:
        case _Global(name), () if name == _DICT:
            return {}
        case _Global(name), (_Storage(), int(), tuple(), tuple(), *_) if (
            name == _TENSOR
        ):
            storage, offset, shape, strides = arguments[:4]
            return _check_tensor(_Tensor(storage, offset, shape, strides))
        case _Global(name), (_Tensor() as tensor, *_) if name == _PARAMETER:
            return tensor
    name = function.name if isinstance(function, _Global) else type(function).__name__
    raise ValueError(f"its pickle calls {name!r}, which is not allowed")


def _check_tensor(tensor: _Tensor) -> _Tensor:
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("the shape and strides of a tensor must be integers >= 0")
    return tensor
