"""Partners by name, in folders as methods write them."""

import numpy as np
import pytest

from ttl_jax.data.files import encoding
from ttl_jax.reports import partners


@pytest.mark.parametrize(
    ("name", "core"),
    [
        ("7", "7"),
        ("7_derained", "7"),
        ("rain-007x2", "007"),
        ("norain-007", "007"),
        ("a/b/img_3_x2_derained", "a/b/img_3"),
        ("000gt", "000"),
        ("12_rain", "12"),
        ("12_Clean", "12"),
        ("0001_fake_B", "0001"),
        ("001_in", "001"),
        ("rain_12", "12"),
        ("12.5_gt", "12.5"),  # a dot is no suffix
        ("rain", "rain"),  # nothing else would be left
        ("train", "train"),  # no part of its own
        ("rainforest", "rainforest"),
        ("bouquet", "bouquet"),
        ("boxx2", "boxx2"),
    ],
)
def test_common_parts_of_names_are_removed(name, core):
    assert partners.core_of(name) == core


def test_the_same_name_comes_before_the_common_parts():
    names = ["1", "1_gt"]
    assert partners.match(names, names) == {"1": "1", "1_gt": "1_gt"}


def test_results_of_rain100_are_matched_with_their_targets():
    expected = {f"norain-{i}": f"rain-{i}x2_derained" for i in range(1, 12)}
    found = partners.match(list(expected), sorted(expected.values()))
    assert found == expected and list(found) == list(expected)


def test_folders_are_part_of_the_name():
    assert partners.match(["a/1", "b/1"], ["a/1_out", "c/1_out"]) == {"a/1": "a/1_out"}


def test_names_with_two_possible_partners_are_rejected():
    with pytest.raises(ValueError, match="1 may belong to 1_derained, 1_out"):
        partners.match(["1"], ["1_derained", "1_out"])


def test_images_are_found_below_a_folder(tmp_path):
    for name in ("b.1.png", "deep.png/a.webp", ".hidden/c.png", "deep.png/.d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        encoding.write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("none")
    found = partners.find_images(tmp_path)
    assert found == {
        "b.1": f"{tmp_path}/b.1.png", "deep.png/a": f"{tmp_path}/deep.png/a.webp"
    }  # fmt: skip


def test_links_to_folders_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    encoding.write_image(tmp_path / "there" / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "set").symlink_to(tmp_path / "there")
    assert list(partners.find_images(tmp_path / "here")) == ["set/a"]


def test_names_that_differ_in_case_only_are_never_exchanged():
    assert partners.match(["a", "A"], ["A", "a"]) == {"a": "a", "A": "A"}
    with pytest.raises(ValueError, match="a, A may belong to A_out, a_out"):
        partners.match(["a", "A"], ["A_out", "a_out"])
