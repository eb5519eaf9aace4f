"""Writes checkpoints as `torch.save` does, without PyTorch."""

import collections
import io
import pickle
import sys
import types
import zipfile
from unittest import mock

import numpy as np

_STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage"}


class _Storage:
    def __init__(self, array, key):
        self.array, self.key = array, key


class _Tensor:
    """A tensor as PyTorch pickles it: a call with its storage, shape and strides."""

    def __init__(self, array, key):
        self.array, self.storage = array, _Storage(array, key)

    def __reduce__(self):
        strides = tuple(s // self.array.itemsize for s in self.array.strides)
        arguments = (self.storage, 0, self.array.shape, strides, False)
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (*arguments, collections.OrderedDict())


def _fake_torch():
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in _STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("The reader must not call this.")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    return {"torch": torch, "torch._utils": utils}


def save(path, content, name="archive"):
    """Writes nested dictionaries of arrays as a checkpoint of tensors."""
    storages = []

    def as_tensors(value):
        if isinstance(value, dict):
            items = ((key, as_tensors(item)) for key, item in value.items())
            return collections.OrderedDict(items)
        if isinstance(value, np.ndarray):
            storages.append(value)
            return _Tensor(value, str(len(storages) - 1))
        return value

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, _Storage):
                return None
            kind = getattr(sys.modules["torch"], _STORAGES[value.array.dtype.str[1:]])
            return "storage", kind, value.key, "cpu", value.array.size

    stream = io.BytesIO()
    with mock.patch.dict(sys.modules, _fake_torch()):
        Pickler(stream, protocol=2).dump(as_tensors(content))
    write(path, stream.getvalue(), storages, name)


def write(path, program, storages, name="archive"):
    """Writes an archive of a pickle and raw storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data.pkl", program)
        archive.writestr(f"{name}/byteorder", "little")
        for key, array in enumerate(storages):
            archive.writestr(f"{name}/data/{key}", array.tobytes())
