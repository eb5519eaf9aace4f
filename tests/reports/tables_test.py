"""The three files of a report."""

import csv
import json

import pytest

from ttl_jax.reports import scores, tables

SCORES = [
    scores.Score("one", "y_uint8", "a", "input", 20.0, 0.5, 0.0),
    scores.Score("one", "y_uint8", "a", "ours|mine", 26.125, 0.75, 6.125),
    scores.Score("one", "y_uint8", "b", "input", 30.0, 0.7, 0.0),
    scores.Score("one", "y_uint8", "b", "ours|mine", 28.125, 0.95, -1.875),
    scores.Score("two", "y_uint8", "c", "input", 10.0, 0.1, 0.0),
    scores.Score("two", "y_uint8", "c", "ours|mine", 9.0, 0.2, -1.0),
]


def test_the_table_has_a_row_per_method_and_three_columns_per_set():
    lines = tables.markdown(scores.summarize(SCORES)).splitlines()
    assert lines[0] == "## y_uint8"
    columns = ["method"]
    columns += ["one (2): PSNR, dB", "SSIM", "gain, dB"]
    columns += ["two (1): PSNR, dB", "SSIM", "gain, dB"]
    assert lines[2:6] == [
        f"| {' | '.join(columns)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| input | 25.00 | 0.6000 | +0.00 | 10.00 | 0.1000 | +0.00 |",
        r"| ours\|mine | 27.12 | 0.8500 | +2.12 | 9.00 | 0.2000 | -1.00 |",
    ]
    assert "MATLAB" in lines[7]


def test_a_method_that_was_not_scored_on_a_set_has_dashes():
    table = tables.markdown(scores.summarize(SCORES[:5]))
    assert r"| ours\|mine | 27.12 | 0.8500 | +2.12 | - | - | - |" in table


def test_a_report_is_three_files_that_agree(tmp_path):
    folder = tmp_path / "new" / "folder"
    table = tables.write_report(folder, SCORES)
    assert sorted(path.name for path in folder.iterdir()) == [
        "per_image.csv",
        "scores.json",
        "table.md",
    ]
    assert (folder / "table.md").read_text() == table
    summary = json.loads((folder / "scores.json").read_text())
    assert summary == scores.summarize(SCORES)
    assert summary["one"]["y_uint8"]["ours|mine"] == {
        "psnr": 27.125,
        "ssim": 0.85,
        "psnr_gain": 2.125,
        "count": 2,
    }
    with open(folder / "per_image.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(SCORES)
    assert rows[1] == {
        "set": "one",
        "protocol": "y_uint8",
        "image": "a",
        "method": "ours|mine",
        "psnr": "26.125",
        "ssim": "0.75",
        "psnr_gain": "6.125",
    }


def test_what_json_cannot_hold_is_refused_before_writing(tmp_path):
    undefined = scores.Score("one", "y_uint8", "a", "input", float("nan"), 0.5, 0.0)
    with pytest.raises(ValueError, match="JSON"):
        tables.write_report(tmp_path / "new", [undefined])
    assert not (tmp_path / "new").exists()
