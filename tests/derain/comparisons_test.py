"""Pictures and pages that show a photograph before and after."""

import base64
import pathlib
import re

import numpy as np
import pytest

from tests.derain import photographs
from ttl_jax import derain
from ttl_jax.data.files import decoding, encoding
from ttl_jax.inference import before_after


def test_comparisons_show_both_sides(loaded):
    photographs.write("in/a.png", 30)
    derain.main(["in", "--output", "out", "--compare"])
    sides = decoding.read_image("out/a.png.compare.jpg").array
    assert sides.shape[1] > 2 * 5
    assert sides[:, :4].mean() == pytest.approx(30, abs=2)
    assert sides[:, -4:].mean() == pytest.approx(225, abs=2)
    derain.main(["in", "--output", "out", "--overwrite", "--compare", "html"])
    page = pathlib.Path("out/a.png.compare.html").read_text()
    pictures_found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    levels_found = [
        decoding.decode_rgb8(base64.b64decode(picture), "page").mean()
        for picture in pictures_found
    ]
    assert levels_found == pytest.approx([30, 225], abs=2)
    assert 'type="range"' in page


def test_a_missing_comparison_is_work_to_do(loaded, capsys):
    photographs.write("in/a.png", 30)
    assert derain.main(["in", "--output", "out"]) == 0
    for kind in ("jpg", "html"):
        assert derain.main(["in", "--output", "out", "--compare", kind]) == 0
        assert pathlib.Path(f"out/a.png.compare.{kind}").exists()
        assert "Skipping" not in capsys.readouterr().out
    assert derain.main(["in", "--output", "out", "--compare"]) == 0
    assert "Skipping 1 of 1" in capsys.readouterr().out


def test_a_comparison_of_standard_output_is_refused(loaded, capsys):
    photographs.write("a.png", 30)
    with pytest.raises(SystemExit, match="2"):
        derain.main(["a.png", "-", "--compare"])
    assert "name one instead of -" in capsys.readouterr().err


def test_comparisons_of_one_stem_do_not_replace_each_other(loaded):
    photographs.write("in/z.jpg", 30)
    photographs.write("in/z.png", 60)
    assert derain.main(["in", "--output", "out", "--compare"]) == 0
    shown = [
        decoding.read_image(path).array[:, :4].mean()
        for path in sorted(pathlib.Path("out").glob("*.compare.*"))
    ]
    assert shown == pytest.approx([30, 60], abs=2)


@pytest.mark.parametrize(("kind", "width"), [("jpg", 33_000), ("html", 66_000)])
def test_a_comparison_too_large_for_jpeg_is_made_smaller(loaded, kind, width):
    encoding.write_image("a.png", np.full((4, width), 30, np.uint8))
    assert derain.main(["a.png", "-o", "out", "--compare", kind]) == 0
    assert decoding.read_image("out/a.png").array.shape == (4, width)
    assert pathlib.Path(f"out/a.png.compare.{kind}").exists()
    if kind == "jpg":
        sides = decoding.read_image("out/a.png.compare.jpg").array
        assert sides.shape[1] > 60_000
        assert sides[0, 10].max() == pytest.approx(30, abs=9)
        assert sides[0, -10].max() == pytest.approx(225, abs=9)


def test_a_comparison_that_fails_does_not_cost_the_photograph(
    loaded, monkeypatch, capsys
):
    photographs.write("a.png", 1)
    monkeypatch.setattr(before_after, "_encode", None)
    assert derain.main(["a.png", "-o", "out", "--compare"]) == 1
    assert "1 failed:\n  a.png: " in capsys.readouterr().err
    assert photographs.levels("out") == {"a.png": 254}
