"""What a command line's inputs become, and restoring them one by one."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from ttl_jax.data import decoding
from ttl_jax.inference import folders, images


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photographs(*names):
    for name in names:
        path = pathlib.Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write_image(path, np.full((4, 5, 3), 100, np.uint8))


def planned(inputs, output="out"):
    return {
        job.source.as_posix(): job.target.as_posix()
        for job in folders.plan(inputs, output)
    }


def test_a_file_keeps_its_name(here):
    photographs("deep/down/a.JPG")
    assert planned(["deep/down/a.JPG"]) == {"deep/down/a.JPG": "out/a.JPG"}


def test_a_folder_keeps_its_tree(here):
    photographs("in/a.png", "in/b/a.png", "in/b/c/d.tif")
    pathlib.Path("in/notes.txt").write_text("no photograph")
    assert planned(["in"]) == {
        "in/a.png": "out/a.png",
        "in/b/a.png": "out/b/a.png",
        "in/b/c/d.tif": "out/b/c/d.tif",
    }


def test_a_pattern_keeps_the_tree_below_its_fixed_part(here):
    photographs("in/x/a.png", "in/y/a.png", "in/y/b.jpg")
    assert planned(["in/*/a.png"]) == {
        "in/x/a.png": "out/x/a.png",
        "in/y/a.png": "out/y/a.png",
    }
    assert planned(["in/**"]) == planned(["in"])


def test_brackets_in_the_name_of_a_file_are_no_pattern(here):
    photographs("a[1].png", "a1.png")
    assert planned(["a[1].png"]) == {"a[1].png": "out/a[1].png"}


def test_hidden_files_are_passed_over(here):
    photographs("in/a.png", "in/.trash/b.png")
    pathlib.Path("in/._a.png").write_bytes(b"what macOS leaves behind")
    assert planned(["in"]) == {"in/a.png": "out/a.png"}


def test_outputs_within_the_input_are_no_inputs_of_the_next_run(here):
    photographs("in/a.png", "in/restored/a.png")
    assert planned(["in"], "in/restored") == {"in/a.png": "in/restored/a.png"}
    assert planned(["**/*.png"], "in/restored") == {"in/a.png": "in/restored/in/a.png"}


def test_inputs_within_the_output_are_inputs(here):
    photographs("all/rainy/a.png")
    assert planned(["all/rainy"], "all") == {"all/rainy/a.png": "all/a.png"}


def test_the_same_photograph_named_twice_is_restored_once(here):
    photographs("in/a.png")
    assert planned(["in", "in/*.png", "in/a.png"]) == {"in/a.png": "out/a.png"}


def test_two_photographs_for_one_output_are_refused_by_name(here):
    photographs("x/a.png", "y/a.png")
    with pytest.raises(ValueError, match="x/a.png and y/a.png.*out/a.png"):
        folders.plan(["x", "y"], "out")


@pytest.mark.parametrize("inputs", [["in"], ["in/a.png"], ["in/*"]])
def test_overwriting_a_photograph_is_refused(here, inputs):
    photographs("in/a.png")
    with pytest.raises(ValueError, match="in/a.png.*overwritten"):
        folders.plan(inputs, "in")


@pytest.mark.parametrize(
    "text, message",
    [
        ("nowhere", "nowhere does not exist"),
        ("empty", "empty holds no photographs.*webp"),
        ("empty/*.png", "holds no photographs"),
        ("film.mp4", r"film.mp4 is no photograph.*\.png, \.jpg"),
        ("scan.bmp", "scan.bmp is no photograph; supported are .*webp"),
    ],
)
def test_inputs_without_photographs_are_refused(here, text, message):
    pathlib.Path("empty").mkdir()
    pathlib.Path("film.mp4").write_bytes(b"film")
    Image.new("RGB", (5, 4)).save("scan.bmp")
    with pytest.raises(ValueError, match=message):
        folders.plan([text], "out")


def test_a_file_as_output_is_refused(here):
    photographs("in/a.png", "out.png")
    with pytest.raises(ValueError, match="out.png is a file"):
        folders.plan(["in"], "out.png")


def test_each_file_keeps_depth_and_alpha(here):
    array = np.arange(4 * 5 * 4, dtype=np.uint16).reshape(4, 5, 4)
    images.write_image("a.png", array, {"dpi": (300.0, 300.0)})
    assert folders.restore_files(folders.plan(["a.png"], "out"), np.flipud) == []
    result, info = decoding.read_image("out/a.png")
    np.testing.assert_array_equal(result, np.flipud(array))
    np.testing.assert_allclose(info["dpi"], 300, atol=0.1)


def test_a_still_gif_under_another_name_becomes_what_it_is_named(here):
    Image.new("L", (5, 4), 100).save("a.jpg", format="GIF")
    assert folders.restore_files(folders.plan(["a.jpg"], "out"), np.flipud) == []
    with Image.open("out/a.jpg") as image:
        assert image.format == "JPEG"


def test_a_bad_file_is_named_on_one_line(here):
    pathlib.Path("a\nb.png").touch()
    failures = folders.restore_files(folders.plan(["a\nb.png"], "out"), np.flipud)
    assert failures == ["a\ufffdb.png is empty (0 bytes)."]


def test_bad_files_are_named_and_the_rest_is_restored(here):
    photographs("in/a.png", "in/c.png", "in/d.png")
    pathlib.Path("in/b.png").touch()

    def restore(array):
        restore.calls += 1
        if restore.calls == 2:
            raise RuntimeError("out of memory\nwith many lines of detail")
        return array

    restore.calls = 0
    failures = folders.restore_files(folders.plan(["in"], "out"), restore)
    assert failures == ["in/b.png is empty (0 bytes).", "in/c.png: out of memory"]
    written = sorted(path.name for path in pathlib.Path("out").iterdir())
    assert written == ["a.png", "d.png"]
