"""The folder that photographs are restored to: what is in it, and what is restored again."""

import io
import os
import pathlib
import sys

import pytest

from tests import pictures
from tests.derain import photographs
from ttl_jax import derain
from ttl_jax.data.files import encoding
from ttl_jax.inference import output_log


def test_photographs_made_with_other_weights_or_options_are_restored_again(
    loaded, capsys
):
    photographs.write("in/a.png", 1)
    photographs.write("in/b.png", 2)
    derain.main(["in", "--output", "out"])
    assert derain.main(["in", "--output", "out", "--strength", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert (
        "Restoring 2 photographs again; those in out were made with strength 1.0."
        in printed
    )
    assert derain.main(["in", "--output", "out", "--strength", "0.5"]) == 0
    assert "Skipping 2 of 2 photographs" in capsys.readouterr().out


def test_a_photograph_that_changed_is_restored_again(loaded, capsys):
    for name, level in (("a", 1), ("b", 2)):
        photographs.write(f"in/{name}.png", level)
        os.utime(f"in/{name}.png", (1, 1))
    assert derain.main(["in", "--output", "out"]) == 0
    photographs.write("in/a.png", 3)
    for _ in range(2):
        assert derain.main(["in", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("made with another version of the source") == 1
    assert "Skipping 1 of 2" in printed and "Skipping 2 of 2" in printed
    assert photographs.levels("out") == {"a.png": 252, "b.png": 253}


def test_another_quality_restores_lossy_photographs_again_and_no_others(loaded, capsys):
    photographs.write("in/b.png")
    encoding.write_image("in/a.jpg", pictures.noise(40, 40, 3))
    command = ["in", "--output", "out"]
    assert derain.main(command) == 0
    large = os.path.getsize("out/a.jpg")
    record = pathlib.Path("out", output_log.NAME).read_text()
    assert "quality" not in record  # as in records of earlier versions
    capsys.readouterr()
    assert derain.main([*command, "--quality", "20"]) == 0
    printed = capsys.readouterr().out
    assert "Restoring 1 photograph again" in printed and "quality unset" in printed
    assert os.path.getsize("out/a.jpg") < large / 2
    for flags, expected in (
        (["--quality", "20"], "Skipping 2 of 2"),
        ([], "quality 20"),
    ):
        assert derain.main([*command, *flags]) == 0
        assert expected in capsys.readouterr().out
    assert os.path.getsize("out/a.jpg") == large


@pytest.mark.parametrize(
    "flags",
    [["--suffix", "_dry"], ["--format", "webp"], ["--suffix", "_dry", "--compare"]],
)
@pytest.mark.parametrize("inputs", ["in", "in/**"])
def test_results_beside_their_photographs_are_not_restored_again(
    loaded, capsys, inputs, flags
):
    photographs.write("in/a.png", 1)
    photographs.write("in/b/a.png", 1)
    command = [inputs, "--output", "in", *flags]
    assert derain.main(command) == 0
    made = photographs.levels("in")
    assert sorted(made.values())[:2] == [1, 1] and len(made) == 4 + 2 * len(flags[2:])
    photographs.write("in/c.png", 2)
    assert derain.main(command) == 0
    assert "Skipping 2 of 3 photographs" in capsys.readouterr().out
    assert len(photographs.levels("in")) == len(made) * 3 / 2


@pytest.mark.parametrize("inputs", ["al", "al/**"])
def test_results_of_a_run_into_another_folder_of_the_input_are_not_restored(
    loaded, capsys, inputs
):
    photographs.write("al/b/a.png", 1)
    photographs.write("al/v1/new.png", 2)  # lies there, but is no result
    assert derain.main(["al/b", "--output", "al/v1", "--compare"]) == 0
    assert derain.main([inputs, "--output", "al/v2"]) == 0
    printed = capsys.readouterr().out
    assert "Skipped 2 results of earlier runs, such as al/v1/a.png" in printed
    assert photographs.levels("al/v2") == {"b/a.png": 254, "v1/new.png": 253}
    assert derain.main([inputs, "--output", "elsewhere"]) == 0
    assert photographs.levels("elsewhere") == {"b/a.png": 254, "v1/new.png": 253}
    assert derain.main(["al/v1", "--output", "twice"]) == 0  # named, so restored
    assert photographs.levels("twice")["a.png"] == 1


def test_a_photograph_that_looks_like_a_result_is_kept(loaded, capsys):
    photographs.write("in/a.png", 1)
    photographs.write("in/a_dry.png", 2)
    with pytest.raises(SystemExit, match="2"):
        derain.main(["in", "--output", "in", "--suffix", "_dry", "--overwrite"])
    assert photographs.levels("in") == {"a.png": 1, "a_dry.png": 2}


def test_a_dry_run_lists_and_writes_nothing(loaded, capsys):
    photographs.write("in/a.png")
    pathlib.Path("in/b.pdf").touch()
    assert derain.main(["in", "--output", "out", "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        "Skipped 1 file: .pdf 1.",
        "in/a.png -> out/a.png",
    ]
    assert not loaded and not pathlib.Path("out").exists()


def test_names_that_are_not_utf_8_are_printed_where_output_is_strict(
    loaded, monkeypatch
):
    name = os.fsdecode(b"\xe4.png")
    photographs.write(f"in/{name}")
    strict = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", strict)
    output = os.fsdecode(b"out_\xe4")
    assert derain.main(["in", "--output", output, "--dry_run"]) == 0
    assert derain.main(["in", "--output", output]) == 0
    assert derain.main(["in", "--output", output]) == 0
    strict.flush()
    printed = strict.buffer.getvalue().decode()
    assert "in/\ufffd.png -> out_\ufffd/\ufffd.png" in printed
    assert "Skipping 1 of 1 photographs that are in out_\ufffd" in printed
