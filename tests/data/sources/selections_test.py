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


@pytest.mark.parametrize(
    "names", [("# a.png",), ("#",), (" a.png",), ("a.png", "b.png "), ("[a.png]",)]
)
def test_a_name_that_would_be_lost_is_not_written(names):
    with pytest.raises(ValueError, match=r"^'.*(#|a.png).* Rename the file\.$"):
        selections.to_text([], [Section("folder:a", [names])])
    kept = ("#a.png", "# b.png")  # no comment
    assert "#a.png\t# b.png" in selections.to_text([], [Section("folder:a", [kept])])


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


def test_both_names_of_a_line_must_be_those_of_the_pair(tmp_path, pairs):
    section = Section(f"folder:{pairs}", [("rainy/a.png", "clean/b.png")])
    source = write(tmp_path, selections.to_text([], [section]))
    message = (
        "pairs rainy/a.png with clean/b.png, but 'folder:.*' pairs it with clean/a.png"
    )
    for role in ("rainy", "clean"):
        with pytest.raises(ValueError, match=message):
            source_names.open_photographs(source, role)


def test_a_name_may_begin_like_the_folder_of_its_source(pairs, monkeypatch):
    (pairs / "x/x").mkdir(parents=True)
    for name, level in (("x/a.png", 1), ("x/x/a.png", 2)):
        Image.fromarray(np.full((9, 10, 3), level, np.uint8)).save(pairs / name)
    monkeypatch.chdir(pairs)
    (found,) = source_names.open_photographs(
        write(pairs, "[folder:x]\nx/a.png\n"), "clean"
    )
    assert np.all(found.load() == 2)


DERIVED = [
    "structures:folder:{}",
    "identity:{}",  # by its path alone
    "identity:structures:list:{}.txt",
    "rain:folder:{}",
    "streaks:folder:pairs on structures:folder:{}",
    "streaks:identity:folder:{} on folder:{}",
]


@pytest.mark.parametrize("form", DERIVED)
def test_sources_made_from_others_are_selected_in_any_folder(pairs, monkeypatch, form):
    """As `prepare --protocol` and `nearest_rain` write selections."""
    (pairs / "album/x").mkdir(parents=True)
    for name in ("a.png", "x/b.png"):
        rng = np.random.default_rng(0)
        array = rng.integers(0, 256, (60, 70, 3), np.uint8)
        Image.fromarray(array).save(pairs / "album" / name)
    (pairs / "album.txt").write_text("album/a.png\nalbum/x/b.png\n")
    (pairs / "pairs").symlink_to(pairs)
    monkeypatch.chdir(pairs)
    source = source_names.parse(form.format("album", "album"))
    field = "clean" if form.startswith("structures") else "pairs"
    items = source.open(field)
    lines = [tuple(source.relative(s.name) for s in item.sides) for item in items]
    assert not any("folder" in name for line in lines for name in line)
    text = selections.to_text([], [Section(source.absolute, lines[1:])])
    selected = write(pairs, text)
    monkeypatch.chdir("/")
    found = source_names.parse(selected).open(field)
    assert len(found) == len(items) - 1 > 0
    for item, other in zip(found, items[1:], strict=True):
        monkeypatch.chdir("/")
        loaded = item.load()
        monkeypatch.chdir(pairs)
        np.testing.assert_array_equal(loaded, other.load())


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
    assert source_names.parse("selection:a.txt").absolute == f"selection:{pairs}/a.txt"
