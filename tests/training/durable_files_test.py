"""JSON files."""

import pytest

from ttl_jax.training import durable_files


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    durable_files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        durable_files.write_json(path, {"a": object()})

    def fail(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            durable_files.write_json(path, {"a": 2})
    assert durable_files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
