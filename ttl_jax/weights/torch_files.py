"""Reads the arrays of a PyTorch checkpoint without PyTorch, and without running its code.

A checkpoint of `torch.save` (since PyTorch 1.6) is a zip archive: `NAME/data.pkl`
describes tensors, and `NAME/data/KEY` holds their raw storages. A pickle is a program
for a stack machine. This module carries out only the operations that build nested
dictionaries of tensors. The pickle may call only the functions that build these.
Anything else is an error.
"""

import itertools
import math
import pathlib
import pickletools
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ttl_jax import suggestions
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
_MAX_KEY = 2**31  # of integers in dictionaries; larger ones can be made to collide
_MAX_NUMBER = 2**40  # of shapes, strides and storages
_MAX_AXES = 8
_MAX_NAME = 200  # characters of a tensor's name
_MAX_REASON = 1000  # characters of an error message, which may quote a forged file


class _Global(NamedTuple):
    """Function or class that the pickle names."""

    name: str


class _Storage(NamedTuple):
    """Storage: the type and number of its elements, and its key in the archive."""

    dtype: str
    key: str
    count: int


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
        if len(reason) > _MAX_REASON:
            reason = f"{reason[:_MAX_REASON]} ..."
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
    program = _find_program(archive.namelist())
    folder = program.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and _read_file(archive, order) != b"little":
        raise ValueError("its numbers are big-endian")
    tensors = _select_tensors(_run(_read_file(archive, program)))
    # Tensors may share a storage, so that together they are larger than the archive.
    total = sum(math.prod(tensor.shape) for tensor in tensors.values())
    most = min(_MAX_BYTES, max_bytes) // 8
    if total > most:
        raise ValueError(f"its tensors have {total:,} numbers, more than {most:,}")
    return _load(archive, folder, tensors)


def _find_program(names: Sequence[str]) -> str:
    """Returns the name of the pickle in an archive, whose names must all differ."""
    if len(set(names)) < len(names):
        twice = next(
            name for name, other in itertools.pairwise(sorted(names)) if name == other
        )
        raise ValueError(
            f"it holds two files named {twice!r}. Save it again in PyTorch"
        )
    programs = [name for name in names if name.endswith("/data.pkl")]
    if not programs:
        raise ValueError("it has no data.pkl, as torch.save writes")
    if len(programs) > 1:
        some = suggestions.name_some([repr(name) for name in programs], most=3)
        raise ValueError(f"it has {len(programs)} files data.pkl, expected one: {some}")
    return programs[0]


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
    tensors = {n: value for n, value in content.items() if isinstance(value, _Tensor)}
    if not tensors:
        some = suggestions.name_some(sorted(map(repr, content)))
        raise ValueError(f"it holds no tensors by name, but {some or 'nothing'}")
    for name in tensors:
        # Otherwise 1 and "1" would be the same name.
        if not isinstance(name, str):
            raise ValueError(  # noqa: TRY004
                f"a tensor is named {name}, expected text. Rename it in PyTorch, and "
                "save it again"
            )
        if len(name) > _MAX_NAME:
            raise ValueError(
                f"the name of a tensor has {len(name):,} characters, expected at most "
                f"{_MAX_NAME}"
            )
    return tensors


def _load(
    archive: zipfile.ZipFile, folder: str, tensors: Mapping[str, _Tensor]
) -> dict[str, np.ndarray]:
    """Returns the arrays of tensors, in the same order.

    Each storage is read once, however many tensors share it, and one is held at a time.
    """
    sharers: dict[_Storage, list[str]] = {}
    for name, tensor in tensors.items():
        sharers.setdefault(tensor.storage, []).append(name)
    arrays = {}
    for storage, names in sharers.items():
        raw = _read_storage(archive, folder, storage)
        arrays.update((name, _copy(raw, name, tensors[name])) for name in names)
    return {name: arrays[name] for name in tensors}


def _read_storage(
    archive: zipfile.ZipFile, folder: str, storage: _Storage
) -> np.ndarray:
    content = _read_file(archive, f"{folder}data/{storage.key}")
    size = storage.count * np.dtype(storage.dtype).itemsize
    if len(content) != size:
        raise ValueError(
            f"storage {storage.key!r} has {len(content):,} bytes, expected {size:,}. The "
            "file is damaged: download or save it again"
        )
    return np.frombuffer(content, storage.dtype)


def _copy(raw: np.ndarray, name: str, tensor: _Tensor) -> np.ndarray:
    """Returns the elements of a tensor from those of its storage."""
    axes = _order_axes(name, tensor)
    end = tensor.offset + math.prod(tensor.shape)
    if end > len(raw):
        raise ValueError(
            f"tensor {name!r} ends at element {end:,} of storage "
            f"{tensor.storage.key!r}, which has {len(raw):,}. The file is "
            "damaged: download or save it again"
        )
    in_memory = raw[tensor.offset : end].reshape([tensor.shape[axis] for axis in axes])
    array = in_memory.transpose([axes.index(axis) for axis in range(len(axes))])
    if raw.dtype.kind != "f":
        return array.copy()
    # Doubles beyond float32 become infinite; who needs finite numbers checks that.
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32)


def _order_axes(name: str, tensor: _Tensor) -> list[int]:
    """Returns the axes of a tensor in the order of memory, the outermost first.

    Its elements must fill their part of the storage, each once. Otherwise a few numbers
    could stand for gigabytes.
    """
    shape, strides = tensor.shape, tensor.strides
    axes = sorted(range(len(shape)), key=strides.__getitem__)
    size = 1
    for axis in axes:
        if shape[axis] == 0:
            raise ValueError(f"tensor {name!r} of shape {shape} is empty")
        if shape[axis] > 1 and strides[axis] != size:
            raise ValueError(
                f"tensor {name!r} of shape {shape} has strides {strides}, expected those "
                "of a contiguous tensor or of its transposes. Call contiguous() on it "
                "in PyTorch, and save it again"
            )
        size *= shape[axis]
    return axes[::-1]


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
            _update(self.stack[-1], values)
        else:
            self.stack[-1].extend(values)


def _update(items: Any, values: Sequence[Any]) -> None:
    """Adds keys and values, which alternate, to a dictionary."""
    if not isinstance(items, dict):
        kind = type(items).__name__
        raise ValueError(f"its pickle adds items to a {kind}")  # noqa: TRY004
    for key, value in zip(values[::2], values[1::2], strict=True):
        # Hashing nested tuples could take forever, or exhaust the stack. Integers that
        # are multiples of 2**61 - 1 have one hash, so that adding many is quadratic.
        if not isinstance(key, str | int):
            raise ValueError("the keys of a dictionary must be text or integers")  # noqa: TRY004
        if isinstance(key, int) and not 0 <= key < _MAX_KEY:
            raise ValueError(
                f"a dictionary has the key {key}, expected integers from 0 to "
                f"{_MAX_KEY - 1:,}"
            )
        if key in items:
            raise ValueError(f"a dictionary has the key {key!r} twice")
        items[key] = value


def _as_storage(identity: Any) -> _Storage:
    match identity:
        case ("storage", _Global(name), str(key), str(), int(count)):
            if name not in _DTYPES:
                known = [kind.removeprefix("torch ") for kind in _DTYPES]
                raise ValueError(
                    f"it has a storage {name.removeprefix('torch ')!r}, expected "
                    f"{', '.join(known)}. Convert its tensors in PyTorch, by float() "
                    "for example, and save it again"
                )
            _check_numbers([count], "number of elements of a storage")
            return _Storage(_DTYPES[name], key, count)
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
    # First the lengths: the product of 60,000 large integers takes minutes.
    axes = len(tensor.shape)
    if axes != len(tensor.strides) or axes > _MAX_AXES:
        raise ValueError(
            f"a tensor has {axes:,} sides and {len(tensor.strides):,} strides, expected "
            f"as many of both, at most {_MAX_AXES}"
        )
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    _check_numbers(numbers, "offset, shape and strides of a tensor")
    return tensor


def _check_numbers(numbers: Iterable[Any], what: str) -> None:
    for number in numbers:
        if type(number) is not int:  # True is an int, too
            kind = type(number).__name__
            raise ValueError(f"the {what} must be integers, not a {kind}")
        if not 0 <= number < _MAX_NUMBER:
            raise ValueError(
                f"the {what} must be from 0 to {_MAX_NUMBER - 1:,}, not {number}"
            )
