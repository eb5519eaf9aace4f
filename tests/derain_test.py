"""The command that restores photographs, with a stand-in for the network."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ttl_jax import derain
from ttl_jax.data import decoding
from ttl_jax.inference import images


@pytest.fixture
def loaded(tmp_path, monkeypatch, replace_network):
    """Runs in an empty folder, with a network that inverts; lists what was loaded."""
    monkeypatch.chdir(tmp_path)
    return replace_network(lambda array: np.iinfo(array.dtype).max - array)


def photograph(name, level=100):
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    images.write_image(name, np.full((4, 5, 3), level, np.uint8))


def levels(folder):
    return {
        path.relative_to(folder).as_posix(): decoding.read_image(path).array.max()
        for path in pathlib.Path(folder).rglob("*.*")
    }


def test_files_and_folders_are_restored(loaded, capsys):
    photograph("in/a.png", 1)
    photograph("in/b/c.tif", 2)
    photograph("d.webp", 3)
    assert derain.main(["in", "d.webp", "--output", "out", "--checkpoint", "run"]) == 0
    assert levels("out") == {"a.png": 254, "b/c.tif": 253, "d.webp": 252}
    assert loaded == ["run"]
    assert "Restored 3 photographs into out" in capsys.readouterr().out


def test_without_a_checkpoint_the_restorers_default_is_loaded(loaded):
    photograph("a.png")
    derain.main(["a.png", "--output", "out"])
    assert loaded == [None]


def test_what_exists_is_skipped_and_counted(loaded, capsys):
    photograph("in/a.png", 1)
    photograph("in/b.png", 1)
    photograph("out/a.png", 77)
    assert derain.main(["in", "--output", "out"]) == 0
    assert levels("out") == {"a.png": 77, "b.png": 254}
    assert "Skipping 1 of 2" in capsys.readouterr().out
    assert derain.main(["in", "--output", "out"]) == 0
    assert "Skipping 2 of 2" in capsys.readouterr().out
    assert len(loaded) == 1  # nothing left to do, nothing loaded


def test_overwrite_restores_again(loaded):
    photograph("in/a.png", 1)
    photograph("out/a.png", 77)
    derain.main(["in", "--output", "out", "--overwrite"])
    assert levels("out") == {"a.png": 254}


def test_a_bad_file_is_reported_at_the_end_with_status_1(loaded, capsys):
    photograph("in/b.png", 1)
    pathlib.Path("in/a.png").write_bytes(b"\x89PNG, or so it says")
    assert derain.main(["in", "--output", "out"]) == 1
    assert levels("out") == {"b.png": 254}
    printed = capsys.readouterr()
    assert "Restored 1 photographs" in printed.out
    assert "1 failed:\n  in/a.png cannot be read" in printed.err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "nowhere does not exist"),
        (["film.mp4"], "film.mp4 is no photograph; supported are .png"),
        (["in", "--checkpoint", "missing"], "missing holds no checkpoint"),
    ],
)
def test_mistakes_end_with_one_line_and_status_2(loaded, capsys, arguments, message):
    photograph("in/a.png")
    pathlib.Path("film.mp4").touch()
    with pytest.raises(SystemExit) as caught:
        derain.main([*arguments, "--output", "out"])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not pathlib.Path("out").exists()


def test_help_shows_an_example_without_starting_jax():
    command = "import sys, ttl_jax.derain as d; print('jax' in sys.modules); d.main()"
    result = subprocess.run(
        [sys.executable, "-c", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("False\n")
    assert "python -m ttl_jax.derain photographs/" in result.stdout
