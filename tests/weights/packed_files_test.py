"""Weights as one file: read back exactly, whole or not at all, refused where damaged."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy

from tests import pictures
from ttl_jax.weights import packed_files

METADATA = {"step": 3, "config": {"pools": [4, 2], "name": "é"}}


@pytest.fixture
def modules():
    return {
        "encoder": {
            "blocks.0.alpha": np.float32(0.5),
            "stem.kernel": pictures.noise(3, 4, 2).astype(np.float32),
        },
        "decoder": {"merge.bias": np.arange(5, dtype=np.float32)},
    }


def test_arrays_and_metadata_are_read_back_exactly(tmp_path, modules):
    path = tmp_path / "x.safetensors"
    packed_files.write(path, modules, METADATA)
    loaded, told = packed_files.read(path)
    assert told == METADATA == packed_files.read_metadata(path)
    assert loaded.keys() == modules.keys()
    for module, params in modules.items():
        assert loaded[module].keys() == params.keys()
        for name, value in params.items():
            assert loaded[module][name].dtype == np.float32
            np.testing.assert_array_equal(loaded[module][name], value)


def test_other_programs_read_the_arrays(tmp_path, modules):
    path = tmp_path / "x.safetensors"
    packed_files.write(path, modules, METADATA)
    arrays = safetensors.numpy.load_file(path)
    assert set(arrays) == {
        "encoder/blocks.0.alpha",
        "encoder/stem.kernel",
        "decoder/merge.bias",
    }
    np.testing.assert_array_equal(arrays["decoder/merge.bias"], np.arange(5))


def test_a_file_is_written_whole_or_not_at_all(tmp_path, modules, monkeypatch):
    path = tmp_path / "x.safetensors"
    packed_files.write(path, modules, METADATA)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        packed_files.write(path, modules, {"step": object()})

    def fail(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            packed_files.write(path, modules, {"step": 4})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    with pytest.raises(ValueError, match="must end in .safetensors, not 'x.npz'"):
        packed_files.write(tmp_path / "x.npz", modules, METADATA)


def test_a_flipped_bit_in_an_array_or_the_metadata_is_found(tmp_path, modules):
    path = tmp_path / "x.safetensors"
    packed_files.write(path, modules, METADATA)
    sound = path.read_bytes()
    header_end = 8 + int.from_bytes(sound[:8], "little")
    metadata_at = sound.index(b"pools")
    for position in (metadata_at, *range(header_end, len(sound), 7)):
        damaged = bytearray(sound)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="x.safetensors .* differs? from .* saved"):
            packed_files.read(path)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        '{"digests": 5}',
        '{"digests": {"other": "aa"}}',
        "[" * 100_000,
    ],
    ids=range(8),
)
def test_foreign_headers_are_rejected_with_the_file_s_name(tmp_path, text):
    path = tmp_path / "x.safetensors"
    header = {}
    if text is not None:
        checksum = hashlib.sha256(text.encode()).hexdigest()
        header = {"ttl_jax": text, "sha256": checksum}
    safetensors.numpy.save_file({"encoder/a": np.zeros(3, np.float32)}, path, header)
    with pytest.raises(ValueError, match="x.safetensors"):
        packed_files.read(path)


def test_arrays_larger_than_their_file_are_rejected(tmp_path):
    header = json.dumps(
        {"encoder/a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    ).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 64)
    with pytest.raises(ValueError, match="x.safetensors cannot be read"):
        packed_files.read(path)
