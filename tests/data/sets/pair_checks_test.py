import numpy as np
import pytest
from PIL import Image

from tests.data.raw_trees import make_pair, save
from ttl_jax.data.sets import pair_checks, raw_preparation


def check(what, root, rainy_half=None):
    raw_set = raw_preparation.find_set(
        what, "mine" if what in ("pairs", "photos") else None, rainy_half
    )
    return raw_set, pair_checks.check(raw_set, root, raw_set.find(root))


def names(checked):
    return [e.raw.name for examples in checked.splits.values() for e in examples]


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
def test_halves_on_the_wrong_side_are_rejected_and_can_be_exchanged(
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
    assert f"the {half} half should be rainy" in message
    assert f"--rainy_half {other}" in message and "--trust_sides" in message
    assert f"{tmp_path / file} (" in message
    raw_set, checked = check(what, tmp_path, other)
    pair_checks.refuse_exchanged_sides(raw_set, checked, tmp_path)
    assert checked.votes() == {1: 1, 0: 0, -1: 0}


def test_one_exchanged_pair_among_good_ones_is_rejected_by_name(tmp_path):
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
        "train/1.png": "is 31 pixels wide, which cannot be halved",
        "train/2.png": "is 10 pixels wide, which cannot be halved",
    }


def test_checked_examples_come_in_the_order_of_the_folder(tmp_path):
    for i in reversed(range(12)):
        save(tmp_path / f"{i:02}.png", make_pair(i)[1])
    _, checked = check("photos", tmp_path)
    assert names(checked) == [f"{i:02}.png" for i in range(12)]
    assert {(e.width, e.height) for e in checked.splits["train"]} == {(40, 32)}
    assert checked.splits["train"][0].sides is None
