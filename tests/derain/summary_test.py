"""What the command reports about the restored photographs."""

import os
import pathlib

import numpy as np
import pytest

from tests.derain import photographs
from ttl_jax import derain
from ttl_jax.data.files import encoding
from ttl_jax.inference import recognizer


def test_the_summary_names_what_is_lost_and_where_little_changed(
    tmp_path, monkeypatch, replace_network, capsys
):
    monkeypatch.chdir(tmp_path)
    replace_network(np.copy)
    encoding.write_image("a.jpg", np.zeros((9, 9, 3), np.uint8), {"comment": b"wet"})
    derain.main(["a.jpg", "--output", "out", "--format", "webp"])
    printed = capsys.readouterr().out
    assert "Mean change: 0.00 of 255 levels." in printed
    assert "Little rain found in 1 photograph, left nearly unchanged" in printed
    assert "Not kept: comment (1 photograph)." in printed
    assert list(photographs.levels("out")) == ["a.webp"]


@pytest.mark.parametrize(
    ("change", "strength", "is_little"),
    [(0, "0.5", True), (1, "0.5", False), (0, "0", False)],
)
def test_little_rain_is_said_of_the_network_and_not_of_the_strength(
    loaded, replace_network, capsys, change, strength, is_little
):
    replace_network(lambda array: array + np.uint8([change, 0, 0]))  # 1/3 in the mean
    photographs.write("a.png", 100)
    derain.main(["a.png", "--output", "out", "--strength", strength])
    assert ("Little rain" in capsys.readouterr().out) == is_little


def test_pixels_that_the_format_cannot_hold_fail_before_the_network_runs(
    tmp_path, monkeypatch, replace_network, capsys
):
    monkeypatch.chdir(tmp_path)
    seen = []
    replace_network(lambda array: seen.append(array.shape) or array)
    pathlib.Path("in").mkdir()
    encoding.write_image("in/deep.png", np.zeros((9, 9), np.uint16))
    os.rename("in/deep.png", "in/deep.jpg")
    assert derain.main(["in", "--output", "out"]) == 1
    assert "JPEG holds 8 bits; use PNG or TIFF" in capsys.readouterr().err
    assert not seen


@pytest.mark.parametrize(
    "arguments", ["in -o out --format jpg", "in/deep.jpg out/deep.jpg"]
)
def test_16_bits_become_8_in_a_format_that_the_user_named(loaded, arguments, capsys):
    pathlib.Path("in").mkdir()
    encoding.write_image("in/deep.png", np.full((9, 9), 257 * 100, np.uint16))
    os.rename("in/deep.png", "in/deep.jpg")
    assert derain.main(arguments.split()) == 0
    assert photographs.levels("out") == {"deep.jpg": 155}
    assert "Not kept: 16 bits (1 photograph)." in capsys.readouterr().out


def test_photographs_that_are_too_small_are_counted_apart(loaded, capsys):
    photographs.write("in/a.png", 1)
    encoding.write_image("in/line.png", np.zeros((1, 9, 3), np.uint8))
    assert derain.main(["in", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert "Left 1 photograph unchanged: too small to be restored." in printed
    assert "Mean change: 253.00 of 255" in printed


@pytest.mark.parametrize(
    ("flags", "scored"),
    [([], 1), (["--rain_score"], 2), (["--no-rain_score"], 0)],
)
def test_large_photographs_are_scored_before_and_after(
    loaded, monkeypatch, capsys, flags, scored
):
    shapes = []

    class Recognizer:
        @classmethod
        def from_checkpoint(cls, path):
            assert path == "shipped"
            return cls()

        def score(self, image):
            shapes.append(image.shape)
            return image.mean() / 100

    monkeypatch.setattr(recognizer, "Recognizer", Recognizer)
    photographs.write("in/small.png", 100)
    encoding.write_image("in/large.png", np.full((1500, 3000), 100, np.uint8))
    assert derain.main(["in", "--output", "out", *flags]) == 0
    printed = capsys.readouterr().out
    assert shapes.count((256, 512, 3)) == 2 * bool(scored)
    assert len(shapes) == 2 * scored
    expected = f"of {scored} photograph{'s'[: scored != 1]}: 1.00 before, 1.55 after."
    assert (expected in printed) == bool(scored)


def test_a_rain_score_that_fails_does_not_cost_the_photograph(
    loaded, monkeypatch, capsys, caplog
):
    monkeypatch.setattr(recognizer, "Recognizer", None)
    photographs.write("a.png", 1)
    assert derain.main(["a.png", "--output", "out", "--rain_score"]) == 0
    assert photographs.levels("out") == {"a.png": 254}
    assert any(line.startswith("No rain score: ") for line in caplog.messages)
