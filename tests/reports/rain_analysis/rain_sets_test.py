import dataclasses

import numpy as np
import pytest

from tests import pictures
from ttl_jax.data.loading import transforms
from ttl_jax.data.sources.photographs import Photograph
from ttl_jax.metrics import naturalness
from ttl_jax.reports.rain_analysis import rain_sets
from ttl_jax.reports.rain_analysis.rain_sets import CLEAN, REAL, SYNTHETIC, ImageSet


def photograph(name, array):
    return Photograph(name, array.shape[1], array.shape[0], None, lambda: array)


def make_set(arrays, clean=None):
    sides = {"rainy": [photograph(f"real/{i}", a) for i, a in enumerate(arrays)]}
    if clean is not None:
        sides["clean"] = [photograph(f"clean/{i}", a) for i, a in enumerate(clean)]
    return ImageSet("set", REAL, "source", sides, len(arrays))


def measure(image_set, **options):
    options = {"side": 192, "quality": 75, "embed": None} | options
    return rain_sets.measure_all([image_set], **options)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of photographs, one of pairs, and a list, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("album", "pairs/rainy", "pairs/clean"):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(4):
            pictures.write(tmp_path / folder / f"{i}.png", pictures.noise(9, 9, 3))
    (tmp_path / "some.txt").write_text("album/1.png\n")
    return tmp_path


def open_sets(*arguments, num_images=10, seed=0):
    return rain_sets.open_sets(*arguments, num_images=num_images, seed=seed)


def test_folders_names_and_other_sources_are_understood(here):
    real = ["album", "mine=list:some.txt", "a b=folder:pairs", f"folder:{here}/x=y"]
    (here / "x=y").mkdir()
    pictures.write(here / "x=y/0.png", pictures.noise(9, 9, 3))
    sets = open_sets(real, ["rendered=rain:folder:album"], ["album"])
    assert [(s.name, s.kind, s.source, s.num_found) for s in sets] == [
        ("album", REAL, "album", 4),
        ("mine", REAL, "list:some.txt", 1),
        ("a b", REAL, "folder:pairs", 4),
        ("x=y", REAL, f"folder:{here}/x=y", 1),
        ("rendered", SYNTHETIC, "rain:folder:album", 4),
        ("clean", CLEAN, "album", 4),
    ]
    assert [list(s.sides) for s in sets] == [
        ["rainy"], ["rainy"], ["rainy", "clean"], ["rainy"], ["rainy", "clean"],
        ["clean"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["album"], ["album"]), "album: more than one set .* NAME=SOURCE"),
        ((["clean=album"], ["pairs"], ["album"]), "clean: more than one"),
        ((["albun"], ["pairs"]), "Unknown source 'albun'"),
        ((["folder:albun"], ["pairs"]), "there is no folder albun"),
        ((["=album"], ["pairs"]), "Expected SOURCE or NAME=SOURCE, not '=album'"),
        ((["mine="], ["pairs"]), "Expected SOURCE or NAME=SOURCE, not 'mine='"),
    ],
)
def test_invalid_sets_are_rejected(here, arguments, message):
    with pytest.raises(ValueError, match=message):
        open_sets(*arguments)


def test_a_part_is_drawn_in_order_and_pairs_stay_together(here):
    (drawn,) = open_sets(["pairs"], [], num_images=3)
    names, clean = ([p.name for p in side] for side in drawn.sides.values())
    assert (drawn.num_found, len(names)) == (4, 3)
    assert names == sorted(names)
    assert [name.replace("rainy", "clean") for name in names] == clean
    others = [open_sets(["pairs"], [], num_images=3, seed=s)[0] for s in range(1, 9)]
    assert any(other.names != names for other in others)


def test_both_forms_are_measured_as_niqe_measures_them():
    image = pictures.texture(0, 230, 260)
    reading = measure(make_set([image]), quality=40)["real/0"]
    assert not reading.faults
    view = transforms.View(jpeg_quality=40)
    forms = {
        rain_sets.AS_IS: image,
        rain_sets.EQUALISED: transforms.equalize(image, 192, 192, view),
    }
    for form, array in forms.items():
        niqe, features = reading.readings[form]
        assert niqe == naturalness.niqe(array)
        expected = naturalness.features(array).mean(axis=0)
        np.testing.assert_allclose(features, expected)


def test_other_features_replace_those_of_niqe():
    measured = measure(make_set([pictures.texture(0, 200, 200)]), embed=np.shape)
    shapes = [features for _, features in measured["real/0"].readings.values()]
    assert shapes == [(200, 200, 3), (192, 192, 3)]


def test_equalised_a_rescaled_and_recompressed_copy_is_much_closer():
    """Distances of mean NIQE, of originals and copies at 70 % and JPEG quality 60."""
    originals = [pictures.texture(i, 400, 400) for i in range(4)]
    view = transforms.View(jpeg_quality=60)
    copies = [transforms.equalize(image, 280, 280, view) for image in originals]
    gaps = {}
    for form in rain_sets.FORMS:
        means = []
        for arrays in (originals, copies):
            image_set = make_set(arrays)
            scenes = np.arange(4)
            read = rain_sets.read_set(image_set, measure(image_set), scenes, form)
            means.append(read.niqe["rainy"].mean())
        gaps[form] = abs(means[0] - means[1])
    assert gaps[rain_sets.EQUALISED] < gaps[rain_sets.AS_IS] / 4


def test_images_that_niqe_cannot_read_are_named_with_the_reason():
    arrays = [
        pictures.texture(0, 300, 300),
        pictures.texture(1, 300, 150),
        pictures.texture(2, 210, 300),
        np.full((300, 300, 3), 90, np.uint8),
    ]
    image_set = make_set(arrays)
    measured = measure(image_set, side=240)
    as_is, equalised = (
        rain_sets.read_set(image_set, measured, np.arange(4), form)
        for form in rain_sets.FORMS
    )
    assert as_is.names == ["real/0", "real/2"]
    assert list(as_is.excluded) == ["real/1", "real/3"]
    assert as_is.excluded["real/1"] == "is 150x300; each side needs at least 192 pixels"
    assert "texture" in as_is.excluded["real/3"]
    assert equalised.names == ["real/0"]
    assert "at least 240 pixels" in equalised.excluded["real/2"]
    np.testing.assert_array_equal(as_is.scenes, [0, 2])


def test_a_pair_is_left_out_where_either_side_is():
    good, flat = pictures.texture(0, 200, 200), np.zeros((200, 200, 3), np.uint8)
    image_set = make_set([good, good], clean=[good, flat])
    read = rain_sets.read_set(
        image_set, measure(image_set), np.arange(2), rain_sets.AS_IS
    )
    assert (read.names, list(read.excluded)) == (["real/0"], ["real/1"])
    assert read.niqe["rainy"] == read.niqe["clean"]


def test_a_set_without_measurable_images_is_rejected():
    image_set = make_set([pictures.texture(0, 200, 100)])
    with pytest.raises(ValueError, match="real/0 is 100x200.*larger photographs"):
        rain_sets.read_set(image_set, measure(image_set), np.arange(1), rain_sets.AS_IS)


def test_an_image_of_several_sets_is_loaded_once():
    image, loads = pictures.texture(0, 200, 200), []
    one = dataclasses.replace(
        photograph("one", image), load=lambda: loads.append(1) or image
    )
    sides = {"rainy": [one], "clean": [one]}
    sets = [ImageSet(n, SYNTHETIC, "s", sides, 1) for n in "ab"]
    measured = rain_sets.measure_all(sets, side=192, quality=75, embed=None)
    assert (list(measured), loads) == (["one"], [1])
