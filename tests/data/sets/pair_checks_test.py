import csv
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.data.raw_trees import make_pair, save
from ttl_jax.data.files import images
from ttl_jax.data.sets import pair_checks, raw_preparation
from ttl_jax.data.sources import source_names


def check(what, root, rainy_half=None):
    raw_set = raw_preparation.find_set(
        what, "mine" if what in ("pairs", "photos") else None, rainy_half
    )
    return raw_set, pair_checks.check(raw_set, root, raw_set.find(root))


def names(checked):
    return [e.raw.name for examples in checked.splits.values() for e in examples]


# Which side is rainy


def test_bright_streaks_mark_the_rainy_side():
    for seed in range(5):
        rainy, clean = make_pair(seed)
        as_taken = pair_checks.compare_sides(rainy, clean)
        exchanged = pair_checks.compare_sides(clean, rainy)
        assert (as_taken.vote, exchanged.vote) == (1, -1)
        np.testing.assert_allclose(exchanged, -np.array(as_taken), atol=1e-6)


def test_brightness_is_the_difference_of_the_mean_luma():
    grey = np.full((20, 30, 3), 100, np.uint8)
    assert pair_checks.compare_sides(grey + np.uint8(7), grey).brighter == (
        pytest.approx(7, abs=1e-3)
    )
    red = grey.copy()
    red[..., 0] += 10  # BT.601: red is 0.299 of luma
    assert pair_checks.compare_sides(red, grey).brighter == pytest.approx(
        2.99, abs=1e-3
    )


def test_downward_structure_is_the_ratio_of_changes_along_rows_and_columns():
    y, x = np.mgrid[:41, :41]
    clean = np.stack([2 * x + 2 * y] * 3, -1).astype(np.uint8)
    rainy = np.stack([4 * x + 2 * y] * 3, -1).astype(np.uint8)
    # Four levels against two from pixel to pixel, a quarter of a level added to each.
    expected = np.log(4.25 / 2.25)
    found = pair_checks.compare_sides(rainy, clean).downward
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("change", ["darker", "sideways", "flat", "brighter alone"])
def test_a_side_counts_only_if_both_cues_agree(change):
    rainy, clean = make_pair()
    if change == "darker":  # a veil under which the streaks remain
        rainy = (rainy * 0.6).astype(np.uint8)
    elif change == "sideways":
        rainy, clean = (image.swapaxes(0, 1) for image in (rainy, clean))
    elif change == "flat":
        rainy = clean = np.full((16, 16, 3), 90, np.uint8)
    else:
        rainy = clean + np.uint8(20)
    assert pair_checks.compare_sides(rainy, clean).vote == 0
    assert pair_checks.compare_sides(clean, rainy).vote == 0


def test_rendered_rain_is_never_taken_for_clean():
    votes = [
        pair_checks.compare_sides(*pair.load()).vote
        for pair in source_names.open_pairs("sample/test")
    ]
    assert votes.count(-1) == 0
    assert votes.count(1) >= 5  # of 6


@pytest.mark.skipif("TTL_DATA" not in os.environ, reason="needs TTL_DATA")
def test_the_rainy_side_is_found_in_public_data_sets():
    root = pathlib.Path(os.environ["TTL_DATA"])
    with open(root / "MANIFEST.csv", newline="") as file:
        paths = {
            row["path"]
            for row in csv.DictReader(file)
            if row["path"].startswith("paired/") and row["role"] == "rainy"
        }
    votes = {}
    for path in paths:
        clean = root / path.replace("/rainy/", "/clean/")
        sides = [images.load(file) for file in (root / path, clean)]
        votes[path] = pair_checks.compare_sides(*sides).vote
    wrong = [path for path, vote in votes.items() if vote < 0]
    # Real pairs differ by veil and exposure as much as by streaks: none may be wrong.
    synthetic = [path for path in votes if "gtrain" not in path]
    unclear = [path for path in synthetic if votes[path] == 0]
    assert len(synthetic) > 150
    assert not wrong
    assert len(unclear) <= 0.02 * len(synthetic)


# What is left out, and what is refused


def test_unusable_files_are_left_out_with_a_reason(tmp_path):
    rainy, clean = make_pair()
    for name in ("good", "cut", "small", "same", "sizes", "empty", "moving", "absent"):
        save(tmp_path / f"rainy/{name}.png", rainy)
        save(tmp_path / f"clean/{name}.png", clean)
    cut = tmp_path / "rainy/cut.png"
    cut.write_bytes(cut.read_bytes()[:-400])
    save(tmp_path / "clean/small.png", clean[:1, :1])
    save(tmp_path / "clean/same.png", rainy)
    save(tmp_path / "clean/sizes.png", clean[:-1])
    (tmp_path / "rainy/empty.png").write_bytes(b"")
    Image.fromarray(rainy).save(
        tmp_path / "rainy/moving.png",
        save_all=True,
        append_images=[Image.fromarray(clean)],
    )
    (tmp_path / "clean/absent.png").unlink()
    _, checked = check("pairs", tmp_path)
    assert names(checked) == ["good"]
    reasons = dict(checked.excluded)
    assert reasons.pop("rainy/cut.png").startswith("cannot be read")
    assert reasons.pop("rainy/moving.png").startswith("cannot be read: it is animated")
    assert reasons == {
        "rainy/absent.png": "has no partner in clean/",
        "rainy/small.png": "has a partner, clean/small.png, that is 1x1; each side needs "
        "at least 8 pixels",
        "rainy/same.png": "equals clean/same.png, pixel for pixel",
        "rainy/sizes.png": "is 40x32, clean/sizes.png 40x31",
        "rainy/empty.png": "is empty (0 bytes)",
    }


@pytest.mark.parametrize(("what", "half"), [("rain1200", "left"), ("rain800", "right")])
def test_halves_on_the_wrong_side_are_refused_and_can_be_exchanged(
    tmp_path, what, half
):
    other = {"left": "right", "right": "left"}[half]
    rainy, clean = make_pair()
    halves = [rainy, clean] if other == "left" else [clean, rainy]
    file = {"rain1200": "Rain_Heavy/train2018new/3.jpg", "rain800": "train/3.jpg"}[what]
    save(tmp_path / file, np.concatenate(halves, axis=1), quality=95)
    raw_set, checked = check(what, tmp_path)
    with pytest.raises(ValueError, match="sides exchanged") as raised:
        pair_checks.refuse_exchanged_sides(raw_set, checked, tmp_path)
    message = str(raised.value)
    assert f"the {half} half is taken for the rainy one" in message
    assert f"--rainy_half {other}" in message and "--trust_sides" in message
    assert f"{tmp_path / file} (" in message
    raw_set, checked = check(what, tmp_path, other)
    pair_checks.refuse_exchanged_sides(raw_set, checked, tmp_path)
    assert checked.votes() == {1: 1, 0: 0, -1: 0}


def test_one_exchanged_pair_among_good_ones_is_refused_by_name(tmp_path):
    for i in range(4):
        rainy, clean = make_pair(i)
        if i == 2:
            rainy, clean = clean, rainy
        save(tmp_path / f"input/{i}.png", rainy)
        save(tmp_path / f"target/{i}.png", clean)
    raw_set, checked = check("pairs", tmp_path)
    with pytest.raises(ValueError, match="1 of 4 pairs seem.*input/2.png") as raised:
        pair_checks.refuse_exchanged_sides(raw_set, checked, tmp_path)
    assert "input/1.png" not in str(raised.value)
    assert checked.votes() == {1: 3, 0: 0, -1: 1}


def test_files_that_have_no_equal_halves_are_left_out(tmp_path):
    save(tmp_path / "train/1.png", np.zeros((20, 31, 3), np.uint8))
    save(tmp_path / "train/2.png", np.zeros((20, 10, 3), np.uint8))
    _, checked = check("rain800", tmp_path)
    assert dict(checked.excluded) == {
        "train/1.png": "is 31 pixels wide, which gives no equal halves",
        "train/2.png": "is 10 pixels wide, which gives no equal halves",
    }


def test_checked_examples_come_in_the_order_of_the_folder(tmp_path):
    for i in reversed(range(12)):
        save(tmp_path / f"{i:02}.png", make_pair(i)[1])
    _, checked = check("photos", tmp_path)
    assert names(checked) == [f"{i:02}.png" for i in range(12)]
    assert {(e.width, e.height) for e in checked.splits["train"]} == {(40, 32)}
    assert checked.splits["train"][0].sides is None
