import collections
import functools
import hashlib
import pathlib

import numpy as np
import pytest
from PIL import Image

from ttl_jax.data.sets import protocols
from ttl_jax.data.sets.protocols import PROTOCOLS
from ttl_jax.data.sources import selections, source_names
from ttl_jax.data.sources.photographs import Pair, Photograph


@functools.cache
def picture(background):
    """A pattern of its own for each background, uint8 [48, 48, 3]."""
    rng = np.random.default_rng(background)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8))
    return np.asarray(coarse.resize((48, 48)))


def photograph(name, background):
    return Photograph(name, 48, 48, None, lambda: picture(background))


def pair(split, name, background):
    return Pair(
        photograph(f"{split}/rainy/{name}", background),
        photograph(f"{split}/clean/{name}", background),
    )


def pairs(split, num, first=0, folder=""):
    """Pairs of different backgrounds, counted from `first`."""
    return [pair(split, f"{folder}{i}", first + i) for i in range(num)]


def clean(items):
    return [item.clean for item in items]


def densities(num, backgrounds):
    """Rain1200's training pairs, `num` of each density, of these backgrounds."""
    return [
        pair("rain1200/train", f"{density}/{i}", background)
        for j, density in enumerate(protocols.DENSITIES)
        for i, background in zip(range(num), backgrounds[j], strict=True)
    ]


def draw(name, opened, seed=0):
    """The draw of a protocol, from items and avoided photographs by key."""
    avoided = [item for key in PROTOCOLS[name].avoided for item in opened.get(key, ())]
    sets = {key: opened[key] for key in PROTOCOLS[name].sets}
    return PROTOCOLS[name].draw(sets, avoided, seed)


def opened_test_1(name="test1"):
    return {key: pairs(key, 100 + 10 * i) for i, key in enumerate(PROTOCOLS[name].sets)}


# Tests I to III


@pytest.mark.parametrize(
    ("name", "rain2800"), [("test1_mspfn", "test2800"), ("test1_orig", "test1400")]
)
def test_test_1_holds_a_hundred_pairs_of_each_set(name, rain2800):
    names = draw(name, opened_test_1(name)).names
    counts = collections.Counter(name.split("/rainy/")[0] for name in names)
    assert counts == {
        "rain1200/test": 100, f"rain14000/{rain2800}": 100, "rain800/test": 100
    }  # fmt: skip
    assert len(set(names)) == 300


def test_test_1_needs_a_hundred_pairs():
    opened = {**opened_test_1(), "rain800/test": pairs("rain800/test", 99)}
    with pytest.raises(ValueError, match="rain800/test holds 99 pairs, not 100"):
        draw("test1", opened)


@pytest.mark.parametrize("name", ["test2", "test3"])
def test_tests_2_and_3_are_whole_sets(name):
    (key,) = PROTOCOLS[name].sets
    assert draw(name, {key: pairs(key, 7)}).names == [
        f"{key}/rainy/{i}" for i in range(7)
    ]


# RealClear


def test_realclear_has_distinct_pictures_and_avoids_the_tests():
    opened = {
        # The same 20 backgrounds at two densities, and 10 others.
        "rain1200/train": clean(
            pairs("rain1200/train", 20, folder="heavy/")
            + pairs("rain1200/train", 20, folder="light/")
        ),
        "rain14000/train2800": clean(pairs("rain14000/train", 10, first=100)),
        "rain1200/test": clean(pairs("rain1200/test", 3, first=4)),  # 4, 5, 6
        "rain14000/test2800": clean(pairs("rain14000/train", 2, first=100)),
    }
    shown = {
        item.name: background
        for key, firsts in (("rain1200/train", (0, 0)), ("rain14000/train2800", (100,)))
        for items, first in zip(
            np.array_split(opened[key], len(firsts)), firsts, strict=True
        )
        for background, item in enumerate(items, first)
    }
    drawn = draw("realclear", opened)
    expected = {*range(20), *range(100, 110)} - {4, 5, 6, 100, 101}
    assert sorted(shown[name] for name in drawn.names) == sorted(expected)
    assert drawn.notes[0].startswith("50 clean photographs")
    assert drawn.notes[1].startswith("8 of them show backgrounds of test sets")
    assert drawn.notes[2:] == [
        "25 different pictures among the others", "25 drawn, of 10000 wanted"
    ]  # fmt: skip


def test_realclear_stops_at_its_size(monkeypatch):
    monkeypatch.setattr(protocols, "NUM_CLEAR", 6)
    opened = {
        "rain1200/train": clean(pairs("rain1200/train", 10)),
        "rain14000/train2800": clean(pairs("rain14000/train", 10, first=50)),
    }
    drawn = draw("realclear", opened)
    assert len(drawn.names) == 6
    assert "20 different pictures among the others" in drawn.notes


# The 6,000 pairs


def background_counts(names, items):
    shown = {item.name: item.load()[1].tobytes() for item in items}
    return collections.Counter(shown[name] for name in names)


def draw_pairs(monkeypatch, items, num, avoided=()):
    monkeypatch.setattr(protocols, "NUM_PAIRS", num)
    return draw("pairs6000", {"rain1200/train": items, "rain1200/test": avoided})


@pytest.mark.parametrize(
    ("num_backgrounds", "times"),
    [(24, {1}), (12, {1, 2})],  # enough; else each one before one comes again
)
def test_pairs_are_of_each_density_and_of_many_backgrounds(
    monkeypatch, num_backgrounds, times
):
    items = densities(num_backgrounds, [range(num_backgrounds)] * 3)
    drawn = draw_pairs(monkeypatch, items, 18)
    counts = background_counts(drawn.names, items)
    densities_drawn = collections.Counter(map(protocols.density_of, drawn.names))
    assert densities_drawn == dict.fromkeys(protocols.DENSITIES, 6)
    assert len(counts) == min(18, num_backgrounds) and set(counts.values()) == times


def test_backgrounds_of_tests_are_left_out_of_the_pairs(monkeypatch):
    items = densities(12, [range(12)] * 3)
    avoided = clean(pairs("rain1200/test", 4, first=3))
    drawn = draw_pairs(monkeypatch, items, 12, avoided)
    hidden = {picture(background).tobytes() for background in range(3, 7)}
    assert not hidden & background_counts(drawn.names, items).keys()
    assert "12 of them show backgrounds of test sets" in drawn.notes


def test_too_few_pairs_of_a_density_are_an_error(monkeypatch):
    items = densities(4, [range(4), range(10, 14), range(20, 24)])
    with pytest.raises(ValueError, match="5 pairs of each .* missing: 1 heavy"):
        draw_pairs(monkeypatch, items, 15)


def test_density_is_read_from_the_last_folder_with_one():
    for name, density in (
        ("rain1200/train/rainy/heavy/17", "heavy"),
        ("/data/DID-MDN-training/Rain_Medium/train2018new/3.jpg", "medium"),
        (r"D:\light\Rain_Heavy\3.jpg", "heavy"),
    ):
        assert protocols.density_of(name) == density
    with pytest.raises(ValueError, match="a/lighthouse/light.jpg: no folder"):
        protocols.density_of("a/lighthouse/light.jpg")


# RealRain


def test_realrain_is_split_by_picture():
    taken = {f"photo{i:02}": i // 2 for i in range(80)}  # two of each picture
    opened = {"realrain": [photograph(*item) for item in taken.items()]}
    train, test = (
        draw(name, opened).names for name in ("realrain_train", "realrain_test")
    )
    assert sorted(train + test) == sorted(taken)
    assert not {taken[name] for name in train} & {taken[name] for name in test}
    assert 8 <= len(test) <= 32  # a quarter is 20


# All


def small_sets(name):
    """Some photographs for each set of a protocol, of the kind that it draws."""
    if name.startswith("test"):
        return {key: pairs(key, 105) for key in PROTOCOLS[name].sets}
    if name == "realclear":
        return {key: clean(pairs(key, 30)) for key in PROTOCOLS[name].sets}
    if name == "pairs6000":
        return {"rain1200/train": densities(9, [range(9)] * 3)}
    return {"realrain": [photograph(f"photo{i}", i // 3) for i in range(30)]}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_draws_do_not_depend_on_the_order_of_the_listing(name, monkeypatch):
    monkeypatch.setattr(protocols, "NUM_CLEAR", 20)
    monkeypatch.setattr(protocols, "NUM_PAIRS", 12)
    opened = small_sets(name)
    rng = np.random.default_rng(0)
    permuted = {
        key: [items[i] for i in rng.permutation(len(items))]
        for key, items in opened.items()
    }
    drawn = draw(name, opened)
    assert drawn.names and drawn == draw(name, permuted)


def test_names_are_drawn_in_the_order_of_their_sha256_with_the_seed():
    opened = opened_test_1()
    expected = []
    for items in opened.values():
        digests = {
            hashlib.sha256(f"3/{item.name}".encode()).hexdigest(): item.name
            for item in items
        }
        expected += [digests[digest] for digest in sorted(digests)[:100]]
    assert draw("test1", opened, seed=3).names == sorted(expected)


# Sources


@pytest.fixture
def folder(tmp_path):
    """A source of 40 pairs of flat colours."""
    for side in ("rainy", "clean"):
        (tmp_path / side).mkdir()
        for i in range(40):
            Image.new("RGB", (8, 8), (i, i, 99)).save(tmp_path / side / f"{i}.png")
    return f"folder:{tmp_path}"


def test_a_protocol_reads_given_sources_and_names_them(folder):
    comments, sections = protocols.select(
        "test2", given={"mpid_rain_streak/test": [folder]}
    )
    assert comments[0].startswith("Protocol test2, seed 0")
    (section,) = sections
    assert section.source == folder and len(section.lines) == 40
    expected = {(f"rainy/{i}.png", f"clean/{i}.png") for i in range(40)}
    assert set(section.lines) == expected


def test_a_folder_is_drawn_from_alike_wherever_it_lies(tmp_path, folder, monkeypatch):
    def draw_from(name, *folders):
        given = {"spa/test": folders} if name == "test3" else {"realrain": folders}
        comments, sections = protocols.select(name, given=given)
        text = selections.to_text(comments, sections)
        (tmp_path / "picked.txt").write_text(text)
        return comments, [section.lines for section in sections]

    path = pathlib.Path(folder.removeprefix("folder:"))
    monkeypatch.chdir(path)
    here = [draw_from("realrain_test", f"folder:{side}") for side in ("rainy", ".")]
    (tmp_path / "elsewhere").mkdir()
    for side in ("rainy", "clean"):
        (path / side).rename(tmp_path / "elsewhere" / side)
    monkeypatch.chdir(tmp_path)
    there = [
        draw_from("realrain_test", f"folder:elsewhere{side}") for side in ("/rainy", "")
    ]
    assert here == there and len(here[0][1][0]) > 5
    monkeypatch.chdir("/")  # what was drawn by a relative path is found from anywhere
    found = source_names.open_photographs(f"selection:{tmp_path}/picked.txt", "rainy")
    assert len(found) == len(there[1][1][0])


def test_folders_named_for_densities_may_make_up_a_set(tmp_path, monkeypatch):
    monkeypatch.setattr(protocols, "NUM_PAIRS", 6)
    for density in protocols.DENSITIES:
        for side in ("rainy", "clean"):
            folder = tmp_path / f"Rain_{density.title()}" / side
            folder.mkdir(parents=True)
            for i in range(2):
                Image.fromarray(picture(i)).save(folder / f"{i}.png")
    Image.fromarray(picture(7)).save(tmp_path / "other.png")
    (tmp_path / "other.txt").write_text("other.png\n")
    folders = [f"folder:{tmp_path}/Rain_{d.title()}" for d in protocols.DENSITIES]
    avoided = PROTOCOLS["pairs6000"].avoided
    given = {
        "rain1200/train": folders,
        **{key: [f"list:{tmp_path}/other.txt"] for key in avoided},
    }
    _, sections = protocols.select("pairs6000", given=given)
    assert [section.source for section in sections] == folders
    assert [len(section.lines) for section in sections] == [2, 2, 2]


def test_a_folder_in_two_spellings_is_not_drawn_twice(folder, monkeypatch):
    path = folder.removeprefix("folder:")
    monkeypatch.chdir(path)
    given = {"realrain": ["folder:rainy", f"{path}/rainy"]}
    with pytest.raises(ValueError, match=f"in 'folder:rainy' and again in '{path}/r"):
        protocols.select("realrain_test", given=given)


def test_a_missing_set_is_named_with_the_command_that_makes_it():
    with pytest.raises(ValueError, match="prepare spa --source DIR") as error:
        protocols.select("test3", given={"spa/test": ["folder:not_there"]})
    assert "--set spa/test=SOURCE" in str(error.value)
    with pytest.raises(ValueError, match="prepare photos --name realrain --source DIR"):
        protocols.select("realrain_test", given={"realrain": ["folder:not_there"]})


def test_an_empty_selection_is_rejected(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "alone.png")
    given = {"realrain": [f"folder:{tmp_path}"]}
    # Its one photograph is in either part; the other one is empty.
    drawn, errors = [], []
    for name in ("realrain_train", "realrain_test"):
        try:
            drawn.append(len(protocols.select(name, given=given)[1][0].lines))
        except ValueError as error:
            errors.append(str(error))
    assert drawn == [1] and len(errors) == 1
    assert "draws nothing from realrain (0 of 1 photographs" in errors[0]


def test_unknown_protocols_and_sets_are_rejected(folder):
    with pytest.raises(ValueError, match="did you mean 'realclear'"):
        protocols.select("realclean")
    with pytest.raises(ValueError, match="test3 has no set spa; it has spa/test"):
        protocols.select("test3", given={"spa": [folder]})
