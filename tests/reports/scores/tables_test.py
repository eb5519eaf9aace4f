"""The three files of a report."""

import csv
import json

import pytest

from ttl_jax.reports.scores import scores, tables


def score(set_name, image, method, psnr, ssim, gain, **further):
    values = {"psnr": psnr, "ssim": ssim, "psnr_gain": gain, **further}
    return scores.Score(set_name, "y_uint8", image, f"scene {image}", method, values)


SCORES = [
    score("one", "a", "input", 20.0, 0.5, 0.0),
    score("one", "a", "ours|mine", 26.125, 0.75, 6.125),
    score("one", "a", "third", 20.0, 0.5, 0.0),
    score("one", "b", "input", 30.0, 0.7, 0.0),
    score("one", "b", "ours|mine", 28.125, 0.95, -1.875),
    score("one", "b", "third", 20.0, 0.5, -10.0),
    score("two", "c", "input", 10.0, 0.1, 0.0),
    score("two", "c", "ours|mine", 9.0, 0.2, -1.0),
]


def test_the_table_has_the_layout_of_table_1():
    lines = tables.markdown(scores.summarize(SCORES)).splitlines()
    assert lines[0] == "## y_uint8"
    columns = ["method"]
    columns += ["one (2 images, 2 scenes): PSNR, dB / SSIM", "gain, dB [95 %]"]
    columns += ["to the best, dB [95 %]"]
    columns += ["two (1 image, 1 scene): PSNR, dB / SSIM", "gain, dB [95 %]"]
    assert lines[2:7] == [
        f"| {' | '.join(columns)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| input | 25.00 / 0.6000 | +0.00 | - | 10.00 / 0.1000 | +0.00 |",
        (
            r"| ours\|mine | **27.12** / **0.8500** | +2.12 [-1.88, +6.12] | 0 "
            "| 9.00 / 0.2000 | -1.00 |"
        ),
        (
            "| third | <u>20.00</u> / <u>0.5000</u> | -5.00 [-10.00, +0.00] "
            "| -7.12 [-8.12, -6.12] | - | - |"
        ),
    ]
    assert "MATLAB" in lines[8]


def test_equal_scores_are_marked_alike():
    found = [
        score("one", "a", "input", 20.0, 0.5, 0.0),
        score("one", "a", "x", 26.001, 0.75, 6.0),
        score("one", "a", "y", 26.002, 0.76, 6.0),
    ]
    lines = tables.markdown(scores.summarize(found)).splitlines()
    assert "**26.00** / <u>0.7500</u>" in lines[5]
    assert "**26.00** / **0.7600**" in lines[6]


def test_metrics_without_targets_are_columns_of_the_same_table():
    found = [
        score("one", "a", "input", 20.0, 0.5, 0.0, niqe=3.456, change_inside=0.0),
        score("one", "a", "ours", 26.0, 0.75, 6.0, niqe=3.0, change_inside=7.125),
        scores.Score("two", scores.NO_TARGET, "b", "b", "input", {"rain_score": 0.5}),
    ]
    table = tables.markdown(scores.summarize(found))
    assert "PSNR, dB / SSIM | gain, dB [95 %] | NIQE | change inside |" in table
    assert "| ours | 26.00 / 0.7500 | +6.00 | 3.00 (-0.46) | 7.12 |" in table
    assert "## no_reference" in table
    assert "| method | two (1 image, 1 scene): rain score |" in table
    assert "| input | +0.500 |" in table


def test_metrics_without_targets_show_the_change_over_the_input():
    found = [
        scores.Score(
            "rain", scores.NO_TARGET, image, image, method,
            {"niqe": value, "rain_score": value},
        )
        for method, values in (("input", (5.0, 4.0)), ("ours", (3.0, 3.5)))
        for image, value in zip("ab", values, strict=True)
    ]  # fmt: skip
    table = tables.markdown(scores.summarize(found))
    assert "| input | 4.50 | +4.500 |" in table
    assert (
        "| ours | 3.25 (-1.25 [-2.00, -0.50]) | +3.250 (-1.250 [-2.000, -0.500]) |"
        in table
    )


def test_a_report_is_three_files_that_agree(tmp_path):
    folder = tmp_path / "new" / "folder"
    table = tables.write_report(folder, SCORES, ["Told at the end."])
    assert sorted(path.name for path in folder.iterdir()) == [
        "per_image.csv",
        "scores.json",
        "table.md",
    ]
    assert (folder / "table.md").read_text() == table
    assert table.endswith("\nTold at the end.\n")
    summary = json.loads((folder / "scores.json").read_text())
    assert summary == scores.summarize(SCORES)
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
    assert len(rows) == len(SCORES)
    assert rows[1] == {
        "set": "one",
        "protocol": "y_uint8",
        "image": "a",
        "scene": "scene a",
        "method": "ours|mine",
        "psnr": "26.125",
        "ssim": "0.75",
        "psnr_gain": "6.125",
    }


def test_what_json_cannot_hold_is_refused_before_writing(tmp_path):
    undefined = score("one", "a", "input", float("nan"), 0.5, 0.0)
    with pytest.raises(ValueError, match="JSON"):
        tables.write_report(tmp_path / "new", [undefined])
    assert not (tmp_path / "new").exists()
