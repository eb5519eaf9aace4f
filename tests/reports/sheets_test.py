"""Before/after pictures."""

import numpy as np
import pytest

from ttl_jax.data import decoding
from ttl_jax.reports import sheets


def test_the_panels_stand_side_by_side_below_their_labels():
    rng = np.random.default_rng(0)
    panels = {
        name: rng.integers(0, 256, (50, 120, 3), np.uint8)
        for name in ("input", "restored", "target")
    }
    sheet = sheets.make_sheet(panels)
    assert sheet.dtype == np.uint8
    strip = len(sheet) - 50
    assert 10 <= strip <= 20
    assert sheet.shape[1] == 3 * 120 + 2 * sheets.GAP
    for i, panel in enumerate(panels.values()):
        left = i * (120 + sheets.GAP)
        np.testing.assert_array_equal(sheet[strip:, left : left + 120], panel)
        # Dark writing on white, in every strip.
        assert sheet[:strip, left : left + 120].min() < 100
        assert sheet[:strip, left : left + 120].max() == 255
    assert sheet[:, 120 : 120 + sheets.GAP].min() == 255


def test_the_labels_differ():
    panel = np.zeros((20, 200, 3), np.uint8)
    one, other = (sheets.make_sheet({name: panel}) for name in ("input", "target"))
    assert (one != other).any()


def test_a_long_label_stays_within_its_panel():
    panel = np.zeros((20, 40, 3), np.uint8)
    sheet = sheets.make_sheet({"a label of many words": panel, "": panel})
    strip = len(sheet) - 20
    assert sheet[:strip, 40:].min() == 255


def test_the_file_holds_the_sheet(tmp_path):
    panels = {"input": np.zeros((20, 30, 3), np.uint8)}
    sheets.write_sheet(tmp_path / "sheet.png", panels)
    np.testing.assert_array_equal(
        decoding.read_image(tmp_path / "sheet.png").array, sheets.make_sheet(panels)
    )


@pytest.mark.parametrize(
    "panels, message",
    [
        ({}, "one shape"),
        ({"a": np.zeros((5, 5, 3), np.uint8), "b": np.zeros((5, 6, 3), np.uint8)}, "6"),
        ({"a": np.zeros((5, 5), np.uint8)}, r"'a' is uint8 of shape \(5, 5\)"),
        ({"a": np.zeros((5, 5, 3))}, "'a' is float64"),
    ],
)
def test_panels_that_do_not_fit_are_refused(panels, message):
    with pytest.raises(ValueError, match=message):
        sheets.make_sheet(panels)
