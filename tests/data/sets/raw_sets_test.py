"""Layouts by the names of files alone: none of these is an image."""

import re

import pytest

from tests.data.raw_trees import TREES
from ttl_jax.data.sets import published_sets
from ttl_jax.data.sets.published_sets import OWN


@pytest.fixture
def touch(tmp_path):
    """Makes files of the given relative paths; returns their folder."""

    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return make


def named(found):
    return {
        (split, example.name): example.files
        for split, examples in found.splits.items()
        for example in examples
    }


def test_every_published_set_has_a_tree_here():
    assert TREES.keys() == published_sets.SETS.keys()


@pytest.mark.parametrize("name", TREES)
def test_a_set_is_found_in_its_layout_below_any_folder(touch, name):
    paths = {file for files in TREES[name].values() for file in files}
    for folder, prefix in (("a", ""), ("b", "latest/unpacked/")):
        root = touch(*(f"{folder}/{prefix}{path}" for path in paths))
        found = published_sets.SETS[name].find(root / folder)
        assert named(found) == {
            key: tuple(prefix + file for file in files)
            for key, files in TREES[name].items()
        }
        assert not found.unused


@pytest.mark.parametrize("name", ["spa", "rain1200"])
def test_a_wrong_layout_is_one_error_with_both_trees(touch, name):
    root = touch("photographs/a.png", "photographs/b.png", "notes.txt")
    raw_set = published_sets.SETS[name]
    with pytest.raises(ValueError, match="notes.txt") as raised:
        raw_set.find(root)
    message = str(raised.value)
    assert raw_set.tree in message and name in message
    assert "photographs/a.png is not part of the expected folders" in message


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"There is no folder {tmp_path}/absent;"):
        published_sets.SETS["spa"].find(tmp_path / "absent")


def test_scenes_are_shared_by_densities_and_by_renderings(touch):
    def scenes(name):
        root = touch(*(file for files in TREES[name].values() for file in files))
        return {
            (split, example.name): example.scene
            for split, examples in published_sets.SETS[name].find(root).splits.items()
            for example in examples
        }

    of_1200 = scenes("rain1200")
    assert of_1200["train", "heavy/0"] == of_1200["train", "light/0"] == "0"
    assert of_1200["train", "heavy/12"] == "12"
    assert scenes("rain14000")["whole", "1/14"] == "1"
    assert scenes("outdoor_rain")["train", "0001/s85_a06"] == "0001"
    assert scenes("spa")["train", "000/000-1/000-1_0_256"] == "000"


def test_usual_variants_of_folders_are_found(touch):
    root = touch("a/rainy_image/3_1.jpg", "a/ground_truth/3.jpg")
    assert named(published_sets.SETS["rain14000"].find(root / "a")) == {
        ("whole", "3/1"): ("rainy_image/3_1.jpg", "ground_truth/3.jpg")
    }
    root = touch("c/Rainy_Image/3_1.jpg", "c/Ground_Truth/3.jpg")
    assert named(published_sets.SETS["rain14000"].find(root / "c")) == {
        ("whole", "3/1"): ("Rainy_Image/3_1.jpg", "Ground_Truth/3.jpg")
    }
    root = touch("d/rain/X2/norain-001x2.png", "d/norain/norain-001.png")
    assert named(published_sets.SETS["rain200l"].find(root / "d")) == {
        ("test", "1"): ("rain/X2/norain-001x2.png", "norain/norain-001.png")
    }
    root = touch("b/val/4.png", "b/train/4.jpg")
    assert named(published_sets.SETS["rain800"].find(root / "b")) == {
        ("train", "4"): ("train/4.jpg",),
        ("test", "4"): ("val/4.png",),
    }


def test_the_innermost_folder_of_a_split_decides(touch):
    root = touch("a/train_val/val/1.jpg", "a/test/train/2.jpg")
    assert named(published_sets.SETS["rain800"].find(root / "a")) == {
        ("train", "2"): ("test/train/2.jpg",),
        ("test", "1"): ("train_val/val/1.jpg",),
    }
    touch("c/train/rainy image/3_1.jpg", "c/train/ground truth/3.jpg")
    assert list(named(published_sets.SETS["rain14000"].find(root / "c"))) == [
        ("whole", "3/1")  # its only split, whose name is not that of a folder
    ]


def test_files_of_a_split_that_the_set_lacks_are_reported(touch):
    sides = [
        f"{split}/{side}/1.png" for split in ("train", "val") for side in ("rain", "gt")
    ]
    found = published_sets.SETS["mpid_rain_streak"].find(touch(*sides))
    assert named(found) == {("test", "1"): ("val/rain/1.png", "val/gt/1.png")}
    assert dict(found.unused)["train/rain/1.png"] == (
        "is in a folder of the split train, which this set lacks"
    )


def test_files_without_a_clean_image_or_a_place_are_reported(touch):
    root = touch(
        "train/in/im_0001_s80_a04.png",
        "train/gt/im_0001.png",
        "train/in/im_0002_s80_a04.png",
        "train/gt/im_0003.png",
        "readme.txt",
    )
    found = published_sets.SETS["outdoor_rain"].find(root)
    assert list(named(found)) == [("train", "0001/s80_a04")]
    assert dict(found.unused) == {
        "train/in/im_0002_s80_a04.png": "lacks its clean image, train/gt/im_0002",
        "train/gt/im_0003.png": "is not part of the expected folders",
    }
    assert found.others == ["readme.txt"]


def test_the_second_of_two_files_for_one_pair_is_reported(touch):
    root = touch(
        "train/rain/X2/norain-1x2.png",
        "train/rain/norain-1x2.png",
        "train/norain/norain-1.png",
    )
    found = published_sets.SETS["rain200h"].find(root)
    assert len(named(found)) == 1
    assert [why for _, why in found.unused] == ["is a second file for 1"]


def test_spas_own_list_decides_which_files_are_pairs(touch):
    root = touch(
        "Training/real_world/007/007-1/007-1_0_0.png",
        "Training/real_world_gt/007/mean_0_0.png",
        "Training/real_world/008/008-1/008-1_0_0.png",
        "Testing/real_test_1000/rain/000.png",
        "Testing/real_test_1000/gt/000gt.png",
    )
    (root / "Training/real_world.txt").write_text(
        "/real_world/007/007-1/007-1_0_0.png /real_world_gt/007/mean_0_0.png\n"
        "/real_world/009/009-1/009-1_0_0.png\n\n"
    )
    found = published_sets.SETS["spa"].find(root)
    assert named(found) == {
        ("train", "real_world/007/007-1/007-1_0_0"): (
            "Training/real_world/007/007-1/007-1_0_0.png",
            "Training/real_world_gt/007/mean_0_0.png",
        ),
        ("test", "000"): (
            "Testing/real_test_1000/rain/000.png",
            "Testing/real_test_1000/gt/000gt.png",
        ),
    }
    assert [example.scene for example in found.splits["train"]] == ["007"]
    assert [path for path, _ in found.unused] == [
        "Training/real_world/008/008-1/008-1_0_0.png",
        "Training/real_world.txt, line 2",
    ]
    assert found.unused[1][1] == "holds 1 paths, not two"


# The user's own folders


def test_own_pairs_are_one_split_or_those_of_the_subfolders(touch):
    root = touch("one/input/x/a.png", "one/target/x/a.jpg")
    assert named(OWN["pairs"].find(root / "one")) == {
        ("train", "x/a"): ("input/x/a.png", "target/x/a.jpg")
    }
    touch("basicsr/lq/a.png", "basicsr/gt/a.png")
    assert named(OWN["pairs"].find(root / "basicsr")) == {
        ("train", "a"): ("lq/a.png", "gt/a.png")
    }
    touch("two/train/rainy/a.png", "two/train/clean/a.png")
    touch("two/test/rainy/a.png", "two/test/clean/a.png", "two/other/rainy/a.png")
    found = OWN["pairs"].find(root / "two")
    assert named(found) == {
        (split, "a"): (f"{split}/rainy/a.png", f"{split}/clean/a.png")
        for split in ("train", "test")
    }
    assert found.unused == [
        ("other/rainy/a.png", "is not part of the expected folders")
    ]


def test_own_files_without_a_partner_are_reported(touch):
    root = touch("rainy/a.png", "rainy/b.png", "clean/b.png", "clean/c.png")
    touch("rainy/b.jpg")
    found = OWN["pairs"].find(root)
    assert list(named(found)) == [("train", "b")]
    assert dict(found.unused) == {
        "rainy/a.png": "has no partner in clean/",
        "clean/c.png": "has no partner in rainy/",
        "rainy/b.png": "differs from rainy/b.jpg in its suffix only",
    }


def test_own_photographs_are_named_by_their_path(touch):
    root = touch("one/x/a.png", "one/x/a.jpg", "one/b.webp", "one/c.txt")
    found = OWN["photos"].find(root / "one")
    assert list(named(found)) == [
        ("train", "b.webp"),
        ("train", "x/a.jpg"),
        ("train", "x/a.png"),
    ]
    assert found.others == ["c.txt"]
    touch("two/train/a.png", "two/val/a.png", "two/a.png")
    found = OWN["photos"].find(root / "two")
    assert named(found) == {
        ("train", "a.png"): ("train/a.png",),
        ("val", "a.png"): ("val/a.png",),
    }
    assert [path for path, _ in found.unused] == ["a.png"]


def test_the_folders_of_splits_may_be_in_capitals(touch):
    root = touch("a/Train/1.png", "a/TEST/2.png", "b/Test/lq/1.png", "b/Test/gt/1.png")
    assert named(OWN["photos"].find(root / "a")) == {
        ("train", "1.png"): ("Train/1.png",),
        ("test", "2.png"): ("TEST/2.png",),
    }
    assert named(OWN["pairs"].find(root / "b")) == {
        ("test", "1"): ("Test/lq/1.png", "Test/gt/1.png")
    }


@pytest.mark.parametrize("folder", ["", "train/", "a/b/"])
def test_pairs_are_no_photographs(touch, folder):
    root = touch(f"{folder}Input/x/a.png", f"{folder}target/x/a.png", "one/rainy/b.png")
    with pytest.raises(ValueError, match="mixes rainy and clean .* name one side") as e:
        OWN["photos"].find(root)
    assert f"pairs in {root / folder}. " in str(e.value)
    assert list(named(OWN["photos"].find(root / "one"))) == [("train", "rainy/b.png")]


def test_pairs_twice_in_one_folder_are_rejected(touch):
    root = touch("rainy/a.png", "clean/a.png", "input/a.png", "target/a.png")
    with pytest.raises(ValueError, match=re.escape("rainy+clean and input+target")):
        OWN["pairs"].find(root)
