"""The table that compares sums: its figures are those of the scores behind it."""

import csv
import json

import numpy as np
import pytest

from launch import sums_table
from ttl_jax.data.files import encoding


@pytest.fixture
def folders(tmp_path, monkeypatch, replace_network):
    """A pair, a rain-free photograph and a rainy one; the network darkens by 2 levels."""
    monkeypatch.chdir(tmp_path)
    replace_network(lambda array: np.maximum(array, 2) - 2)
    for folder, side, level in (
        ("pairs/rainy", 16, 120),
        ("pairs/clean", 16, 100),
        ("clean", 16, 90),
        ("rain", 490, 50),
    ):
        (tmp_path / folder).mkdir(parents=True)
        encoding.write_image(
            f"{folder}/a.png", np.full((side, side, 3), level, np.uint8)
        )
    return tmp_path


COMMAND = (
    "sums_table.py --checkpoint dark=run --pairs P=folder:pairs "
    "--clean folder:clean --rainy folder:rain --output out"
)


@pytest.mark.parametrize(
    ("source", "invalid", "message"),
    [
        ("folder:clean", "folder:nowhere", "there is no folder nowhere"),
        ("folder:rain", "folder:nowhere", "there is no folder nowhere"),
        ("output out", "output clean/a.png", "clean/a.png cannot hold the output"),
    ],
)
def test_invalid_input_is_named_before_anything_is_scored(
    folders, monkeypatch, source, invalid, message
):
    monkeypatch.setattr("sys.argv", COMMAND.replace(source, invalid).split())
    monkeypatch.setattr(sums_table.evaluation, "score", lambda *_, **__: 1 / 0)
    with pytest.raises(SystemExit, match=message):
        sums_table.main()


def test_figures_are_those_of_the_scores(folders, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", COMMAND.split())
    sums_table.main()
    head, _, row = (folders / "out" / "sums.md").read_text().splitlines()
    cells = dict(zip(head.split("|")[1:-1], row.split("|")[1:-1]))
    cells = {name.strip(): value.strip() for name, value in cells.items()}
    gain = json.loads((folders / "out/pairs/scores.json").read_text())
    gain = gain["P"]["y_uint8"]["dark"]["psnr_gain"]
    assert cells["P, gain"] == f"{gain:+.2f}"
    with (folders / "out/clean/per_image.csv").open(newline="") as file:
        (psnr,) = (r["psnr"] for r in csv.DictReader(file) if r["method"] == "dark")
    assert cells["rain-free, mean"] == cells["worst"] == f"{float(psnr):.1f}"
    assert cells["change"] == "2.00"
    assert cells["disagreement, mean"] == cells["disagreement, worst"] == "0.000"
    assert cells["change ratio, least"] == "1.00"
    assert cells["seam"] == "-"  # the stand-in has no windows
    assert row in capsys.readouterr().out
