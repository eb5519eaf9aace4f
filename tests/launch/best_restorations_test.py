"""launch/best_restorations.py, with restorers and a judge that are known."""

import pathlib
import sys
import types

import numpy as np
import pytest

from launch import best_restorations as script
from tests import pictures
from ttl_jax.data.sources import source_names

RAIN = 200


@pytest.fixture
def rainy(tmp_path):
    """Four dark photographs with a bright streak on the left; the last has none."""
    (tmp_path / "rainy").mkdir()
    for i in range(4):
        picture = np.full((40, 60, 3), 50 + i, np.uint8)
        if i < 3:
            picture[5:35, 10:14] = RAIN
        pictures.write(tmp_path / "rainy" / f"{i}.png", picture)
    return f"folder:{tmp_path / 'rainy'}"


def remove(image):
    """Removes the rain and changes nothing else."""
    background = image[0, 0]
    return np.where(image == RAIN, background, image)


def remove_on_the_right(image):
    """Removes rain in the right half only, so the mirrored copy does better."""
    restored = image.copy()
    half = image.shape[1] // 2
    restored[:, half:] = remove(image)[:, half:]
    return restored


def darken(image):
    """Removes the rain and half of all other light."""
    return remove(image) // 2


def remove_and_spot(image):
    """Removes the rain, and darkens a square in the middle, which is then taken for rain."""
    restored = remove(image)
    restored[15:25, 25:35] -= 20
    return restored


def score(image):
    """Share of bright pixels, as a rain score."""
    return float((image > 150).mean())


@pytest.fixture
def run(monkeypatch, tmp_path, rainy):
    """Runs the script with these networks; returns the report by file stem."""
    networks = {"good": remove, "right": remove_on_the_right, "dark": darken}
    networks["spot"] = remove_and_spot
    load = lambda path: types.SimpleNamespace(restore=networks[path])
    recognizer = types.SimpleNamespace(from_checkpoint=lambda path: recognizer)
    recognizer.score = score
    monkeypatch.setattr(script.ttl_jax, "load", load)
    monkeypatch.setattr(script, "Recognizer", recognizer)

    def run(*checkpoints, fidelity=0.05, digest="12e4"):
        recognizer.digest = digest
        flags = [flag for name in checkpoints for flag in ("--checkpoint", name)]
        flags += ["--rainy", rainy, "--output", tmp_path / "pool"]
        flags += ["--fidelity", fidelity]
        monkeypatch.setattr(sys, "argv", ["best_restorations.py", *map(str, flags)])
        script.main()
        judge = script.Judge(score, digest, fidelity)
        entries = script.read_report(tmp_path / "pool", judge)
        return {pathlib.Path(name).stem: entry for name, entry in entries.items()}

    return run


def test_pairs_of_the_photographs_and_their_restorations_are_written(run, tmp_path):
    run("good")
    pairs = source_names.open_pairs(f"list:{tmp_path / 'pool' / 'pairs.txt'}")
    assert len(pairs) == 3  # no rain in the fourth
    for pair in pairs:
        photograph, restored = pair.load()
        assert (photograph == RAIN).any()
        np.testing.assert_array_equal(restored, remove(photograph))


def test_the_mirrored_copy_is_taken_where_it_is_better(run):
    report = run("right")
    assert [report[str(i)].view for i in range(3)] == ["mirrored"] * 3
    assert report["0"].score == 0


def test_a_change_outside_the_rain_costs(run):
    assert run("dark", fidelity=0.01)["0"].file == ""  # worse than the photograph
    report = run("dark", "good", fidelity=0.01)
    assert report["0"].checkpoint == "good"
    assert report["0"].cost == 0


def test_the_cost_is_the_score_and_the_change_outside_the_rain(rainy):
    photograph = source_names.open_photographs(rainy, "rainy")[0]
    image = photograph.load()
    mask = script.rain_mask(image, [darken(image)] * 3)
    assert mask.sum() == (30 + 4) * (4 + 4) - 4 * 3  # dilated twice by a cross
    judge = script.Judge(score, "", 1e-3)
    entry, _, _ = script.find_best(photograph, {"dark": darken}, judge)
    assert entry.cost == pytest.approx(25e-3)
    assert entry.cost_before == pytest.approx(30 * 4 / (40 * 60))


def test_only_a_better_restoration_replaces_an_earlier_one(run, tmp_path):
    def bytes_of(folder):
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    run("right")
    first = bytes_of("pool/clean")
    assert run("right")["0"].view == "mirrored"
    assert bytes_of("pool/clean") == first
    report = run("good")
    assert report["0"].checkpoint == "right"  # as good as the new one


def test_the_cost_of_an_earlier_restoration_is_that_with_the_present_rain(
    run, tmp_path
):
    assert run("spot")["0"].cost == 0  # all networks of this run call the square rain
    report = run("good")
    assert report["0"].checkpoint == "good"
    assert run("spot")["0"].checkpoint == "good"  # as good there
    _, restored = source_names.open_pairs(f"list:{tmp_path}/pool/pairs.txt")[0].load()
    assert (restored == restored[0, 0]).all()


@pytest.mark.parametrize("changed", [{"fidelity": 0.1}, {"digest": "12e5"}])
def test_costs_of_other_settings_are_refused(run, tmp_path, changed):
    run("right")
    before = (tmp_path / "pool" / "report.csv").read_bytes()
    with pytest.raises(SystemExit, match="cannot be compared"):
        run("good", **changed)
    assert (tmp_path / "pool" / "report.csv").read_bytes() == before


@pytest.mark.parametrize("num_written", range(16))
def test_a_run_that_is_killed_leaves_complete_pairs_and_can_be_repeated(
    run, tmp_path, monkeypatch, num_written
):
    files, written = script.report_files.atomic_files, []
    write = files.write_bytes

    def write_until_killed(path, data):
        if len(written) == num_written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    monkeypatch.setattr(files, "write_bytes", write_until_killed)
    with pytest.raises(KeyboardInterrupt):
        run("good")
    monkeypatch.setattr(files, "write_bytes", write)
    pairs = tmp_path / "pool" / "pairs.txt"
    if pairs.is_file() and pairs.read_text():
        for pair in source_names.open_pairs(f"list:{pairs}"):
            photograph, restored = pair.load()
            np.testing.assert_array_equal(restored, remove(photograph))
    assert [bool(entry.file) for entry in run("good").values()] == [True] * 3 + [False]
    assert len(source_names.open_pairs(f"list:{pairs}")) == 3


def test_files_of_something_else_are_not_touched(run, tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "letter.txt").write_text("dear")
    with pytest.raises(SystemExit, match="has files of something else"):
        run("good")
    assert [path.name for path in (tmp_path / "pool").iterdir()] == ["letter.txt"]
