"""Lists of jobs from the inputs of a command line."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from ttl_jax.data.files import encoding
from ttl_jax.inference import job_lists


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photographs(*names):
    for name in names:
        path = pathlib.Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        encoding.write_image(path, np.full((4, 5, 3), 100, np.uint8))


def planned(inputs, output="out"):
    jobs, _ = job_lists.plan(inputs, output)
    return dict(jobs)


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


def test_brackets_in_the_name_of_a_file_are_not_a_pattern(here):
    photographs("a[1].png", "a1.png")
    assert planned(["a[1].png"]) == {"a[1].png": "out/a[1].png"}


def test_hidden_files_are_skipped(here):
    photographs("in/a.png", "in/.trash/b.png")
    pathlib.Path("in/._a.png").write_bytes(b"what macOS leaves behind")
    assert planned(["in"]) == {"in/a.png": "out/a.png"}


def test_outputs_within_the_input_are_not_inputs_of_the_next_run(here):
    photographs("in/a.png", "in/restored/a.png")
    assert planned(["in"], "in/restored") == {"in/a.png": "in/restored/a.png"}
    assert planned(["**/*.png"], "in/restored") == {"in/a.png": "in/restored/in/a.png"}


def test_an_output_folder_linked_within_the_input_is_no_input(here):
    photographs("in/a.png", "elsewhere/a.png", "elsewhere/b/c.png")
    pathlib.Path("in/restored").symlink_to(here / "elsewhere")
    for text in ("in", "in/**", "in/*"):
        for output in ("in/restored", "elsewhere"):
            assert planned([text], output) == {"in/a.png": f"{output}/a.png"}


def test_inputs_within_the_output_are_inputs(here):
    photographs("all/rainy/a.png")
    assert planned(["all/rainy"], "all") == {"all/rainy/a.png": "all/a.png"}


def test_the_same_photograph_named_twice_is_restored_once(here):
    photographs("in/a.png")
    assert planned(["in", "in/*.png", "in/a.png"]) == {"in/a.png": "out/a.png"}


def test_two_photographs_for_one_output_are_rejected_by_name(here):
    photographs("x/a.png", "y/a.png")
    with pytest.raises(ValueError, match="x/a.png and y/a.png.*out/a.png"):
        job_lists.plan(["x", "y"], "out")


@pytest.mark.parametrize("inputs", [["in"], ["in/a.png"], ["in/*"]])
def test_overwriting_a_photograph_is_rejected(here, inputs):
    photographs("in/a.png")
    with pytest.raises(ValueError, match="in/a.png.*overwritten"):
        job_lists.plan(inputs, "in")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("empty", "empty holds no photographs.*webp"),
        ("empty/*.png", "holds no photographs"),
        ("film.pdf", r"film.pdf is not a photograph.*\.png, \.jpg"),
        ("raw.cr2", "raw.cr2 is not a photograph; supported are .*webp"),
        ("", "A path is empty"),
    ],
)
def test_inputs_without_photographs_are_rejected(here, text, message):
    pathlib.Path("empty").mkdir()
    pathlib.Path("film.pdf").write_bytes(b"film")
    pathlib.Path("raw.cr2").write_bytes(b"raw")
    with pytest.raises(ValueError, match=message):
        job_lists.plan([text], "out")


def test_a_file_as_output_is_rejected(here):
    photographs("in/a.png", "out.png")
    with pytest.raises(ValueError, match="out.png is a file"):
        job_lists.plan(["in"], "out.png")


def test_links_to_files_are_photographs_and_their_targets_are_kept(here):
    photographs("elsewhere/a.png", "in/b.png")
    pathlib.Path("in/a.png").symlink_to(here / "elsewhere" / "a.png")
    pathlib.Path("in/gone.png").symlink_to(here / "nowhere.png")
    assert planned(["in"]) == {"in/a.png": "out/a.png", "in/b.png": "out/b.png"}
    assert planned(["in/*.png"]) == planned(["in"])
    for inputs in (["in"], ["in/*.png"], ["in/a.png"]):
        with pytest.raises(ValueError, match="elsewhere/a.png.*overwritten"):
            job_lists.plan(inputs, "elsewhere")
    pathlib.Path("link").symlink_to(here / "elsewhere")
    with pytest.raises(ValueError, match="link/a.png.*overwritten"):
        job_lists.plan(["in"], "link")


def test_the_order_is_that_of_the_paths_part_by_part(here):
    photographs("in/b/c.png", "in/b.png", "in/a.png", "in/b-c/a.png")
    expected = ["in/a.png", "in/b/c.png", "in/b-c/a.png", "in/b.png"]
    assert sorted(expected, key=lambda path: path.split("/")) == expected
    for text in ("in", "in/**", "in/*"):
        assert list(planned([text])) == expected


def test_a_folder_that_cannot_be_read_is_named(here, monkeypatch):
    photographs("in/a.png", "in/locked/b.png")
    scan = os.scandir

    def scandir(path):
        if path == "in/locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match="in/locked cannot be read: Permission denied"):
        job_lists.plan(["in"], "out")


def test_no_single_file_of_a_folder_is_queried(here, monkeypatch):
    asked = []
    for name in ("stat", "lstat"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, f=original, **k: asked.append(a) or f(*a, **k)
        )

    def count(folder):
        asked.clear()
        jobs, _ = job_lists.plan([folder], "out")
        assert job_lists.list_missing(jobs) == jobs
        return len(asked)

    photographs("few/a.png", *(f"many/{i}.png" for i in range(30)))
    assert count("many") == count("few")


def test_existing_targets_are_not_missing(here):
    photographs("in/a.png", "in/b/a.png", "in/b/c.png", "out/b/a.png")
    jobs, _ = job_lists.plan(["in"], "out")
    assert [job.target for job in job_lists.list_missing(jobs)] == [
        "out/a.png",
        "out/b/c.png",
    ]


def test_all_targets_are_missing_if_a_file_replaces_their_folder(here):
    photographs("in/b/a.png")
    pathlib.Path("out").mkdir()
    pathlib.Path("out/b").touch()
    jobs, _ = job_lists.plan(["in"], "out")
    assert job_lists.list_missing(jobs) == jobs == [("in/b/a.png", "out/b/a.png")]


def test_an_output_that_looks_like_a_photograph_is_refused_unless_it_is_a_folder(here):
    photographs("a.png")
    with pytest.raises(ValueError, match="write IN dry.jpg without --output"):
        planned(["a.png"], "dry.jpg")
    pathlib.Path("dry.jpg").mkdir()
    assert planned(["a.png"], "dry.jpg") == {"a.png": "dry.jpg/a.png"}


def test_other_files_are_counted_by_suffix_and_clutter_is_not(here):
    photographs("in/a.png", "in/b.BMP", "in/c.jfif", "in/@eaDir/a.png/thumb.jpg")
    for name in ("x.CR2", "y.CR2", "z.pdf", "Thumbs.db", ".hidden.txt", "desktop.ini"):
        pathlib.Path("in", name).touch()
    for text in ("in", "in/*"):
        jobs, skipped = job_lists.plan([text], "out")
        assert [job.source for job in jobs] == ["in/a.png", "in/b.BMP", "in/c.jfif"]
        assert skipped.describe() == ["Skipped 3 files: .CR2 2, .pdf 1."]


def test_a_linked_album_is_followed_once_and_broken_links_are_named(here):
    photographs("in/a.png", "album/b.png")
    pathlib.Path("in/album").symlink_to(here / "album")
    pathlib.Path("in/same").symlink_to(here / "album")
    pathlib.Path("in/loop").symlink_to(here / "in")
    pathlib.Path("album/up").symlink_to(here)
    pathlib.Path("in/gone").symlink_to(here / "nowhere")
    jobs, skipped = job_lists.plan(["in"], "out")
    assert dict(jobs) == {"in/a.png": "out/a.png", "in/album/b.png": "out/album/b.png"}
    assert skipped.describe() == ["Skipped in/gone: a link to no file."]


def test_a_link_to_itself_is_a_link_to_no_file(here):
    photographs("in/a.png")
    pathlib.Path("in/self.jpg").symlink_to("self.jpg")
    for text in ("in", "in/*"):
        jobs, skipped = job_lists.plan([text], "out")
        assert dict(jobs) == {"in/a.png": "out/a.png"}
        assert skipped.describe() == ["Skipped in/self.jpg: a link to no file."]


def test_a_home_folder_is_expanded(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    photographs("in/a.png")
    for text in ("~/in", "~/in/*.png"):
        assert planned([text]) == {str(here / "in/a.png"): "out/a.png"}


def test_names_and_formats_of_targets(here):
    photographs("in/a.png", "in/b.JPG")
    Image.new("RGB", (5, 4)).save("in/c.gif")
    jobs, _ = job_lists.plan(["in"], "out", ending="_derained")
    assert [job.target for job in jobs] == [
        "out/a_derained.png", "out/b_derained.JPG", "out/c_derained.png",
    ]  # fmt: skip
    jobs, _ = job_lists.plan(["in"], "out", suffix=".webp")
    assert [job.target for job in jobs] == ["out/a.webp", "out/b.webp", "out/c.webp"]
