from ttl_jax import atomic_files


def test_the_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "file.txt"
    with atomic_files.atomic_file(path) as stream:
        stream.write(b"content")
        assert not path.exists()
        assert all(other.parent == tmp_path for other in tmp_path.iterdir())
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]
