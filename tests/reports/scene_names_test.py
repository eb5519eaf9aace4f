"""Scenes that a file names."""

import pytest

from ttl_jax.reports import scene_names


def test_a_path_names_the_images_that_end_with_it(tmp_path):
    file = tmp_path / "manifest.csv"
    file.write_text(
        "notes,path,scene\nx,set/1.png,one\n,set/1.jpg,one\n,2.webp,two\n,a.1,three\n"
    )
    names = scene_names.read(file)
    assert names.find("/data/set/1.webp") == "one"
    assert names.find("set/1") == "one"
    assert names.find("rain:/data/deep/2.png") == "two"
    assert names.find("a.1") == names.find("/b/a.1.png") == "three"
    assert names.find("/data/offset/1.png") is None  # ends with a part of a name
    assert names.find("1.png") is None


def test_rows_without_a_path_or_a_scene_are_ignored(tmp_path):
    (tmp_path / "a.csv").write_text("scene,path\none,1.png\n\ntwo\n,2.png\nthree,\n")
    names = scene_names.read(tmp_path / "a.csv")
    assert names.find("1.png") == "one" and names.find("2.png") is None
    assert names.find("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read as CSV"),
        ("", "cannot be read as CSV"),
        ("path,scene\n", "the columns path and scene"),
        ("path,place\n1.png,a\n", "the columns path and scene"),
        ("path,scene\na/1.png,x\na/1.jpg,y\n", "gives a/1.jpg the scenes 'x' and 'y'"),
    ],
)
def test_a_file_that_names_no_scenes_is_rejected(tmp_path, text, message):
    if text is not None:
        (tmp_path / "scenes.csv").write_text(text)
    with pytest.raises(ValueError, match=f"scenes.csv .*{message}"):
        scene_names.read(tmp_path / "scenes.csv")
