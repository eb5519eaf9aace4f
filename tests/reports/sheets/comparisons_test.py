"""Rows of comparison sheets, from examples."""

import numpy as np
import pytest

from ttl_jax.metrics import image_quality
from ttl_jax.reports.examples import Example
from ttl_jax.reports.sheets import comparisons
from ttl_jax.reports.sheets.close_ups import Box


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)


def make_example(i, name, *methods, has_target=True):
    restored = {method: noise((i, k)) for k, method in enumerate(("input", *methods))}
    return Example(name, name, restored, noise((i, 99)) if has_target else None)


def make_examples(*methods):
    """Two scenes, a and deep/b."""
    return [make_example(i, n, *methods) for i, n in enumerate(("a", "deep/b"))]


def test_each_row_has_the_input_first_and_the_target_last():
    rows = comparisons.make_rows(make_examples("ours", "other"))
    assert [list(row.panels) for row in rows] == [
        ["input", "ours", "other", "target"]
    ] * 2
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row.panels["other"], noise((i, 2)))
        np.testing.assert_array_equal(row.panels["target"], noise((i, 99)))
        assert row.name == "" and row.close_ups == 0


def test_scores_stand_below_the_images_and_their_names_below_the_target():
    (row,) = comparisons.make_rows([make_example(0, "a", "ours")])
    pair = noise((0, 1))[None], noise((0, 99))[None]
    psnr, ssim = image_quality.psnr(*pair).item(), image_quality.ssim(*pair).item()
    assert row.captions["ours"] == f"{psnr:.2f} / {ssim:.4f}"
    assert row.captions["target"] == "PSNR / SSIM"
    assert row.captions.keys() == row.panels.keys()
    (row,) = comparisons.make_rows([make_example(0, "a", "ours")], protocol=None)
    assert not row.captions and "target" in row.panels


def test_real_rain_has_neither_target_nor_scores():
    (row,) = comparisons.make_rows([make_example(0, "a", "ours", has_target=False)])
    assert list(row.panels) == ["input", "ours"] and not row.captions


def test_boxes_go_to_their_image_and_those_of_every_image_to_each():
    shared, own = Box(1, 2, 9, 9), Box(20, 5, 10, 8)
    first, second = comparisons.make_rows(
        make_examples("ours"), close_ups={"": [shared], "deep/b": [own]}
    )
    assert first.close_ups == [shared] and second.close_ups == [shared, own]


@pytest.mark.parametrize(
    ("methods", "compared"),
    [(["one"], ["input", "one"]), (["one", "two"], ["one", "two"])],
)
def test_methods_are_compared_with_each_other_a_single_one_with_the_input(
    methods, compared
):
    rows = comparisons.make_rows(
        [make_example(0, "a", *methods)], close_ups=2, with_names=True
    )
    assert rows[0].close_ups == 2 and rows[0].name == "a"
    assert list(rows[0].compared) == compared


@pytest.mark.parametrize(
    ("close_ups", "message"),
    [
        ({"b": [Box(0, 0, 9, 9)]}, "is for 'b', but the images shown are a, deep/b"),
        ({"": [Box(0, 0, 99, 9)]}, "a: .*60 x 40"),
    ],
)
def test_close_ups_outside_the_images_are_rejected(close_ups, message):
    with pytest.raises(ValueError, match=message):
        comparisons.make_rows(make_examples("ours"), close_ups=close_ups)


def test_a_method_called_target_is_rejected_beside_a_target():
    with pytest.raises(ValueError, match="'target'.*rename"):
        comparisons.make_rows(make_examples("target"))
    alone = make_example(0, "a", "target", has_target=False)
    (row,) = comparisons.make_rows([alone])
    assert list(row.panels) == ["input", "target"]
