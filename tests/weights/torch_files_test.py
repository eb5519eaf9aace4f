"""Forged and unusual PyTorch checkpoints: quickly refused, or read as PyTorch would."""

import struct
import warnings
import zipfile

import numpy as np
import pytest

from ttl_jax.weights import torch_files

FOUR = np.arange(4, dtype=np.float32)


def function(module, name):
    return f"c{module}\n{name}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    size = value.bit_length() // 8 + 1
    return bytes([0x8A, size]) + value.to_bytes(size, "little", signed=True)


def several(*items):
    return b"(" + b"".join(items) + b"t"


def tensor(shape, strides, *, offset=0, kind="FloatStorage", count=4):
    """Program of a tensor in storage "0", as `torch.save` writes it."""
    torch_kind = function("torch", kind)
    storage = several(
        text("storage"), torch_kind, text("0"), text("cpu"), integer(count)
    )
    return (
        function("torch._utils", "_rebuild_tensor_v2")
        + several(
            storage + b"Q",
            integer(offset),
            several(*map(integer, shape)),
            several(*map(integer, strides)),
        )
        + b"R"
    )


def write(path, *items, storage=FOUR, extra=()):
    """Writes an archive of a dictionary, from the programs of its keys and values."""
    program = b"\x80\x02}(" + b"".join(items) + b"u."
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", storage.tobytes())
        for name in extra:
            archive.writestr(name, b"")


@pytest.mark.parametrize(
    ("form", "storage", "expected"),
    [
        (((2, 3), (3, 1)), np.arange(6), [[0, 1, 2], [3, 4, 5]]),
        (((2, 3), (1, 2)), np.arange(6), [[0, 2, 4], [1, 3, 5]]),
        (((1, 2, 1), (9, 1, 0)), np.arange(2), [[[0], [1]]]),
        (((), ()), np.arange(1), 0),
    ],
)
def test_contiguous_tensors_and_their_transposes_are_read(
    form, storage, expected, tmp_path
):
    storage = storage.astype(np.float32)
    write(
        tmp_path / "x.pth",
        text("w"),
        tensor(*form, count=len(storage)),
        storage=storage,
    )
    found = torch_files.read(tmp_path / "x.pth")["w"]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_permuted_tensors_at_an_offset_are_read_as_numpy_does(tmp_path):
    whole = np.arange(29, dtype=np.float32)
    expected = whole[5:].reshape(2, 3, 4).transpose(2, 0, 1)
    program = tensor((4, 2, 3), (1, 12, 4), offset=5, count=29)
    write(tmp_path / "x.pth", text("w"), program, storage=whole)
    found = torch_files.read(tmp_path / "x.pth")["w"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (tensor((2, 2), (0, 0)), r"'w' of shape \(2, 2\) has strides \(0, 0\), expect"),
        (tensor((3, 2), (1, 1)), r"has strides \(1, 1\), expected .* contiguous()"),
        (tensor((2, 1), (2, 1)), r"has strides \(2, 1\)"),
        (tensor((0, 2), (2, 1)), r"of shape \(0, 2\) is empty"),
        (tensor((2,), (1,), offset=3), "ends at element 5 of storage '0', which has 4"),
        (tensor((1,) * 9, (1,) * 9), "9 sides and 9 strides, expected .* at most 8"),
        (tensor((2, 2), (2,)), "has 2 sides and 1 strides"),
        (tensor((1,), (2**40,)), "strides of a tensor must be from 0 to .* not 10995"),
        (tensor((1,), (-1,)), "must be from 0 to .* not -1"),
        (tensor((1,), (1,), count=2**61), "elements of a storage must be from 0"),
        (
            tensor((1,), (1,), count=1),
            "storage '0' has 16 bytes, expected 4. .* damaged",
        ),
        (tensor((1,), (1,), kind="\x1b[1m"), r"a storage '\\x1b\[1m', exp"),
        (
            tensor((1,), (1,), kind="BFloat16Storage"),
            "storage 'BFloat16Storage', expec",
        ),
    ],
)
def test_forged_tensors_are_refused(program, message, tmp_path):
    write(tmp_path / "x.pth", text("w"), program)
    with pytest.raises(ValueError, match=message):
        torch_files.read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([integer(2**31)], "has the key 2147483648, expected integers from 0 to"),
        ([integer(-1)], "has the key -1, expected"),
        ([integer(1), text("1")], "a tensor is named 1, expected text"),
        ([text("w"), text("w")], "has the key 'w' twice"),
        ([text("w" * 201)], "name of a tensor has 201 characters, expected at most"),
    ],
)
def test_names_that_could_stand_for_others_are_refused(keys, message, tmp_path):
    items = [part for key in keys for part in (key, tensor((1,), (1,)))]
    write(tmp_path / "x.pth", *items)
    with pytest.raises(ValueError, match=message):
        torch_files.read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("a/data/0", "it holds two files named 'a/data/0'"),
        ("b/data.pkl", "it has 2 files data.pkl, expected one: 'a/data.pkl', 'b/data"),
    ],
)
def test_archives_that_hold_a_file_twice_are_refused(extra, message, tmp_path):
    write(tmp_path / "x.pth", text("w"), tensor((1,), (1,)), extra=[extra])
    with pytest.raises(ValueError, match=message):
        torch_files.read(tmp_path / "x.pth")


def test_a_storage_that_tensors_share_is_read_once(tmp_path, monkeypatch):
    items = [part for n in "bca" for part in (text(n), tensor((2,), (1,), offset=1))]
    write(tmp_path / "x.pth", *items)
    names = []
    read_file = torch_files._read_file

    def record(archive, name):
        names.append(name)
        return read_file(archive, name)

    monkeypatch.setattr(torch_files, "_read_file", record)
    found = torch_files.read(tmp_path / "x.pth")
    assert names.count("a/data/0") == 1
    assert list(found) == ["b", "c", "a"]
    for array in found.values():
        np.testing.assert_array_equal(array, [1, 2])


def test_tensors_that_share_a_storage_are_not_far_larger_than_the_file(tmp_path):
    storage = np.zeros(1000, np.float32)
    shared = tensor((1000,), (1,), count=1000) + b"q\x00"
    items = [text("0"), shared]
    items += [part for n in range(1, 99) for part in (text(str(n)), b"h\x00")]
    write(tmp_path / "x.pth", *items, storage=storage)
    with pytest.raises(ValueError, match="its tensors have 99,000 numbers, more than"):
        torch_files.read(tmp_path / "x.pth")


def test_messages_name_some_of_many_keys(tmp_path):
    items = [part for n in range(100) for part in (text(f"name{n:02}"), b"N")]
    write(tmp_path / "x.pth", *items)
    with pytest.raises(ValueError, match="'name00', .*'name09', and 90 more"):
        torch_files.read(tmp_path / "x.pth")
    write(tmp_path / "x.pth", text("w" * 10_000), b"N")
    with pytest.raises(ValueError, match="no tensors by name, but 'www") as raised:
        torch_files.read(tmp_path / "x.pth")
    assert len(str(raised.value)) < 1200
