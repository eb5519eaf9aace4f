import logging
import os
import pathlib

import numpy as np
import pytest
from absl import logging as absl_logging
from PIL import Image

from tests import pictures
from ttl_jax.data.loading import listings


@pytest.fixture
def root(tmp_path):
    """Two folders of photographs, a and b, and one of pairs."""
    for name in ("a/0", "a/1", "b/0", "b/1", "b/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pictures.write(tmp_path / f"{name}.png", pictures.noise(12, 14, 3))
    for side in ("rainy", "clean"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for i in range(2):
            file = tmp_path / "pairs" / side / f"{i}.png"
            Image.fromarray(np.full((12, 14, 3), 9 * i, np.uint8)).save(file)
    return tmp_path


def names(listing, root):
    return [item.name.replace(f"{root}/", "") for item in listing]


def write_list(root, *lines):
    file = root / "leave_out.txt"
    file.write_text("\n".join(lines))
    return listings.read_excluded((str(file),))


def test_weights_become_shares_of_the_whole():
    assert listings.normalize_weights("pairs", ("a", "b"), (1, 3.0)) == (0.25, 0.75)
    assert listings.normalize_weights("pairs", ("a", "b"), ()) == ()


def test_the_number_of_drawn_items_is_exact_and_seeds_differ(root):
    listing = listings.open_listing("clean", (f"folder:{root}/a", f"folder:{root}/b"))
    drawn = [listing.draw(3, seed) for seed in range(40)]
    assert all(len(of) == 3 and set(names(of, root)) < set(names(listing, root))
               for of in drawn)  # fmt: skip
    assert names(listing.draw(3, 7), root) == names(drawn[7], root)
    # Each of the five in about three fifths of the seeds.
    for name in names(listing, root):
        assert 12 < sum(name in names(of, root) for of in drawn) < 36
    assert set(names(listing.draw(2, 7), root)) < set(names(drawn[7], root))
    assert names(listing.draw(5, 0), root) == names(listing, root)


def test_drawing_too_many_or_no_items_of_a_weighted_source_is_an_error(root):
    sources = (f"folder:{root}/a", f"folder:{root}/b")
    listing = listings.open_listing("clean", sources)
    fault = (
        "config.num_clean=6, but there are 5 in .*; lower the number, or set it to 0"
    )
    with pytest.raises(ValueError, match=fault):
        listing.draw(6, 0)
    weighted = listings.open_listing("clean", sources, (0.5, 0.5))
    with pytest.raises(ValueError, match="config.num_clean=1 leaves no items"):
        weighted.draw(1, 0)


@pytest.mark.parametrize(
    "source", ["kinds:sample", "streaks:a on b", "selection:picked.txt"]
)
def test_live_rain_cannot_be_limited(root, monkeypatch, source):
    monkeypatch.chdir(root)
    (root / "a/picked.txt").write_text("[sample]\nx\ty\n")
    (root / "picked.txt").write_text("[sample]\nx\ty\n[rain:folder:a]\nrain:0\t0\n")
    (root / "b").mkdir(exist_ok=True)
    fixed = ("folder:a", "identity:structures:sample", "selection:a/picked.txt")
    listings.check_limit("pairs", fixed, 3)
    listings.check_limit("pairs", (source,), 0)
    with pytest.raises(ValueError, match=f"config.num_pairs=3 cannot limit {source}, "):
        listings.check_limit("pairs", (*fixed, source), 3)


@pytest.mark.parametrize(
    ("weights", "fault"),
    [
        (
            (1.0,),
            r"config.rainy_weights=\(1.0,\) has 1 weights, but config.rainy names 2",
        ),
        ((1.0, 1.0, 1.0), "has 3 weights, but config.rainy names 2 sources; give one"),
        ((1.0, -1.0), "must be positive numbers; remove sources"),
        ((1.0, 0.0), "must be positive numbers"),
        ((0.0, 0.0), "must be positive numbers"),
        ((1.0, float("nan")), "must be positive numbers"),
        ((1.0, float("inf")), "must be positive numbers"),
        ((1.0, "2"), "must be positive numbers"),
        ((1.0, 0.0001), "the smallest is 0.0001 of the sum; use at least 0.001"),
    ],
)
def test_invalid_weights_are_rejected(weights, fault):
    with pytest.raises(ValueError, match=fault):
        listings.normalize_weights("rainy", ("a", "b"), weights)


def test_without_weights_the_description_is_one_line_per_file(root):
    listing = listings.open_listing("pairs", (f"folder:{root}/pairs", "sample/test"))
    path = f"{root}/pairs/rainy/0.png"
    lines = listing.describe()
    assert lines[0] == f"pairs {path} {os.path.getsize(path)}"
    assert lines[1].startswith(f"pairs {root}/pairs/clean/0.png ")
    assert lines[4:6] == [
        "pairs sample/china/rain00 embedded",
        "pairs sample/china embedded",
    ]
    assert len(lines) == 2 * len(listing)


def test_the_description_has_weights_and_the_pairs_of_rain(root):
    source = f"streaks:folder:{root}/pairs on folder:{root}/a"
    listing = listings.open_listing("pairs", ("sample/test", source), (0.25, 0.75))
    lines = listing.describe()
    assert lines[0] == "pairs sample/test share 0.25"
    rest = lines[lines.index(f"pairs {source} share 0.75") + 1 :]
    assert rest[0] == f"pairs streaks:folder:{root}/pairs on {root}/a/0.png rendered"
    assert rest[1].startswith(f"pairs {root}/a/0.png ")
    bank = [line.rsplit(" ", 1)[0] for line in rest[4:]]
    assert bank == [
        f"streaks {root}/pairs/{side}/{i}.png"
        for i in range(2)
        for side in ("rainy", "clean")
    ]


def test_photographs_of_a_list_are_left_out_and_counted(root, monkeypatch, caplog):
    monkeypatch.setattr(absl_logging.get_absl_logger(), "propagate", True)
    excluded = write_list(root, "# twice", f"{root}/b/1.png ", "", "unknown.png")
    with caplog.at_level(logging.INFO):
        listing = listings.open_listing(
            "clean", (f"folder:{root}/a", f"folder:{root}/b"), (), excluded
        )
    assert names(listing, root) == ["a/0.png", "a/1.png", "b/0.png", "b/2.png"]
    assert f"{root}/leave_out.txt leaves out 1 of 5 clean" in caplog.text


def test_a_relative_path_means_the_same_file(root, monkeypatch):
    monkeypatch.chdir(root)
    excluded = write_list(root, "a/../a/1.png")
    listing = listings.open_listing("clean", (f"folder:{root}/a",), (), excluded)
    assert names(listing, root) == ["a/0.png"]


@pytest.mark.parametrize("side", ["rainy", "clean"])
def test_a_pair_is_left_out_with_either_of_its_sides(root, side):
    excluded = write_list(root, f"{root}/pairs/{side}/0.png")
    listing = listings.open_listing("pairs", (f"folder:{root}/pairs",), (), excluded)
    assert names(listing, root) == ["pairs/rainy/1.png"]


def test_live_rain_is_left_out_with_its_photograph_or_its_streaks(root):
    source = f"streaks:folder:{root}/pairs on folder:{root}/a"
    excluded = write_list(root, f"{root}/a/0.png", f"{root}/pairs/clean/1.png")
    (pair,) = listings.open_listing("pairs", (source,), (), excluded)
    assert pair.clean.name == f"{root}/a/1.png"
    assert [other.name for other in pair.rain.pairs] == [f"{root}/pairs/rainy/0.png"]


def test_drawings_are_left_out_with_their_photograph_or_one_by_one(root):
    source = f"structures:folder:{root}/a"
    excluded = write_list(root, f"{root}/a/0.png", f"structures:{root}/a/1.png#2")
    for field, wrapped in (("clean", source), ("pairs", f"identity:{source}")):
        listing = listings.open_listing(field, (wrapped,), (), excluded)
        assert [item.name for item in listing] == [
            f"structures:{root}/a/1.png#{i}" for i in (1, 3, 4)
        ]
    rained_on = listings.open_listing("pairs", (f"rain:{source}",), (), excluded)
    assert len(rained_on) == 3


def test_drawings_are_described_with_the_size_of_their_photograph(root):
    source = f"structures:folder:{root}/a"
    size = os.path.getsize(root / "a/0.png")
    name = f"structures:{root}/a/0.png#1"
    lines = listings.open_listing("clean", (source,)).describe()
    assert lines[0] == f"clean {name} rendered on {size}"
    lines = listings.open_listing("pairs", (f"rain:{source}",)).describe()
    assert lines[:2] == [
        f"pairs rain:{name} rendered",
        f"pairs {name} rendered on {size}",
    ]
    lines = listings.open_listing("clean", ("structures:sample/test",)).describe()
    assert lines[0] == "clean structures:sample/china#1 rendered on embedded"


def test_pairs_of_a_source_share_their_streaks(root):
    source = f"streaks:folder:{root}/pairs on folder:{root}/b"
    listing = listings.open_listing("pairs", (source,))
    for adapted in (listing, listing.adapt(list)):
        assert len({id(pair.rain) for pair in adapted}) == 1


def test_leaving_out_everything_is_rejected(root):
    both = (f"folder:{root}/a", f"folder:{root}/b")
    excluded = write_list(root, f"{root}/a/0.png", f"{root}/a/1.png")
    for sources, weights in ((both[:1], ()), (both, (0.5, 0.5))):
        with pytest.raises(
            ValueError, match="everything that config.clean has in .*/a"
        ):
            listings.open_listing("clean", sources, weights, excluded)
    assert len(listings.open_listing("clean", both, (), excluded)) == 3
    pairs = write_list(root, *(f"{root}/pairs/rainy/{i}.png" for i in range(2)))
    source = f"streaks:folder:{root}/pairs on folder:{root}/b"
    with pytest.raises(ValueError, match="No pairs are left to take streaks from"):
        listings.open_listing("pairs", (source,), (), pairs)


def test_an_unreadable_list_is_an_error(tmp_path):
    with pytest.raises(
        ValueError, match="config.exclude names .*none.txt, which cannot"
    ):
        listings.read_excluded((str(tmp_path / "none.txt"),))
    pathlib.Path(tmp_path / "latin.txt").write_bytes(b"caf\xe9.png")
    with pytest.raises(ValueError, match="latin.txt, which cannot be read as UTF-8"):
        listings.read_excluded((str(tmp_path / "latin.txt"),))
