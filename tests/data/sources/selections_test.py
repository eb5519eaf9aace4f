import numpy as np
import pytest
from PIL import Image

from ttl_jax.data.sources import selections, source_names
from ttl_jax.data.sources.photographs import NoPairsError
from ttl_jax.data.sources.selections import Section


@pytest.fixture
def pairs(tmp_path):
    """A folder of four pairs."""
    for i, side in enumerate(("rainy", "clean")):
        (tmp_path / side).mkdir()
        for name in "abcd":
            array = np.full((9, 10, 3), 50 * i + ord(name), np.uint8)
            Image.fromarray(array).save(tmp_path / side / f"{name}.png")
    return tmp_path


def write(tmp_path, text):
    (tmp_path / "picked.txt").write_text(text)
    return f"selection:{tmp_path}/picked.txt"


def test_a_written_selection_is_read_back(tmp_path):
    sections = [Section("tfds:a/test", [("a/1", "b/1"), ("a/2", "b/1")])]
    sections.append(Section("folder:/with space", [("x y", "z")]))
    text = selections.to_text(["what it is"], [*sections, Section("folder:/none", [])])
    (tmp_path / "file.txt").write_text(text)
    assert selections.read(tmp_path / "file.txt") == sections
    assert text.startswith("# what it is\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names per line: no lines"),
        ("[a]\n", "names per line: no lines"),
        ("name\n", "line 1: 'name' is not in a section"),
        ("[a]\nx\n[b]\ny\tz\n", r"names per line: \[1, 2\]"),
        ("[a]\nx\ty\tz\n", r"names per line: \[3\]"),
        ("[selection:b]\nx\n", "line 1: .* a selection"),
        ("[rain:selection:b]\nx\ty\n", "line 1: .* a selection"),
        ("[sample/test]\nsample/china\nx\n", "1 of 2 names .* among the 2 photo.*: x"),
    ],
)
def test_a_malformed_selection_is_an_error(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        source_names.open_photographs(write(tmp_path, text), "clean")


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match="none.txt, which cannot be read"):
        source_names.open_pairs("selection:none.txt")


def test_pairs_are_picked_from_several_sources(tmp_path, pairs):
    (tmp_path / "list.txt").write_text("rainy/d.png\tclean/a.png\n")
    lines = [(f"rainy/{x}.png", f"clean/{x}.png") for x in "cac"]
    sections = [
        Section(f"folder:{pairs}", lines),
        Section(f"list:{tmp_path}/list.txt", [("rainy/d.png", "clean/a.png")]),
    ]
    source = write(tmp_path, selections.to_text([], sections))
    found = source_names.open_pairs(source)
    assert [pair.name[-5:] for pair in found] == ["c.png", "a.png", "d.png"]
    np.testing.assert_array_equal(found[0].load()[0], ord("c"))
    np.testing.assert_array_equal(found[0].load()[1], 50 + ord("c"))
    rainy, clean = (
        [item.name for item in source_names.open_photographs(source, role)]
        for role in ("rainy", "clean")
    )
    assert rainy == [pair.name for pair in found]
    assert clean == [f"{pairs}/clean/{name}.png" for name in "ca"]  # a counts once


def test_photographs_are_picked_and_hold_no_pairs(tmp_path, pairs):
    section = Section(f"folder:{pairs}", [("clean/b.png",)])
    source = write(tmp_path, selections.to_text([], [section]))
    found = source_names.open_photographs(source, "clean")
    assert [item.name for item in found] == [f"{pairs}/clean/b.png"]
    with pytest.raises(NoPairsError, match="one column"):
        source_names.open_pairs(source)


def test_a_folder_named_by_its_path_alone_is_that_folder(pairs, monkeypatch):
    named = f"folder:{pairs}"
    for source in map(source_names.parse, (str(pairs), named)):
        assert (source.absolute, source.root) == (named, f"{pairs}/")
    monkeypatch.chdir(pairs)
    assert source_names.parse("rainy").absolute == f"folder:{pairs}/rainy"
    (pairs / "sample").mkdir()  # the embedded photographs come first
    assert source_names.parse("sample").absolute == "sample"
    assert source_names.parse("sample/test").root == ""
