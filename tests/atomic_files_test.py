import pathlib

import pytest

from ttl_jax import atomic_files


def test_the_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "file.txt"
    with atomic_files.atomic_file(path) as stream:
        stream.write(b"content")
        assert not path.exists()
        (partial,) = tmp_path.iterdir()  # on the same disk
        assert partial != path
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_written_atomically(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    atomic_files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        atomic_files.write_json(path, {"a": object()})

    def fail(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            atomic_files.write_json(path, {"a": 2})
    assert atomic_files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_is_checked_without_a_trace(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for name in (".", "new", "new/deep"):
        atomic_files.check_folder(tmp_path / name)
    for name in ("file", "file/new/deep", "gone/new", "/proc/new"):
        with pytest.raises(ValueError, match="cannot hold the output"):
            atomic_files.check_folder(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "gone"}


@pytest.mark.parametrize("number", [0, 1])  # of the two renames
def test_a_folder_survives_ctrl_c_while_it_is_replaced(tmp_path, monkeypatch, number):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "earlier").touch()
    rename, calls = pathlib.Path.rename, []

    def interrupt(path, target):
        calls.append(path)
        if len(calls) == number + 1:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt), atomic_files.atomic_folder(folder) as made:
        (made / "later").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in folder.iterdir()] == ["earlier"]
