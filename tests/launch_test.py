"""The scripts of launch/."""

import csv
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ttl_jax.data import sources

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def collection(tmp_path):
    """40 scenes, each as a pair, a clean photograph and a rainy one; one bad file."""
    root, rows = tmp_path / "photographs", []
    for i in range(40):
        for path, role in (
            (f"paired/Rain/rainy/{i}.png", "rainy"),
            (f"paired/Rain/clean/{i}.png", "clean"),
            (f"clean/bsds/{i}.png", "clean"),
            (f"real/{i}.png", "rainy_unpaired"),
        ):
            dataset = "SPA-Data" if i == 0 else "Rain"
            rows.append({"path": path, "dataset": dataset, "role": role})
            rows[-1]["scene"] = f"scene {i}"
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 9, 3), i, np.uint8)).save(file)
    (root / "real/7.png").write_bytes(b"no image")
    with (root / "MANIFEST.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(reversed(rows))
    return root


def make_lists(collection, output):
    script = ROOT / "launch" / "lists_by_scene.py"
    result = subprocess.run(
        [sys.executable, script, collection, "--output", output],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    lists = {
        path.stem: [line.split("\t") for line in path.read_text().splitlines()]
        for path in output.iterdir()
    }
    return lists, result.stdout


def test_no_scene_is_on_both_sides_and_none_is_lost(collection, tmp_path):
    lists, printed = make_lists(collection, tmp_path / "lists")
    scenes = {
        part: {
            pathlib.Path(path).stem
            for name, lines in lists.items()
            if part in name
            for line in lines
            for path in line
        }
        for part in ("train", "test")
    }
    assert not scenes["train"] & scenes["test"]
    assert scenes["train"] | scenes["test"] == {str(i) for i in range(1, 40)}
    assert 4 <= len(scenes["test"]) <= 16  # a quarter of 39, give or take chance
    assert "left out" in printed and "real/7.png" in printed


def test_lists_are_sources(collection, tmp_path):
    lists, _ = make_lists(collection, tmp_path / "lists")
    pairs = sources.open_pairs(f"list:{tmp_path}/lists/pairs_train.txt")
    assert len(pairs) == len(lists["pairs_train"])
    for pair in pairs:
        rainy, clean = pair.load()
        np.testing.assert_array_equal(rainy, clean)  # the same scene's number
