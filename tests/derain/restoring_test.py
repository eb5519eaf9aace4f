"""The command that restores photographs, with a stand-in for the network."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ttl_jax
from tests import pictures
from tests.derain import photographs
from tests.inference import restorer_test
from ttl_jax import derain
from ttl_jax.data.files import decoding, encoding
from ttl_jax.inference import output_log, restorer


def test_files_and_folders_are_restored(loaded, capsys):
    photographs.write("in/a.png", 1)
    photographs.write("in/b/c.tif", 2)
    photographs.write("d.webp", 3)
    assert derain.main(["in", "d.webp", "--output", "out", "--checkpoint", "run"]) == 0
    assert photographs.levels("out") == {"a.png": 254, "b/c.tif": 253, "d.webp": 252}
    assert loaded == ["run"]
    assert "Restored 3 photographs into out" in capsys.readouterr().out


def test_strength_and_ensemble_are_passed_to_the_restorer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    restorer_test.save_run(tmp_path / "derain")
    image = pictures.noise(30, 40, 3)
    encoding.write_image("a.png", image)
    flags = ["--checkpoint", "derain", "--strength", "0.4", "--ensemble"]
    assert derain.main(["a.png", "--output", "out", *flags]) == 0
    network = ttl_jax.load("derain")
    expected = network.restore(image, strength=0.4, ensemble=True)
    np.testing.assert_array_equal(decoding.read_image("out/a.png").array, expected)
    assert (expected != network.restore(image)).any()


def test_a_photograph_too_large_for_a_network_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    restorer_test.save_run(tmp_path / "derain")
    photographs.write("small.png")
    encoding.write_image("large.png", pictures.noise(50, 60, 3))
    monkeypatch.setattr(restorer, "_count_fitting_pixels", lambda encoder: 2000)
    flags = ["--checkpoint", "derain", "--output", "out"]
    assert derain.main(["large.png", "small.png", *flags]) == 1
    assert "large.png: 3,000 pixels are more than" in capsys.readouterr().err
    assert list(photographs.levels("out")) == ["small.png"]


def test_existing_targets_are_skipped_and_counted(loaded, capsys):
    photographs.write("in/a.png", 1)
    photographs.write("in/b.png", 1)
    photographs.write("out/a.png", 77)
    assert derain.main(["in", "--output", "out"]) == 0
    assert photographs.levels("out") == {"a.png": 77, "b.png": 254}
    assert "Skipping 1 of 2" in capsys.readouterr().out
    assert derain.main(["in", "--output", "out"]) == 0
    assert "Skipping 2 of 2" in capsys.readouterr().out
    assert loaded == [None, None]  # also to find the weights it was made with
    derain.main(["in", "--output", "out", "--overwrite"])
    assert photographs.levels("out") == {"a.png": 254, "b.png": 254}


def test_a_bad_file_is_reported_at_the_end_with_status_1(loaded, capsys):
    photographs.write("in/b.png", 1)
    pathlib.Path("in/a.png").write_bytes(b"\x89PNG, or so it says")
    assert derain.main(["in", "--output", "out"]) == 1
    assert photographs.levels("out") == {"b.png": 254}
    printed = capsys.readouterr()
    assert "Restored 1 photograph into out" in printed.out
    assert "1 failed:\n  in/a.png cannot be read" in printed.err


def test_processes_restore_each_photograph_once_and_as_one_does(
    tmp_path, monkeypatch, replace_network, capsys
):
    monkeypatch.chdir(tmp_path)
    restored = []
    replace_network(lambda array: restored.append(array.max()) or 255 - array)
    for level in range(9):
        photographs.write(f"in/{level % 3}/{level}.png", level)
    derain.main(["in", "--output", "alone"])
    assert restored.sort() or restored == list(range(9))
    restored.clear()
    shares = []
    for number in "102":  # one after another: none may take the share of another
        share = ["--num_processes=3", f"--process_id={number}"]
        assert derain.main(["in", "--output", "out", *share]) == 0
        assert f"Process {number} of 3 restores 3 of 9" in capsys.readouterr().out
        shares.append(photographs.levels("out"))
    assert [len(share) for share in shares] == [3, 6, 9]
    assert sorted(restored) == list(range(9))
    assert photographs.levels("out") == photographs.levels("alone")


def test_a_share_includes_existing_targets(loaded, capsys):
    for name in "abcd":
        photographs.write(f"in/{name}.png", 1)
    photographs.write("out/a.png", 77)
    share = ["--num_processes=2", "--process_id=0"]  # a and c, in any case
    assert derain.main(["in", "--output", "out", *share]) == 0
    assert photographs.levels("out") == {"a.png": 77, "c.png": 254}
    assert "Skipping 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_run_and_the_same_command_resumes(
    tmp_path, monkeypatch, replace_network, capfd, number, status
):
    monkeypatch.chdir(tmp_path)

    def restore(array):
        if not os.path.exists("out/20.png"):
            if array.max() == 2:
                os.kill(os.getpid(), number)
            time.sleep(0.1)  # for the main thread to receive the signal
        return 255 - array

    replace_network(restore)
    for level in range(40):
        photographs.write(f"in/{level}.png", level)
    assert derain.main(["in", "--output", "out"]) == status
    printed = capfd.readouterr()
    done = photographs.levels("out")
    assert 0 < len(done) < 40
    assert f"Restored {len(done)} photographs into out" in printed.out
    assert printed.err.startswith("Ending after the current window; a second")
    assert f"{40 - len(done)} photographs left; the same command" in printed.err
    monkeypatch.setattr(os, "kill", None)
    assert derain.main(["in", "--output", "out"]) == 0
    assert photographs.levels("out") == {
        f"{level}.png": 255 - level for level in range(40)
    }
    assert [path.name for path in pathlib.Path("out").glob(".*")] == [output_log.NAME]


def test_a_signal_ends_it_after_the_current_window(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    encoding.write_image("a.png", np.zeros((2000, 2000, 3), np.uint8))
    computed = []

    def compute(encoder, decoder, batch):
        computed.append(batch.shape)
        if len(computed) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        return batch

    parts = restorer_test.PerPixel(), restorer_test.PerPixel()
    network = restorer.Restorer(*parts, name="run")
    monkeypatch.setattr(restorer.programs, "restore", compute)
    monkeypatch.setattr(restorer.Restorer, "from_checkpoint", lambda _: network)
    assert derain.main(["a.png", "--output", "out", "--engine", "jax"]) == 143
    assert len(computed) == 2 and len(network.plan(2000, 2000)) > 4
    assert "1 photograph left; the same command" in capfd.readouterr().err
    assert not pathlib.Path("out").exists()


def test_a_full_disk_ends_the_run_with_one_line(loaded, capsys, monkeypatch):
    for level in range(30):
        photographs.write(f"in/{level}.png", level)

    def write(*_, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "write_image", write)
        assert derain.main(["in", "--output", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written: No space left on device. 30 photographs left" in line
    assert derain.main(["in", "--output", "out"]) == 0
    assert len(photographs.levels("out")) == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["x" * 300], f"{'x' * 300} does not exist"),
        ([""], "A path is empty"),
        (["in", "--checkpoint", ""], "A path is empty; is a variable"),
        (["film.pdf"], "film.pdf is not a photograph; supported are .png"),
        (["in", "--quality", "0"], "expected an integer from 1 to 100, not '0'"),
        (["in", "--suffix", "a/b"], "--suffix a/b must not contain /"),
        (["-"], "standard input only in IN OUT"),
        (["in", "--checkpoint", "missing"], "missing holds no checkpoint"),
        (["in", "--strength", "1.5"], "expected a number from 0 to 1, not '1.5'"),
        (["in", "--strength", "nan"], "expected a number from 0 to 1, not 'nan'"),
        (["in", "--process_id", "0"], "both --num_processes and --process_id"),
    ],
)
def test_invalid_commands_end_with_one_line_and_status_2(
    loaded, capsys, arguments, message
):
    photographs.write("in/a.png")
    pathlib.Path("film.pdf").touch()
    with pytest.raises(SystemExit) as caught:
        derain.main([*arguments, "--output", "out"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not pathlib.Path("out").exists()


@pytest.mark.parametrize(
    "arguments",
    [["in", "-o", "in/a.png/b/out"], ["in/a.png", "in/a.png/b.png"]],
)
def test_outputs_that_cannot_be_written_are_refused_before_weights_are_loaded(
    loaded, capsys, arguments
):
    photographs.write("in/a.png")
    with pytest.raises(SystemExit, match="2"):
        derain.main(arguments)
    assert "in/a.png: Not a directory" in capsys.readouterr().err
    assert not loaded


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
