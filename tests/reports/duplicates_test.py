import base64
import csv
import io
import json
import re

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
        "index.html", "matches.csv", "audit.json", "exclude.txt"
    }  # fmt: skip
    assert "folder:train: 3 pictures\n" in summary
    assert "2 couples show the same picture, in 2 groups." in summary
    assert "2 photographs outside of the test sources" in summary


def test_without_tests_nothing_is_excluded(tmp_path, found):
    duplicates.write_report(tmp_path, found._replace(test_sources=()))
    assert not (tmp_path / "exclude.txt").exists()


def test_names_to_exclude_are_lines_among_comments(found):
    lines = duplicates.exclusions(found).splitlines()
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


def test_the_page_shows_each_picture_of_a_group_and_needs_no_other_file(found):
    page = duplicates.page(found)
    images = re.findall('src="data:image/jpeg;base64,([^"]+)"', page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(data))).size for data in images]
    assert sizes == [(200, 150), (200, 150), (40, 30), (40, 30)]
    assert len(re.findall("(?:src|href)=", page)) == len(images)
    assert "train/&lt;1&gt;.png" in page and "<1>" not in page
    assert "up to 12 bits apart, correlation from 0.977, mirrored" in page


def test_groups_of_tests_come_first_and_then_the_least_certain(found):
    entries = found.entries + [entry("folder:train", f"late{i}") for i in range(2)]
    matches = [*found.matches, Match(4, 5, 39, 0.96, False)]
    page = duplicates.page(
        found._replace(
            entries=entries, matches=matches, groups=[[1, 2], [4, 5], [0, 3]]
        )
    )
    places = [
        page.index(f'alt="{name}"') for name in ("test/1.png", "late0", "train/2.png")
    ]
    assert places == sorted(places)


def test_a_long_page_is_cut_and_says_so(found, monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_GROUPS", 1)
    page = duplicates.page(found)
    assert page.count("<section>") == 1
    assert "Here are 1 of the groups; all are in audit.json" in page
