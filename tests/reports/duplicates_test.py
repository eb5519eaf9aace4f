"""The report of near-duplicates."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.pictures import noise
from ttl_jax.data.sets.audit import Audit, Entry, Match
from ttl_jax.data.sources.photographs import Photograph
from ttl_jax.reports import duplicates


def entry(source, name, *rainy, level=None):
    array = (
        noise(300, 400, 3) if level is None else np.full((30, 40, 3), level, np.uint8)
    )
    loaded = Photograph(name, array.shape[1], array.shape[0], None, lambda: array)
    return Entry(source, loaded, (name, *rainy))


@pytest.fixture
def found():
    """Two training pictures of which one is tested on, and two more that are one."""
    entries = [
        entry("folder:train", "train/<1>.png", "train/rainy/1.png"),
        entry("folder:train", "train/2.png", level=40),
        entry("folder:train", "train/3.png", level=50),
        entry("folder:test", "test/1.png"),
    ]
    matches = [Match(0, 3, 12, 0.97654, True), Match(1, 2, 30, 0.95001, False)]
    return Audit(entries, ("folder:test",), matches, [[0, 3], [1, 2]])


def test_every_file_is_written_and_no_other(tmp_path, found):
    summary = duplicates.write_report(tmp_path / "report", found)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "duplicates.md", "pictures", "matches.csv", "audit.json", "exclude.txt"
    }  # fmt: skip
    assert "folder:train: 3 pictures\n" in summary
    assert "2 pairs show the same picture, in 2 groups." in summary
    assert "2 photographs outside the test sources" in summary


def test_without_tests_nothing_is_excluded(tmp_path, found):
    duplicates.write_report(tmp_path, found._replace(test_sources=()))
    assert not (tmp_path / "exclude.txt").exists()


def test_nothing_of_an_earlier_report_stays_beside_a_new_one(tmp_path, found):
    duplicates.write_report(tmp_path, found)
    (tmp_path / "pictures/mine.png").touch()
    new = found._replace(test_sources=(), matches=found.matches[1:], groups=[[1, 2]])
    duplicates.write_report(tmp_path, new)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "audit.json", "duplicates.md", "matches.csv", "pictures"
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "1.png", "mine.png"
    ]  # fmt: skip


def test_names_to_exclude_are_lines_among_comments(found):
    lines = duplicates.list_exclusions(found).splitlines()
    names = [line for line in lines if not line.startswith("#")]
    assert names == ["train/<1>.png", "train/rainy/1.png"]
    assert len(lines) > len(names)


def test_the_table_has_a_row_per_match(tmp_path, found):
    duplicates.write_report(tmp_path, found)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "matches.csv").read_text())))
    assert [list(row.values()) for row in rows] == [
        ["folder:train", "train/<1>.png", "folder:test", "test/1.png"]
        + ["12", "0.9765", "1"],
        ["folder:train", "train/2.png", "folder:train", "train/3.png"]
        + ["30", "0.9500", "0"],
    ]


def test_the_data_holds_all_groups(tmp_path, found):
    duplicates.write_report(tmp_path, found)
    data = json.loads((tmp_path / "audit.json").read_text())
    assert data["sources"] == ["folder:train", "folder:test"]
    assert data["test_sources"] == ["folder:test"]
    assert data["groups"][0] == [
        {"source": "folder:train", "names": ["train/<1>.png", "train/rainy/1.png"]},
        {"source": "folder:test", "names": ["test/1.png"]},
    ]


def test_each_group_has_a_picture_of_its_members_and_their_names(tmp_path, found):
    duplicates.write_report(tmp_path, found)
    report = (tmp_path / "duplicates.md").read_text()
    assert "![Group 1](pictures/1.png)" in report and "train/<1>.png" in report
    assert "up to 12 bits apart, correlation from 0.977, mirrored" in report
    with Image.open(tmp_path / "pictures/2.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (200, 400, 3)
    assert (pixels[:30, :40] == 40).all() and (pixels[:30, 200:240] == 50).all()


def test_groups_of_tests_come_first_and_then_the_least_certain(tmp_path, found):
    entries = found.entries + [entry("folder:train", f"late{i}") for i in range(2)]
    matches = [*found.matches, Match(4, 5, 39, 0.96, False)]
    groups = [[1, 2], [4, 5], [0, 3]]
    found = found._replace(entries=entries, matches=matches, groups=groups)
    duplicates.write_report(tmp_path, found)
    report = (tmp_path / "duplicates.md").read_text()
    places = [report.index(name) for name in ("test/1.png", "late0", "train/2.png")]
    assert places == sorted(places)


def test_a_long_report_is_cut_with_a_note(tmp_path, found, monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_GROUPS", 1)
    duplicates.write_report(tmp_path, found)
    assert len(list((tmp_path / "pictures").iterdir())) == 1
    assert "Only 1 groups are shown" in (tmp_path / "duplicates.md").read_text()
