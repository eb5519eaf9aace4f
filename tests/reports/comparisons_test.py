"""Rows of comparison sheets, from examples."""

import numpy as np
import pytest

from ttl_jax.metrics import image_quality
from ttl_jax.reports import comparisons
from ttl_jax.reports.close_ups import Box
from ttl_jax.reports.scores import Example


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)


def examples(*methods):
    """Three scenes; whoever reads on after them is told."""
    for i, name in enumerate(("a", "deep/b", "c")):
        restored = {
            method: noise((i, k)) for k, method in enumerate(("input", *methods))
        }
        yield Example(name, restored, noise((i, 99)))


def test_rows_come_in_the_order_named_with_input_first_and_target_last():
    rows = comparisons.make_rows(examples("ours", "other"), ["c", "a"])
    assert [list(row.panels) for row in rows] == [
        ["input", "ours", "other", "target"]
    ] * 2
    for row, i in zip(rows, (2, 0)):
        np.testing.assert_array_equal(row.panels["other"], noise((i, 2)))
        np.testing.assert_array_equal(row.panels["target"], noise((i, 99)))
        assert row.name == "" and row.close_ups == 0


def test_scores_stand_under_the_images_and_what_they_are_under_the_target():
    (row,) = comparisons.make_rows(examples("ours"), ["a"])
    pair = noise((0, 1))[None], noise((0, 99))[None]
    psnr, ssim = image_quality.psnr(*pair).item(), image_quality.ssim(*pair).item()
    assert row.captions["ours"] == f"{psnr:.2f} / {ssim:.4f}"
    assert row.captions["target"] == "PSNR / SSIM"
    assert row.captions.keys() == row.panels.keys()
    (row,) = comparisons.make_rows(examples("ours"), ["a"], protocol=None)
    assert not row.captions and "target" in row.panels


def test_real_rain_has_neither_target_nor_scores():
    (row,) = comparisons.make_rows(examples("ours"), ["a"], with_target=False)
    assert list(row.panels) == ["input", "ours"] and not row.captions


def test_boxes_go_to_their_image_and_those_of_every_image_to_each():
    shared, own = Box(1, 2, 9, 9), Box(20, 5, 10, 8)
    first, second = comparisons.make_rows(
        examples("ours"), ["a", "deep/b"], close_ups={"": [shared], "deep/b": [own]}
    )
    assert first.close_ups == [shared] and second.close_ups == [shared, own]


@pytest.mark.parametrize(
    "methods, compared", [(["one"], ["input", "one"]), (["one", "two"], ["one", "two"])]
)
def test_methods_are_compared_with_each_other_a_single_one_with_the_input(
    methods, compared
):
    rows = comparisons.make_rows(
        examples(*methods), ["a"], close_ups=2, with_names=True
    )
    assert rows[0].close_ups == 2 and rows[0].name == "a"
    assert list(rows[0].compared) == compared


def test_examples_are_read_as_far_as_needed():
    lazy = examples("ours")
    comparisons.make_rows(lazy, ["a"])
    assert next(lazy).name == "deep/b"


@pytest.mark.parametrize(
    "names, options, message",
    [
        (["d"], {}, "no 'd'"),
        (["deep/d"], {}, "no 'deep/d'.* mean 'deep/b'"),
        (["a", "a"], {}, "a, a"),
        (["a"], {"close_ups": {"b": [Box(0, 0, 9, 9)]}}, "no 'b'.*close-up"),
        (["a"], {"close_ups": {"": [Box(0, 0, 99, 9)]}}, "a: .*60 x 40"),
    ],
)
def test_what_is_not_there_is_refused(names, options, message):
    with pytest.raises(ValueError, match=message):
        comparisons.make_rows(examples("ours"), names, **options)


def test_a_method_called_target_is_refused_beside_a_target():
    with pytest.raises(ValueError, match="'target'.*otherwise"):
        comparisons.make_rows(examples("target"), ["a"])
    (row,) = comparisons.make_rows(examples("target"), ["a"], with_target=False)
    assert list(row.panels) == ["input", "target"]
