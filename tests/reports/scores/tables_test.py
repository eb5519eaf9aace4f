"""The three files of a report."""

import csv
import json

import pandas as pd
import pytest

from tests import tables
from ttl_jax.metrics import intervals
from ttl_jax.reports import markdown
from ttl_jax.reports.scores import scores
from ttl_jax.reports.scores.evaluation import Report


@pytest.fixture(autouse=True)
def two_scenes_are_enough(monkeypatch):
    """Few scenes keep expected values short."""
    monkeypatch.setattr(intervals, "MIN_SCENES", 2)


def row(set_name, image, method, protocol="y_uint8", **values):
    keys = (set_name, protocol, image, f"scene {image}", method)
    return dict(zip(scores.KEYS, keys)) | values


def pair(set_name, image, method, psnr, ssim, gain, **further):
    values = {"psnr": psnr, "ssim": ssim, "psnr_gain": gain}
    return row(set_name, image, method, **values, **further)


ROWS = [
    pair("one", "a", "input", 20.0, 0.5, 0.0),
    pair("one", "a", "ours|mine", 26.125, 0.75, 6.125),
    pair("one", "a", "third", 20.0, 0.5, 0.0),
    pair("one", "b", "input", 30.0, 0.7, 0.0),
    pair("one", "b", "ours|mine", 28.125, 0.95, -1.875),
    pair("one", "b", "third", 20.0, 0.5, -10.0),
    pair("two", "c", "input", 10.0, 0.1, 0.0),
    pair("two", "c", "ours|mine", 9.0, 0.2, -1.0),
]


def report_of(rows):
    table = scores.make_table(rows)
    return Report(table, scores.summarize(table), ["A note at the end."])


def test_the_table_has_the_layout_of_table_1():
    _, rainy, ours, third = tables.cells(str(report_of(ROWS)))
    assert rainy == ["input", "25.00 / 0.6000", "+0.00", "-", "10.00 / 0.1000", "+0.00"]
    assert ours[:3] == [
        "ours/mine", "**27.12** / **0.8500**", "+2.12 [-1.88, +6.12]"
    ]  # fmt: skip
    assert third[1] == "<u>20.00</u> / <u>0.5000</u>"
    assert third[3:] == ["-7.12 [-8.12, -6.12]", "-", "-"]


def test_equal_scores_are_marked_alike():
    found = [
        pair("one", "a", "input", 20.0, 0.5, 0.0),
        pair("one", "a", "x", 26.001, 0.75, 6.0),
        pair("one", "a", "y", 26.002, 0.76, 6.0),
    ]
    _, _, x, y = tables.cells(str(report_of(found)))
    assert x[1] == "**26.00** / <u>0.7500</u>" and y[1] == "**26.00** / **0.7600**"


def test_bars_do_not_end_a_cell():
    frame = pd.DataFrame([["x|y", "1.50"]], columns=["a|b", "c"])
    head, rule, body = markdown.table(frame).splitlines()
    assert r"a\|b" in head and r"x\|y" in body and "1.50" in body
    assert rule.endswith(":|") and not rule.startswith("|-:")


def test_a_report_is_three_files_that_agree(tmp_path):
    folder, report = tmp_path / "new" / "folder", report_of(ROWS)
    folder.mkdir(parents=True)
    (folder / "ablation_scores.json").touch()  # of an earlier report
    report.write(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "per_image.csv", "scores.json", "table.md"
    ]  # fmt: skip
    assert (folder / "table.md").read_text() == str(report)
    assert str(report).endswith("\nA note at the end.\n")
    summary = json.loads((folder / "scores.json").read_text())
    assert summary == report.summary
    assert summary["one"]["y_uint8"]["ours|mine"] == {
        "psnr": 27.125,
        "ssim": 0.85,
        "psnr_gain": 2.125,
        "psnr_to_input": {"mean": 2.125, "low": -1.875, "high": 6.125},
        "count": 2,
        "scenes": 2,
    }
    with open(folder / "per_image.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(ROWS)
    assert rows[1] == {name: str(value) for name, value in ROWS[1].items()}


def test_infinite_means_are_rejected_before_writing(tmp_path):
    undefined = pair("one", "a", "input", float("inf"), 0.5, 0.0)
    with pytest.raises(ValueError, match="JSON"):
        report_of([undefined]).write(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_images_without_any_score_make_a_table_of_methods():
    text = str(report_of([row("one", "a", "input", "no_reference")]))
    assert "input" in text and "A note at the end." in text
