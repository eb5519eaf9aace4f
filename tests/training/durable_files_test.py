"""JSON files."""

import pytest

from ttl_jax.training import durable_files


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    durable_files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        durable_files.write_json(path, {"a": object()})
    assert durable_files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
