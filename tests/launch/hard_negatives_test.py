"""launch/hard_negatives.py, with a restorer that is known."""

import csv
import math
import pathlib
import sys
import types

import numpy as np
import pytest
from PIL import Image

from launch import hard_negatives as script
from tests import pictures


@pytest.fixture
def run(monkeypatch):
    """Runs the script with a restorer that brightens green pixels by their red level."""

    def restore(image):
        restored = image.copy()
        restored[..., 0] += image[..., 0] * (image[..., 1] > 200)
        return restored

    loaded = []

    def load(checkpoint):
        loaded.append(checkpoint)
        return types.SimpleNamespace(restore=restore)

    monkeypatch.setattr(script.ttl_jax, "load", load)

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["hard_negatives.py", *map(str, flags)])
        script.main()
        return loaded

    return run


@pytest.fixture
def clean(tmp_path):
    """Ten photographs; number i changes by i levels in one square of 16 pixels."""
    folder = tmp_path / "clean"
    folder.mkdir()
    for i in range(10):
        picture = np.zeros((60, 80, 3), np.uint8)
        picture[20 : 20 + 16, 3 * i : 3 * i + 16] = i, 255, 0
        pictures.write(folder / f"{i}.png", picture)
    return folder


def read_report(folder):
    with (folder / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("side", [1, 7, 40, 90])
def test_the_found_square_matches_an_exhaustive_search(side):
    errors = pictures.noise(40, 53, dtype=np.uint16).astype(np.int32)
    height, width = min(side, 40), min(side, 53)
    sums = {
        (top, left): errors[top : top + height, left : left + width].sum()
        for top in range(40 - height + 1)
        for left in range(53 - width + 1)
    }
    assert script.find_worst(errors, side) == max(sums, key=sums.get)


def test_the_worst_squares_are_written_and_all_are_reported(run, clean, tmp_path):
    output = tmp_path / "a" / "hard"
    flags = "--clean", f"folder:{clean}", "--output", output, "--side", 16
    assert run(*flags, "--share", "0.25", "--checkpoint", "runs/x") == ["runs/x"]
    rows = read_report(output)
    assert [pathlib.Path(row["photograph"]).stem for row in rows] == [*"9876543210"]
    written = [row["file"] for row in rows if row["file"]]
    assert written == [row["file"] for row in rows[:3]]
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [*written, "report.csv"]
    )
    for i, row in zip((9, 8, 7), rows, strict=False):
        assert (int(row["top"]), int(row["left"])) == (20, 3 * i)
        psnr = 20 * math.log10(255 / i) + 10 * math.log10(3)
        assert float(row["psnr_square"]) == pytest.approx(psnr, abs=0.006)
        whole = psnr + 10 * math.log10(60 * 80 / 16**2)
        assert float(row["psnr_whole"]) == pytest.approx(whole, abs=0.006)
        pixels = np.asarray(Image.open(output / row["file"]))
        assert pixels.shape == (16, 16, 3) and np.all(pixels == (i, 255, 0))
    assert rows[-1]["psnr_square"] == rows[-1]["psnr_whole"] == "inf"


def test_all_squares_below_a_psnr_are_written(run, clean, tmp_path):
    flags = "--clean", f"folder:{clean}", "--output", tmp_path / "hard", "--side", 16
    run(*flags, "--below", 20 * math.log10(255 / 4.5) + 10 * math.log10(3))
    stems = [
        pathlib.Path(row["photograph"]).stem
        for row in read_report(tmp_path / "hard")
        if row["file"]
    ]
    assert stems == [*"98765"]


def test_a_second_run_replaces_the_folder(run, clean, tmp_path):
    flags = "--clean", f"folder:{clean}", "--output", tmp_path / "hard", "--side", 16
    run(*flags, "--share", 1)
    assert len(list((tmp_path / "hard").iterdir())) == 11
    run(*flags, "--share", 0.1)
    assert len(list((tmp_path / "hard").iterdir())) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "hard"]


def test_a_folder_of_other_files_is_rejected_before_anything_is_loaded(
    run, clean, tmp_path
):
    def message(output):
        with pytest.raises(SystemExit) as stopped:
            run("--clean", f"folder:{clean}", "--output", output)
        return str(stopped.value)

    assert f"{clean} holds 10 files that this script did not write, such as 0" in (
        message(clean)
    )
    assert len(list(clean.iterdir())) == 10
    assert "is not a folder" in message(clean / "0.png")
    hard = tmp_path / "hard"
    run("--clean", f"folder:{clean}", "--output", hard)
    (hard / "mine.png").write_bytes(b"")
    assert f"{hard} holds 1 files" in message(hard) and "mine.png" in message(hard)


def test_a_failed_run_keeps_the_earlier_folder(run, clean, tmp_path, monkeypatch):
    flags = "--clean", f"folder:{clean}", "--output", tmp_path / "hard", "--side", 16
    run(*flags)
    before = {path.name: path.read_bytes() for path in (tmp_path / "hard").iterdir()}

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(script.Image.Image, "save", fail)
    with pytest.raises(SystemExit, match="disk full"):
        run(*flags, "--share", 1)
    after = {path.name: path.read_bytes() for path in (tmp_path / "hard").iterdir()}
    assert after == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "hard"]


def test_flags_out_of_range_and_unknown_sources_are_rejected(run, tmp_path, capsys):
    flags = "--clean", "sampel", "--output", tmp_path / "hard"
    with pytest.raises(SystemExit, match="did you mean 'sample'"):
        run(*flags)
    for flag, value, message in (
        ("--side", 7, "--side is 7; expected 8 or more"),
        ("--share", 0, "--share: expected more than 0, at most 1, not '0'"),
        ("--share", 1.5, "--share: expected more than 0, at most 1, not '1.5'"),
    ):
        with pytest.raises(SystemExit):
            run(*flags, flag, value)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(*flags, "--share", 0.2, "--below", 30)
    assert "not allowed with" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_loaded(
    run, clean, monkeypatch
):
    monkeypatch.setattr(script.ttl_jax, "load", lambda _: pytest.fail("loaded"))
    with pytest.raises(SystemExit, match=r"0\.png cannot hold the output"):
        run("--clean", f"folder:{clean}", "--output", clean / "0.png" / "hard")


def test_photographs_with_one_name_are_refused_before_anything_is_loaded(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr(script.ttl_jax, "load", lambda _: pytest.fail("loaded"))
    names = [str(tmp_path / top / "x/rainy/1.png") for top in "ab"]
    for i, name in enumerate(names):
        pathlib.Path(name).parent.mkdir(parents=True)
        pictures.write(pathlib.Path(name), pictures.texture(i, 40, 40))
    (tmp_path / "list.txt").write_text("\n".join(names))
    flags = "--clean", f"list:{tmp_path / 'list.txt'}", "--output", tmp_path / "hard"
    with pytest.raises(
        SystemExit, match="b/x/rainy/1.png and .*a/x/rainy/1.png have the same"
    ):
        run(*flags, "--share", "1")
    assert not (tmp_path / "hard").exists()
