"""What is scored: of sources, and of folders whose files belong together by name."""

import os
import types

import numpy as np
import pytest

from tests.pictures import texture
from ttl_jax.data.files import encoding
from ttl_jax.reports import examples
from ttl_jax.reports.examples import Examples, Subject, open_folders

HALVING = types.SimpleNamespace(restore=lambda array: array // 2)


@pytest.fixture(autouse=True)
def memory(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def grey(level, height=12, width=14):
    return np.full((height, width, 3), level, np.uint8)


def subject(name, level=40, target=0, height=12, width=14):
    return Subject(
        name,
        (height, width),
        lambda: grey(level, height, width),
        None if target is None else lambda: grey(target, height, width),
    )


@pytest.fixture
def folder(tmp_path):
    """Writes a folder of images and returns its path."""

    def write(name, **arrays):
        for stem, array in arrays.items():
            stem, _, suffix = stem.partition("__")
            path = tmp_path / name / f"{stem.replace('_', '/')}.{suffix or 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            encoding.write_image(path, array)
        return tmp_path / name

    return write


def open_all(folders):
    subjects, methods, _ = folders
    return list(Examples(subjects, methods))


# Sources


def test_pairs_of_a_source_have_targets_and_photographs_none(folder):
    root = folder("pairs", rainy_a=grey(40), clean_a=grey(0))
    (example,) = Examples(examples.open_source(f"folder:{root}"), {"halving": HALVING})
    assert list(example.restored) == ["input", "halving"]
    assert (example.restored["halving"] == 20).all() and (example.target == 0).all()
    (example,) = Examples(examples.open_source(f"folder:{root}/rainy"), {})
    assert example.target is None and example.rain_mask is None


def test_photographs_too_large_for_a_network_are_named_before_any_is_restored():
    def check_pixels(num_pixels):
        if num_pixels > 400:
            raise ValueError(f"{num_pixels} pixels are more than 400")

    network = types.SimpleNamespace(
        check_pixels=check_pixels, restore=lambda array: pytest.fail("restored")
    )
    subjects = [subject(name, height=h) for name, h in zip("abc", (12, 40, 50))]
    with pytest.raises(ValueError, match="^b, c: 700 pixels are more than 400.$"):
        Examples(subjects, {"halving": HALVING, "whole": network})
    Examples(subjects[:1], {"whole": network})


def test_images_of_one_clean_picture_are_one_scene_and_others_their_own():
    subjects = [subject(name, target=t) for name, t in zip("abc", (5, 5, 6))]
    first, second, third = (example.scene for example in Examples(subjects, {}))
    assert first == second != third
    subjects = [subject(name, target=None) for name in "ab"]
    assert [example.scene for example in Examples(subjects, {})] == ["a", "b"]


def test_images_too_small_for_ssim_are_rejected_before_restoring():
    with pytest.raises(ValueError, match=r"11 x 11 pixels.*tiny \(10 x 14\)"):
        Examples([subject("a"), subject("tiny", height=10)], {})
    with pytest.raises(ValueError, match="no images"):
        Examples([], {})


def test_images_are_picked_by_name_in_the_order_named():
    found = Examples([subject(name) for name in ("a", "deep/b", "c")], {})
    assert [example.name for example in found.pick(["c", "a"])] == ["c", "a"]
    with pytest.raises(ValueError, match="no image 'deep/d'. did you mean 'deep/b'"):
        found.pick(["deep/d"])
    with pytest.raises(ValueError, match="Name each image once; got a, a"):
        found.pick(["a", "a"])


def test_an_image_that_cannot_be_restored_is_named():
    def fail(array):
        raise ValueError("too large")

    method = types.SimpleNamespace(restore=fail)
    with pytest.raises(ValueError, match="^a: too large"):
        list(Examples([subject("a")], {"large": method}))


# Masks and scenes


def test_masks_belong_to_images_of_their_name(folder):
    mask = grey(0)
    mask[:3] = 255
    masks = folder("masks", a=mask)
    subjects = examples.attach_masks(
        [subject("deep/a.png"), subject("deep/b.png")], masks
    )
    first, second = Examples(subjects, {})
    np.testing.assert_array_equal(first.rain_mask, mask[..., 0] > 0)
    assert second.rain_mask is None


def test_masks_are_found_in_subfolders(folder):
    masks = folder("masks", set_a=grey(255), set_b=grey(255), other_b=grey(0))
    (example,) = Examples(examples.attach_masks([subject("deep/a.png")], masks), {})
    assert example.rain_mask.all()
    with pytest.raises(
        ValueError, match=r"one image: .*other/b\.png.*set/b\.png.*Name"
    ):
        examples.attach_masks([subject("a.png"), subject("b.png")], masks)


def test_a_dot_in_a_name_is_not_a_suffix(tmp_path):
    masks, scenes = tmp_path / "masks", tmp_path / "scenes.csv"
    masks.mkdir()
    for name, level in (("a.1", 255), ("a.2", 0)):
        encoding.write_image(masks / f"{name}.png", grey(level))
    scenes.write_text("path,scene\na.1,one\na.2.png,two\n")
    for suffix in ("", ".png"):  # as folders and as sources name images
        subjects = [subject(f"a.{i}{suffix}") for i in (1, 2)]
        attached = examples.attach_masks(
            examples.attach_scenes(subjects, scenes), masks
        )
        first, second = Examples(attached, {})
        assert first.rain_mask.all() and not second.rain_mask.any()
        assert (first.scene, second.scene) == ("one", "two")


def test_invalid_masks_are_rejected(folder):
    with pytest.raises(ValueError, match=r"No mask in .* such as b"):
        examples.attach_masks([subject("b.png")], folder("masks", a=grey(0)))
    with pytest.raises(ValueError, match=r"a\.png is 9 x 14, its partner 12 x 14"):
        examples.attach_masks([subject("a.png")], folder("small", a=grey(0, height=9)))
    subjects = [subject("x/a.png"), subject("y/a.png")]
    with pytest.raises(ValueError, match="images to score are named a"):
        examples.attach_masks(subjects, folder("masks", a=grey(0)))


def test_every_image_needs_a_scene_of_the_file(tmp_path):
    file = tmp_path / "manifest.csv"
    file.write_text("path,scene,notes\nset/1.png,one,x\n2.webp,two,\n")
    subjects = [subject("/data/set/1.png"), subject("/data/set/2.png")]
    attached = examples.attach_scenes(subjects, file)
    assert [one.scene for one in attached] == ["one", "two"]
    assert [e.scene for e in Examples(attached, {})] == ["one", "two"]
    with pytest.raises(ValueError, match="no scene for 1 of 2 images: /data/3.png"):
        examples.attach_scenes([*subjects[:1], subject("/data/3.png")], file)
    file.write_text("scene,path\none,1.png\n\ntwo\n,2.png\n")
    with pytest.raises(ValueError, match="no scene for 1 of 2 images: /data/set/2.png"):
        examples.attach_scenes(subjects, file)


# Folders


def test_folders_are_read_as_sources_are(folder):
    target = folder("Test100", a=grey(0), sub_b=grey(0))
    rainy = folder("rainy", a__tif=grey(40), sub_b=grey(100))
    ours = folder("ours", a__webp=grey(20), sub_b=grey(50))
    found = open_all(open_folders(rainy, target, [("ours", ours)]))
    subjects = [subject("a"), subject("sub/b", level=100)]
    for example, other in zip(
        found, Examples(subjects, {"ours": HALVING}), strict=True
    ):
        assert example.name == other.name and example.scene == other.scene
        assert list(example.restored) == list(other.restored)
        for method, image in example.restored.items():
            np.testing.assert_array_equal(image, other.restored[method])


def test_folders_need_no_targets(folder):
    rainy = folder("rainy", a=grey(40))
    found = open_folders(rainy, None, [("ours", folder("ours", a=grey(20)))])
    (example,) = open_all(found)
    assert example.target is None and (example.restored["ours"] == 20).all()


def test_names_that_differ_are_matched_and_reported(tmp_path):
    for name in ("gt/norain-1", "in/rain-1", "out/1_derained", "gt/2", "in/2", "out/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        encoding.write_image(tmp_path / f"{name}.png", grey(len(name)))
    found = open_folders(tmp_path / "in", tmp_path / "gt", [("ours", tmp_path / "out")])
    subjects, _, notes = found
    assert [s.name for s in subjects] == ["2", "norain-1"]
    assert notes == [
        f"{method}: 1 of 2 files matched without the common parts of their names, such as {name} for "
        "norain-1"
        for method, name in (("input", "rain-1"), ("ours", "1_derained"))
    ]
    assert (open_all(found)[1].restored["ours"] == len("out/1_derained")).all()


def test_grey_alpha_and_16_bit_results_are_read_as_rgb8(folder):
    target = folder("target", a=grey(0), b=grey(0), c=grey(0))
    deep = (grey(20).astype(np.uint16) * 257) + 120  # rounds to 20
    alpha = np.concatenate([grey(20), grey(7)[..., :1]], axis=-1)
    ours = folder("ours", a=grey(20)[..., 0], b=deep, c=alpha)
    for example in open_all(open_folders(target, target, [("ours", ours)])):
        np.testing.assert_array_equal(example.restored["ours"], grey(20))


def test_results_of_another_scene_are_named(folder):
    scenes = {f"x{seed}": texture(seed, 80, 90) for seed in range(3)}
    shifted = dict(zip(scenes, [scenes["x0"], scenes["x2"], scenes["x1"]]))
    target, ours = folder("target", **scenes), folder("ours", **scenes)
    other = folder("other", **shifted)
    _, _, notes = open_folders(None, target, [("ours", ours), ("other", other)])
    assert len(notes) == 1 and "other shows another scene" in notes[0]
    assert "x1.png" in notes[0] and "x0.png" not in notes[0]
    with pytest.raises(ValueError, match="do not show the same scene"):
        open_folders(other, target, [])


def test_names_of_any_bytes_can_be_scored(folder):
    target, ours = folder("target", a=grey(9)), folder("ours", a=grey(8))
    for path in (target, ours):
        os.rename(path / "a.png", os.fsencode(path) + b"/caf\xe9\n.png")
    (example,) = open_all(open_folders(None, target, [("ours", ours)]))
    assert example.name == "caf\ufffd\ufffd"
    assert (example.restored["ours"] == 8).all()


def test_missing_and_extra_files_are_named(folder):
    target = folder("target", a=grey(0), b=grey(0))
    ours = folder("ours", a=grey(0), c=grey(0))
    with pytest.raises(ValueError, match="ours lacks b; ours has c without a partner"):
        open_folders(target, target, [("ours", ours)])


def test_ambiguous_names_are_reported_with_their_folder(tmp_path):
    for name in ("gt/1", "out/1_a", "out/1_out", "out/1_pred"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        encoding.write_image(tmp_path / f"{name}.png", grey(0))
    with pytest.raises(ValueError, match=r"ours, in .*out: 1 may belong to 1_out, 1_p"):
        open_folders(tmp_path / "gt", None, [("ours", tmp_path / "out")])


def test_sizes_that_differ_are_rejected_by_name(folder):
    target = folder("target", a=grey(0))
    ours = folder("ours", a=grey(0, height=16))
    with pytest.raises(
        ValueError, match=r"ours/a\.png is 14x16, .*target/a\.png 14x12"
    ):
        open_folders(target, target, [("ours", ours)])


def test_damaged_images_are_all_named_before_any_is_restored(folder):
    target = folder("target", a__jpg=grey(0), b__jpg=grey(0), c__jpg=grey(0))
    ours = folder("ours", a__jpg=grey(0), b__jpg=grey(0), c__jpg=grey(0))
    for name in ("a.jpg", "c.jpg"):  # the header is whole, the pixels are not
        data = (ours / name).read_bytes()
        (ours / name).write_bytes(data[:-40])
    with pytest.raises(ValueError, match=r"2 of 6 .*ours/a\.jpg .*ours/c\.jpg"):
        open_folders(target, target, [("ours", ours)])


def test_two_suffixes_of_one_stem_are_rejected(folder):
    target = folder("target", a=grey(0), a__tif=grey(0))
    with pytest.raises(ValueError, match="in its suffix only"):
        open_folders(target, target, [])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ours", "ours"], "got ours, ours; rename ours"),
        (["input"], "'input' is the name of the rainy images"),
    ],
)
def test_a_method_has_a_name_of_its_own(folder, names, message):
    target = folder("target", a=grey(0))
    with pytest.raises(ValueError, match=message):
        open_folders(target, target, [(name, target) for name in names])


def test_folders_without_images_are_rejected(tmp_path, folder):
    target = folder("target", a=grey(0))
    with pytest.raises(ValueError, match="no folder"):
        open_folders(target, target, [("ours", tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        open_folders(target, target, [("ours", tmp_path / "empty")])
