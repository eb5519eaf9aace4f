import dataclasses
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from ttl_jax import data
from ttl_jax.data import randomness
from ttl_jax.data.files import images
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import (
    ROLES,
    DrawnPhotograph,
    NoPairsError,
    Pair,
    Photograph,
)
from ttl_jax.data.sources.source import Source
from ttl_jax.data.structures import drawing


@pytest.fixture
def make(tmp_path):
    """Writes images of the given relative paths, each of its own colour."""

    def write(*names, size=(10, 12)):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            level = sum(str(name).encode()) % 256
            Image.fromarray(np.full((*size, 3), level, np.uint8)).save(path)
        return tmp_path

    return write


def relative(items, root):
    return [os.path.relpath(item.name, root) for item in items]


def bases(source):
    return [base.name for base in source_names.parse(source).bases()]


# folder


def test_a_folder_gives_all_images_below_it_in_order_of_their_paths(make, monkeypatch):
    root = make("b.png", "a/c.JPG", "a/b/x.tiff", "B.webp", ".hidden.png", ".git/a.png")
    (root / "notes.txt").write_text("no image")
    walk = os.walk

    def reversed_walk(*args, **kwargs):
        for folder, subfolders, files in walk(*args, **kwargs):
            subfolders.sort(reverse=True)
            yield folder, subfolders, sorted(files, reverse=True)

    expected = ["B.webp", "a/b/x.tiff", "a/c.JPG", "b.png"]
    for role in ROLES:
        found = source_names.open_photographs(f"folder:{root}", role)
        assert relative(found, root) == expected
    monkeypatch.setattr(os, "walk", reversed_walk)
    found = source_names.open_photographs(f"folder:{root}", "clean")
    assert relative(found, root) == expected
    assert (found[0].width, found[0].height) == (12, 10)
    assert found[0].num_bytes == os.path.getsize(root / "B.webp")
    np.testing.assert_array_equal(found[3].load(), images.load(root / "b.png"))


def test_linked_folders_are_followed_and_cycles_end(make, tmp_path):
    root = make("photos/a.png", "elsewhere/b.png") / "photos"
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    found = source_names.open_photographs(f"folder:{root}", "clean")
    assert relative(found, root) == ["a.png", "link/b.png"]


@pytest.mark.parametrize(
    "layout", [("rainy", "clean"), ("input", "target"), ("lq", "gt")]
)
def test_a_folder_of_pairs_matches_paths_without_suffix(make, layout):
    rainy, clean = layout
    names = [f"{rainy}/1.png", f"{rainy}/x/2.b.png", f"{clean}/1.bmp"]
    root = make(*names, f"{clean}/x/2.b.webp", "other.png")
    pairs = source_names.open_pairs(f"folder:{root}")
    assert relative(pairs, root) == names[:2]
    assert relative([p.clean for p in pairs], root) == [names[2], f"{clean}/x/2.b.webp"]
    for role, side in zip(ROLES, layout, strict=True):
        found = source_names.open_photographs(f"folder:{root}", role)
        assert {name.split("/")[0] for name in relative(found, root)} == {side}


def test_what_systems_leave_in_folders_is_skipped(make):
    litter = ["Thumbs.db", "._1.png", ".DS_Store"]
    folders = ["@eaDir/1.png", "__MACOSX", "$RECYCLE.BIN", ".thumbnails"]
    root = make("rainy/1.png", "clean/1.png", *(f"rainy/{f}/x.png" for f in folders))
    for name in litter:
        (root / "rainy" / name).write_bytes(b"x")
    assert relative(source_names.open_pairs(f"folder:{root}"), root) == ["rainy/1.png"]


def test_accents_in_names_may_be_composed_on_one_side(make):
    root = make("rainy/Zu\u0308rich.png", "clean/Z\u00fcrich.png")  # macOS, Linux
    assert len(source_names.open_pairs(f"folder:{root}")) == 1


def test_the_folders_of_pairs_may_be_in_capitals(make):
    root = make("LQ/1.png", "GT/1.png")
    (pair,) = source_names.open_pairs(f"folder:{root}")
    assert relative([pair, pair.clean], root) == ["LQ/1.png", "GT/1.png"]


FOLDER_FAULTS = {
    "flat": (["a.png"], "subfolders rainy/ and clean/ or input/ and target/ or lq/ and gt/. "),
    "lone": (["rainy/a.png", "rainy/b.png", "clean/b.png"],
             "lone/rainy/a.png has no partner in {root}/lone/clean/. "),
    "extra": (["rainy/a.png", "clean/a.png", "clean/b.png"],
              "extra/clean/b.png has no partner in {root}/extra/rainy/. "),
    "twin": (["rainy/a.png", "rainy/a.bmp", "clean/a.png"],
             "a.png differs from {root}/twin/rainy/a.bmp in its suffix only"),
    "both": (["rainy/a.png", "clean/a.png", "input/a.png", "target/a.png"],
             "rainy+clean and input+target"),
}  # fmt: skip


def folder_fault(folder):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as raised:
        source_names.open_pairs(f"folder:{folder}")
    return str(raised.value)


@pytest.mark.parametrize("name", FOLDER_FAULTS)
def test_misplaced_files_are_errors_of_one_line(make, name):
    files, message = FOLDER_FAULTS[name]
    root = make(*(f"{name}/{file}" for file in files))
    assert message.format(root=root) in folder_fault(root / name)


def test_unusable_folders_and_images_are_errors_of_one_line(make, tmp_path):
    root = tmp_path
    assert f"there is no folder {root}/absent" in folder_fault(root / "absent")
    (root / "empty/rainy").mkdir(parents=True)
    (root / "empty/clean").mkdir()
    assert f"{root}/empty/rainy holds no images; " in folder_fault(root / "empty")
    make("sizes/rainy/a.png")
    make("sizes/clean/a.png", size=(10, 11))
    assert (
        f"The sides of 1 of 1 pairs differ in size: {root}/sizes/rainy/a.png is 12x10, "
        f"{root}/sizes/clean/a.png 11x10. " in folder_fault(root / "sizes")
    )
    (make("bad/rainy/a.png", "bad/clean/a.png") / "bad/clean/a.png").write_bytes(b"")
    assert "bad/clean/a.png is empty" in folder_fault(root / "bad")


def test_other_files_of_a_folder_are_counted_once(make, caplog):
    root = make("mixed/a.png", "mixed/b.png") / "mixed"
    for name in ("a.CR2", "b.CR2", "a.json", "Thumbs.db"):
        (root / name).touch()
    for _ in range(2):
        assert len(source_names.open_photographs(f"folder:{root}", "clean")) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"folder:{root}: Skipped 3 files: .CR2 2, .json 1."
    ]


def test_photographs_are_not_mixed_with_the_rainy_sides_of_pairs(make):
    root = make("train/Rainy/x/a.png", "train/clean/x/a.png", "test/lq/b.png")
    with pytest.raises(ValueError, match=r"\A.*mixes rainy and clean[^\n]*\Z") as e:
        source_names.open_photographs(f"folder:{root}", "clean")
    assert f"pairs in {root}/train. Name one of these, such as" in str(e.value)
    found = source_names.open_photographs(f"folder:{root}/train", "clean")
    assert relative(found, root) == ["train/clean/x/a.png"]
    make("album/rainy/a.png", "album/x/clean/a.png")  # no two sides in one folder
    assert len(source_names.open_photographs(f"folder:{root}/album", "clean")) == 2


# list


def test_a_list_of_one_column_serves_both_roles(make):
    root = make("a.png", "sub/b c.png", "#d.png")
    (root / "list.txt").write_text(
        f"\ufeff# comment\n\nsub/b c.png\r\n{root / 'a.png'}\n./#d.png\n", "utf-8"
    )
    for role in ROLES:
        found = source_names.open_photographs(f"list:{root / 'list.txt'}", role)
        assert relative(found, root) == ["sub/b c.png", "a.png", "#d.png"]
    with pytest.raises(ValueError, match="has one column; pairs need two"):
        source_names.open_pairs(f"list:{root / 'list.txt'}")


def test_a_list_of_two_columns_holds_pairs_that_may_share_a_clean_side(make):
    root = make("r1.png", "r2.png", "c.png")
    (root / "list.txt").write_text("r1.png\tc.png\nr2.png\tc.png\n")
    source = f"list:{root / 'list.txt'}"
    pairs = source_names.open_pairs(source)
    assert relative(pairs, root) == ["r1.png", "r2.png"]
    assert relative([pair.clean for pair in pairs], root) == ["c.png", "c.png"]
    np.testing.assert_array_equal(pairs[1].load()[0], images.load(root / "r2.png"))
    rainy = source_names.open_photographs(source, "rainy")
    assert relative(rainy, root) == ["r1.png", "r2.png"]
    clean = source_names.open_photographs(source, "clean")
    assert relative(clean, root) == ["c.png"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# nothing\n", "names no images"),
        ("a.png\tb.png\na.png\n", r"line 2: 'a.png' has 1 columns.*expected 2"),
        ("a.png\tb.png\tc.png\n", r"line 1: .* has 3 columns.*expected 1 or 2"),
        ("a.png\t\n", "line 1: .* or an empty one"),
        ("absent.png\n", r"1 of 1 image files.*absent.png cannot be read"),
        ("a.png\na.png\n", r"a\.png is in 'list:.*' and again in 'list:"),
    ],
)
def test_faults_of_lists_are_named(make, text, fault):
    root = make("a.png", "b.png", "c.png")
    (root / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=fault):
        source_names.open_photographs(f"list:{root / 'list.txt'}", "rainy")


def test_an_unreadable_list_is_named(tmp_path):
    with pytest.raises(ValueError, match="absent.txt, which cannot be read"):
        source_names.open_pairs(f"list:{tmp_path / 'absent.txt'}")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ValueError, match="cannot be read as UTF-8 text"):
        source_names.open_pairs(f"list:{tmp_path / 'image.png'}")


# all


def test_several_sources_are_concatenated(make):
    root = make("a/1.png", "b/2.png", "b/3.png")
    names = [f"folder:{root}/b", "sample/test", f"folder:{root}/a"]
    found = source_names.open_photographs(names, "clean")
    assert [pathlib.Path(p.name).stem for p in found] == [
        "2",
        "3",
        "china",
        "rocket",
        "1",
    ]


def test_a_photograph_named_twice_is_rejected_in_any_spelling(make, monkeypatch):
    root = make("a/1.png")
    monkeypatch.chdir(root)
    for sources, message in (
        (("sample/test", "sample"), "china is in 'sample/test' and again in 'sample'"),
        (("folder:a", f"folder:{root}/a"), "'folder:a' and again in 'folder:/"),
    ):
        with pytest.raises(ValueError, match=message):
            source_names.open_photographs(sources, "clean")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smaple", "did you mean 'sample'"),
        ("sample/tset", "did you mean 'sample/test'"),
        ("folders:/x", "did you mean 'folder:/x'"),
        ("tfd:rain1200/train", "did you mean 'tfds:rain1200/train'"),
        ("file.png", "CLEAN[.]$"),
        ("structure:sample", "did you mean 'structures:sample'"),
    ],
)
def test_an_unknown_source_is_rejected_with_the_known_ones(name, hint):
    message = f"Unknown source '{name}', and there is no such folder; known: sample, "
    with pytest.raises(ValueError, match=f"{message}.*{hint}"):
        source_names.open_photographs(name, "rainy")


@pytest.mark.parametrize("name", ["folder:", "list:", "identity:"])
def test_a_kind_alone_is_an_empty_variable(name):
    with pytest.raises(ValueError, match=f"'{name}' names nothing after the colon"):
        source_names.open_pairs(name)


def test_identity_pairs_each_photograph_with_itself(make):
    pictures = make("a.png", "b.png")
    pairs = source_names.open_pairs(f"identity:folder:{pictures}")
    assert [pair.name for pair in pairs] == sorted(map(str, pictures.iterdir()))
    for pair in pairs:
        rainy, clean = pair.load()
        np.testing.assert_array_equal(rainy, clean)
    with pytest.raises(ValueError, match="name another source of rainy photographs"):
        source_names.open_photographs(f"identity:folder:{pictures}", "rainy")
    assert bases(f"identity:folder:{pictures}") == [f"folder:{pictures}"]


def test_structures_are_drawn_on_each_photograph_in_four_variants(make):
    pictures = make("a.png", "b.png", size=(60, 80))
    drawn = source_names.open_photographs(f"structures:folder:{pictures}", "clean")
    assert [photograph.name for photograph in drawn] == [
        f"structures:{pictures}/{stem}.png#{i}" for stem in "ab" for i in (1, 2, 3, 4)
    ]
    loaded = [photograph.load() for photograph in drawn]
    for i, (photograph, image) in enumerate(zip(drawn, loaded, strict=True)):
        assert (photograph.width, photograph.height) == (80, 60)
        assert image.shape == (60, 80, 3) and image.dtype == np.uint8
        base = images.load(pictures / f"{'ab'[i // 4]}.png")
        # By the file's name and size, wherever its folder lies.
        size = os.path.getsize(pictures / f"{'ab'[i // 4]}.png")
        rng = randomness.rng_of(f"{'ab'[i // 4]}.png#{i % 4 + 1}", size)
        np.testing.assert_array_equal(image, drawing.draw(base, rng))
        np.testing.assert_array_equal(image, photograph.load())
        assert all(np.any(image != other) for other in loaded[:i])


FIXED = ["rain", "additive", "kinds", "holes", "smears", "identity:structures"]


@pytest.mark.parametrize("kind", FIXED)
def test_fixed_rain_and_structures_depend_on_a_file_and_not_on_its_folder(
    tmp_path, monkeypatch, kind
):
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for name, padding in {"a": 0, "b": 0, "x/a": 1, "y/a": 2}.items():
        path = tmp_path / "one" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        path.write_bytes(path.read_bytes() + b"\0" * padding)  # another size
    shutil.copytree(tmp_path / "one", tmp_path / "two/deep")
    (tmp_path / "two/deep/list.txt").write_text("a.png\nb.png\nx/a.png\ny/a.png\n")

    def drawn(source):
        pairs = source_names.open_pairs(f"{kind}:{source}")
        return [pair.rainy.load() for pair in pairs]

    one = drawn(f"folder:{tmp_path}/one")
    np.testing.assert_array_equal(one, drawn(f"folder:{tmp_path}/two"))
    monkeypatch.chdir(tmp_path / "two/deep")  # names without a folder
    np.testing.assert_array_equal(one, drawn("list:list.txt"))
    assert len({array.tobytes() for array in [image, *one]}) == len(one) + 1


def test_structures_can_be_combined_with_sources_of_pairs(make):
    pictures = make("a.png", "b.png", size=(30, 40))
    source = f"structures:folder:{pictures}"
    drawn = source_names.open_photographs(source, "clean")
    names = [photograph.name for photograph in drawn]
    for kind in ("identity:", "rain:", "additive:", f"streaks:identity:{source} on "):
        pairs = source_names.open_pairs(f"{kind}{source}")
        assert [pair.clean.name for pair in pairs] == names
        rainy, clean = pairs[0].load()
        np.testing.assert_array_equal(clean, drawn[0].load())
        if kind in ("rain:", "additive:"):
            assert np.any(rainy != clean)
    nested = source_names.open_photographs(f"structures:{source}", "clean")
    assert nested[0].name == f"structures:{names[0]}#1" and len(nested) == 32
    assert np.any(nested[0].load() != drawn[0].load())
    with pytest.raises(ValueError, match="a.png#1 is in .* and again in"):
        source_names.open_photographs((source, f"structures:{pictures}"), "clean")


def test_structures_can_be_pickled():
    photograph = source_names.open_photographs("structures:sample/test", "clean")[1]
    copy = cloudpickle.loads(cloudpickle.dumps(photograph))
    np.testing.assert_array_equal(copy.load(), photograph.load())


def test_structures_are_neither_rainy_nor_pairs():
    source = "structures:sample"
    with pytest.raises(ValueError, match="rain-free .*name another source of rainy"):
        source_names.open_photographs(source, "rainy")
    with pytest.raises(NoPairsError, match=f"use identity:{source} or rain:{source}"):
        source_names.open_pairs(source)


def test_both_sides_of_a_pair_of_one_photograph_are_read_once():
    reads = []

    def load():
        reads.append(1)
        return np.zeros((9, 9, 3), np.uint8)

    side = Photograph("a", 9, 9, 1, load)
    rainy, clean = Pair(side, dataclasses.replace(side)).load()
    assert len(reads) == 1 and rainy is clean


def test_the_sources_of_live_rain_are_those_that_render_rain():
    forms = [form for form in source_names.KINDS if "CLEAN" in form]
    examples = [re.sub("CLEAN|PAIRS", "sample", form) for form in forms]
    live = [source_names.parse(example).is_live for example in examples]
    assert ", ".join(itertools.compress(forms, live)) == data.sources.LIVE_RAIN


@pytest.mark.parametrize("form", ["{}", "folder:{}", "rain:{}", "list:{}", "tfds:{}"])
def test_a_name_too_long_for_a_file_is_an_error_of_one_line(form):
    name = form.format("x" * 300)
    with pytest.raises(ValueError, match=r"\A[^\n]*x{300}[^\n]*\Z"):
        source_names.open_pairs(name)


def test_no_source_and_no_such_role_are_rejected():
    with pytest.raises(ValueError, match="No source is named; name one of sample"):
        source_names.open_photographs((), "clean")
    with pytest.raises(ValueError, match="A role is one of .*, not 'wet'"):
        source_names.open_photographs("sample", "wet")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sample", (None, "sample")),
        ("mine=sample", ("mine", "sample")),
        ("H=list:a=b.txt", ("H", "list:a=b.txt")),
        ("folder:/a=b", (None, "folder:/a=b")),
        ("a/b=c", (None, "a/b=c")),
    ],
)
def test_a_source_may_have_a_name(text, expected):
    assert source_names.split_name(text) == expected


def test_the_sources_of_a_source_are_those_of_files_records_or_sample(tmp_path):
    text = "[tfds:a/test]\nx\n[folder:b]\ny\n"
    (tmp_path / "picked.txt").write_text(text)
    source = f"streaks:selection:{tmp_path}/picked.txt on sample/train"
    assert bases(f"rain:{source}") == ["tfds:a/test", "folder:b", "sample/train"]
    picked = f"identity:structures:selection:{tmp_path}/picked.txt"
    assert bases(picked) == ["tfds:a/test", "folder:b"]
    with pytest.raises(ValueError, match="Unknown source 'sampel', .*'sample'"):
        source_names.open_photographs("structures:sampel", "clean")


class Negatives(Source):
    """A kind of source that the package does not know."""

    def __init__(self, name, path, parse):
        super().__init__(name)
        self.parts = (parse(path),)

    def photographs(self, role):
        return [
            DrawnPhotograph.on(base, f"negative:{base.name}", lambda x, rng: 255 - x)
            for base in self.parts[0].open(role)
        ]

    def pairs(self):
        raise NoPairsError("none")


def test_a_further_kind_is_a_class_and_a_line(make, monkeypatch):
    monkeypatch.setitem(source_names.KINDS, "negative:CLEAN", Negatives)
    pictures = make("a.png")
    source = f"identity:negative:folder:{pictures}"
    (pair,) = data.open_pairs(source)
    base = images.load(pictures / "a.png")
    np.testing.assert_array_equal(pair.load(), [255 - base] * 2)
    assert bases(source) == [f"folder:{pictures}"]


def test_data_opens_sources_and_imports_them_on_first_use():
    code = "import sys; from ttl_jax import data; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    (photograph, _) = data.open_photographs("sample/test", "clean")
    assert photograph.name == "sample/china"
