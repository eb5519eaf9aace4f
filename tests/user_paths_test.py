"""Paths and lists as users write them."""

import pathlib

from ttl_jax import user_paths


def test_a_home_folder_is_expanded_and_an_unknown_user_is_not(monkeypatch):
    monkeypatch.setenv("HOME", "/user")
    assert user_paths.expand("~/a") == pathlib.Path("/user/a")
    assert user_paths.expand("~nobody-here/a") == pathlib.Path("~nobody-here/a")
    assert user_paths.expand("a/~b") == pathlib.Path("a/~b")


def test_only_a_number_sign_and_a_space_begin_a_comment(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# photographs\n#file.png\n\n  # more\n#\na #1.png\n")
    lines = user_paths.read_text_lines(path, "A list")
    assert lines == [(2, "#file.png"), (6, "a #1.png")]
