"""The command that restores photographs, with a stand-in for the network."""

import base64
import errno
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

import ttl_jax
from tests import pictures
from tests.inference import restorer_test
from ttl_jax import derain
from ttl_jax.data.files import decoding, encoding
from ttl_jax.inference import before_after, job_lists, output_log, recognizer, restorer


@pytest.fixture
def loaded(tmp_path, monkeypatch, replace_network):
    """Runs in an empty folder, with a network that inverts; lists the loaded weights."""
    monkeypatch.chdir(tmp_path)
    return replace_network(lambda array: np.iinfo(array.dtype).max - array)


def photograph(name, level=100):
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    encoding.write_image(name, np.full((4, 5, 3), level, np.uint8))


def levels(folder):
    return {
        path.relative_to(folder).as_posix(): decoding.read_image(path).array.max()
        for path in pathlib.Path(folder).rglob("[!.]*.*")
    }


def test_files_and_folders_are_restored(loaded, capsys):
    photograph("in/a.png", 1)
    photograph("in/b/c.tif", 2)
    photograph("d.webp", 3)
    assert derain.main(["in", "d.webp", "--output", "out", "--checkpoint", "run"]) == 0
    assert levels("out") == {"a.png": 254, "b/c.tif": 253, "d.webp": 252}
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
    photograph("small.png")
    encoding.write_image("large.png", pictures.noise(50, 60, 3))
    monkeypatch.setattr(restorer, "_count_fitting_pixels", lambda encoder: 2000)
    flags = ["--checkpoint", "derain", "--output", "out"]
    assert derain.main(["large.png", "small.png", *flags]) == 1
    assert "large.png: 3,000 pixels are more than" in capsys.readouterr().err
    assert list(levels("out")) == ["small.png"]


def test_existing_targets_are_skipped_and_counted(loaded, capsys):
    photograph("in/a.png", 1)
    photograph("in/b.png", 1)
    photograph("out/a.png", 77)
    assert derain.main(["in", "--output", "out"]) == 0
    assert levels("out") == {"a.png": 77, "b.png": 254}
    assert "Skipping 1 of 2" in capsys.readouterr().out
    assert derain.main(["in", "--output", "out"]) == 0
    assert "Skipping 2 of 2" in capsys.readouterr().out
    assert loaded == [None, None]  # also to find the weights it was made with
    derain.main(["in", "--output", "out", "--overwrite"])
    assert levels("out") == {"a.png": 254, "b.png": 254}


def test_a_bad_file_is_reported_at_the_end_with_status_1(loaded, capsys):
    photograph("in/b.png", 1)
    pathlib.Path("in/a.png").write_bytes(b"\x89PNG, or so it says")
    assert derain.main(["in", "--output", "out"]) == 1
    assert levels("out") == {"b.png": 254}
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
        photograph(f"in/{level % 3}/{level}.png", level)
    derain.main(["in", "--output", "alone"])
    assert restored.sort() or restored == list(range(9))
    restored.clear()
    shares = []
    for number in "102":  # one after another: none may take the share of another
        share = ["--num_processes=3", f"--process_id={number}"]
        assert derain.main(["in", "--output", "out", *share]) == 0
        assert f"Process {number} of 3 restores 3 of 9" in capsys.readouterr().out
        shares.append(levels("out"))
    assert [len(share) for share in shares] == [3, 6, 9]
    assert sorted(restored) == list(range(9))
    assert levels("out") == levels("alone")


def test_a_share_includes_existing_targets(loaded, capsys):
    for name in "abcd":
        photograph(f"in/{name}.png", 1)
    photograph("out/a.png", 77)
    share = ["--num_processes=2", "--process_id=0"]  # a and c, in any case
    assert derain.main(["in", "--output", "out", *share]) == 0
    assert levels("out") == {"a.png": 77, "c.png": 254}
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
        photograph(f"in/{level}.png", level)
    assert derain.main(["in", "--output", "out"]) == status
    printed = capfd.readouterr()
    done = levels("out")
    assert 0 < len(done) < 40
    assert f"Restored {len(done)} photographs into out" in printed.out
    assert printed.err.startswith("Ending after the current window; a second")
    assert f"{40 - len(done)} photographs left; the same command" in printed.err
    monkeypatch.setattr(os, "kill", None)
    assert derain.main(["in", "--output", "out"]) == 0
    assert levels("out") == {f"{level}.png": 255 - level for level in range(40)}
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
        photograph(f"in/{level}.png", level)

    def write(*_, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "write_image", write)
        assert derain.main(["in", "--output", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written: No space left on device. 30 photographs left" in line
    assert derain.main(["in", "--output", "out"]) == 0
    assert len(levels("out")) == 30


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
    photograph("in/a.png")
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
    photograph("in/a.png")
    with pytest.raises(SystemExit, match="2"):
        derain.main(arguments)
    assert "in/a.png: Not a directory" in capsys.readouterr().err
    assert not loaded


# One photograph and a name


def test_one_photograph_goes_to_the_name_given(loaded, capsys):
    photograph("a.png", 1)
    assert derain.main(["a.png", "deep/b.tif"]) == 0
    assert levels(".") == {"a.png": 1, "deep/b.tif": 254}
    with pytest.raises(SystemExit):
        derain.main(["a.png", "deep/b.tif"])
    assert "deep/b.tif exists; --overwrite replaces it" in capsys.readouterr().err
    photograph("a.png", 2)
    assert derain.main(["a.png", "deep/b.tif", "--overwrite"]) == 0
    assert levels("deep") == {"b.tif": 253}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png"], "name a folder by --output DIR"),
        (["a.png", "b.png", "c.png"], "name a folder by --output DIR"),
        (["gone.png", "b.png"], "gone.png does not exist"),
        (["folder", "b.png"], "folder is a folder; name a photograph"),
        (["a.png", "folder"], "folder is a folder; use --output folder"),
        (["a.png", "a.png"], "a.png is the photograph itself"),
        (["a.png", "./a.png"], "a.png is the photograph itself"),
        (["a.png", "b.mp4"], "unknown suffix '.mp4'"),
        (["a.png", "b.png", "--format", "tiff"], "b.png and --format tiff differ"),
        (["a.png", ""], "A path is empty"),
        (["a.png", "b.png", "--suffix", "_x"], "--suffix and --watch need --output"),
    ],
)
def test_invalid_input_and_output_names_are_reported(
    loaded, capsys, arguments, message
):
    photograph("a.png", 1)
    pathlib.Path("folder").mkdir()
    with pytest.raises(SystemExit) as caught:
        derain.main(arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err
    assert levels(".") == {"a.png": 1}


def test_standard_input_and_output_replace_files(loaded, monkeypatch, capfdbinary):
    photograph("a.tif", 1)
    with open("a.tif", "rb") as file:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=file))
        assert derain.main(["-", "-", "--format", "png"]) == 0
    out = capfdbinary.readouterr().out
    assert decoding.decode_rgb8(out, "standard output").max() == 254


# The output folder


def test_photographs_made_with_other_weights_or_options_are_restored_again(
    loaded, capsys
):
    photograph("in/a.png", 1)
    photograph("in/b.png", 2)
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
        photograph(f"in/{name}.png", level)
        os.utime(f"in/{name}.png", (1, 1))
    assert derain.main(["in", "--output", "out"]) == 0
    photograph("in/a.png", 3)
    for _ in range(2):
        assert derain.main(["in", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("made with another version of the source") == 1
    assert "Skipping 1 of 2" in printed and "Skipping 2 of 2" in printed
    assert levels("out") == {"a.png": 252, "b.png": 253}


def test_another_quality_restores_lossy_photographs_again_and_no_others(loaded, capsys):
    photograph("in/b.png")
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
    photograph("in/a.png", 1)
    photograph("in/b/a.png", 1)
    command = [inputs, "--output", "in", *flags]
    assert derain.main(command) == 0
    made = levels("in")
    assert sorted(made.values())[:2] == [1, 1] and len(made) == 4 + 2 * len(flags[2:])
    photograph("in/c.png", 2)
    assert derain.main(command) == 0
    assert "Skipping 2 of 3 photographs" in capsys.readouterr().out
    assert len(levels("in")) == len(made) * 3 / 2


@pytest.mark.parametrize("inputs", ["al", "al/**"])
def test_results_of_a_run_into_another_folder_of_the_input_are_not_restored(
    loaded, capsys, inputs
):
    photograph("al/b/a.png", 1)
    photograph("al/v1/new.png", 2)  # lies there, but is no result
    assert derain.main(["al/b", "--output", "al/v1", "--compare"]) == 0
    assert derain.main([inputs, "--output", "al/v2"]) == 0
    printed = capsys.readouterr().out
    assert "Skipped 2 results of earlier runs, such as al/v1/a.png" in printed
    assert levels("al/v2") == {"b/a.png": 254, "v1/new.png": 253}
    assert derain.main([inputs, "--output", "elsewhere"]) == 0
    assert levels("elsewhere") == {"b/a.png": 254, "v1/new.png": 253}
    assert derain.main(["al/v1", "--output", "twice"]) == 0  # named, so restored
    assert levels("twice")["a.png"] == 1


def test_a_photograph_that_looks_like_a_result_is_kept(loaded, capsys):
    photograph("in/a.png", 1)
    photograph("in/a_dry.png", 2)
    with pytest.raises(SystemExit, match="2"):
        derain.main(["in", "--output", "in", "--suffix", "_dry", "--overwrite"])
    assert levels("in") == {"a.png": 1, "a_dry.png": 2}


def test_a_dry_run_lists_and_writes_nothing(loaded, capsys):
    photograph("in/a.png")
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
    photograph(f"in/{name}")
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


def test_comparisons_show_both_sides(loaded):
    photograph("in/a.png", 30)
    derain.main(["in", "--output", "out", "--compare"])
    sides = decoding.read_image("out/a.png.compare.jpg").array
    assert sides.shape[1] > 2 * 5
    assert sides[:, :4].mean() == pytest.approx(30, abs=2)
    assert sides[:, -4:].mean() == pytest.approx(225, abs=2)
    derain.main(["in", "--output", "out", "--overwrite", "--compare", "html"])
    page = pathlib.Path("out/a.png.compare.html").read_text()
    pictures_found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    levels_found = [
        decoding.decode_rgb8(base64.b64decode(picture), "page").mean()
        for picture in pictures_found
    ]
    assert levels_found == pytest.approx([30, 225], abs=2)
    assert 'type="range"' in page


def test_a_missing_comparison_is_work_to_do(loaded, capsys):
    photograph("in/a.png", 30)
    assert derain.main(["in", "--output", "out"]) == 0
    for kind in ("jpg", "html"):
        assert derain.main(["in", "--output", "out", "--compare", kind]) == 0
        assert pathlib.Path(f"out/a.png.compare.{kind}").exists()
        assert "Skipping" not in capsys.readouterr().out
    assert derain.main(["in", "--output", "out", "--compare"]) == 0
    assert "Skipping 1 of 1" in capsys.readouterr().out


def test_a_comparison_of_standard_output_is_refused(loaded, capsys):
    photograph("a.png", 30)
    with pytest.raises(SystemExit, match="2"):
        derain.main(["a.png", "-", "--compare"])
    assert "name one instead of -" in capsys.readouterr().err


def test_comparisons_of_one_stem_do_not_replace_each_other(loaded):
    photograph("in/z.jpg", 30)
    photograph("in/z.png", 60)
    assert derain.main(["in", "--output", "out", "--compare"]) == 0
    shown = [
        decoding.read_image(path).array[:, :4].mean()
        for path in sorted(pathlib.Path("out").glob("*.compare.*"))
    ]
    assert shown == pytest.approx([30, 60], abs=2)


@pytest.mark.parametrize(("kind", "width"), [("jpg", 33_000), ("html", 66_000)])
def test_a_comparison_too_large_for_jpeg_is_made_smaller(loaded, kind, width):
    encoding.write_image("a.png", np.full((4, width), 30, np.uint8))
    assert derain.main(["a.png", "-o", "out", "--compare", kind]) == 0
    assert decoding.read_image("out/a.png").array.shape == (4, width)
    assert pathlib.Path(f"out/a.png.compare.{kind}").exists()
    if kind == "jpg":
        sides = decoding.read_image("out/a.png.compare.jpg").array
        assert sides.shape[1] > 60_000
        assert sides[0, 10].max() == pytest.approx(30, abs=9)
        assert sides[0, -10].max() == pytest.approx(225, abs=9)


def test_a_comparison_that_fails_does_not_cost_the_photograph(
    loaded, monkeypatch, capsys
):
    photograph("a.png", 1)
    monkeypatch.setattr(before_after, "_encode", None)
    assert derain.main(["a.png", "-o", "out", "--compare"]) == 1
    assert "1 failed:\n  a.png: " in capsys.readouterr().err
    assert levels("out") == {"a.png": 254}


def test_the_summary_names_what_is_lost_and_where_little_changed(
    tmp_path, monkeypatch, replace_network, capsys
):
    monkeypatch.chdir(tmp_path)
    replace_network(np.copy)
    encoding.write_image("a.jpg", np.zeros((9, 9, 3), np.uint8), {"comment": b"wet"})
    derain.main(["a.jpg", "--output", "out", "--format", "webp"])
    printed = capsys.readouterr().out
    assert "Mean change: 0.00 of 255 levels." in printed
    assert "Little rain found in 1 photograph, left nearly unchanged" in printed
    assert "Not kept: comment (1 photograph)." in printed
    assert list(levels("out")) == ["a.webp"]


@pytest.mark.parametrize(
    ("change", "strength", "is_little"),
    [(0, "0.5", True), (1, "0.5", False), (0, "0", False)],
)
def test_little_rain_is_said_of_the_network_and_not_of_the_strength(
    loaded, replace_network, capsys, change, strength, is_little
):
    replace_network(lambda array: array + np.uint8([change, 0, 0]))  # 1/3 in the mean
    photograph("a.png", 100)
    derain.main(["a.png", "--output", "out", "--strength", strength])
    assert ("Little rain" in capsys.readouterr().out) == is_little


def test_pixels_that_the_format_cannot_hold_fail_before_the_network_runs(
    tmp_path, monkeypatch, replace_network, capsys
):
    monkeypatch.chdir(tmp_path)
    seen = []
    replace_network(lambda array: seen.append(array.shape) or array)
    pathlib.Path("in").mkdir()
    encoding.write_image("in/deep.png", np.zeros((9, 9), np.uint16))
    os.rename("in/deep.png", "in/deep.jpg")
    assert derain.main(["in", "--output", "out"]) == 1
    assert "JPEG holds 8 bits; use PNG or TIFF" in capsys.readouterr().err
    assert not seen


@pytest.mark.parametrize(
    "arguments", ["in -o out --format jpg", "in/deep.jpg out/deep.jpg"]
)
def test_16_bits_become_8_in_a_format_that_the_user_named(loaded, arguments, capsys):
    pathlib.Path("in").mkdir()
    encoding.write_image("in/deep.png", np.full((9, 9), 257 * 100, np.uint16))
    os.rename("in/deep.png", "in/deep.jpg")
    assert derain.main(arguments.split()) == 0
    assert levels("out") == {"deep.jpg": 155}
    assert "Not kept: 16 bits (1 photograph)." in capsys.readouterr().out


def test_photographs_that_are_too_small_are_counted_apart(loaded, capsys):
    photograph("in/a.png", 1)
    encoding.write_image("in/line.png", np.zeros((1, 9, 3), np.uint8))
    assert derain.main(["in", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert "Left 1 photograph unchanged: too small to be restored." in printed
    assert "Mean change: 253.00 of 255" in printed


@pytest.mark.parametrize(
    ("flags", "scored"),
    [([], 1), (["--rain_score"], 2), (["--no-rain_score"], 0)],
)
def test_large_photographs_are_scored_before_and_after(
    loaded, monkeypatch, capsys, flags, scored
):
    shapes = []

    class Recognizer:
        @classmethod
        def from_checkpoint(cls, path):
            assert path == "shipped"
            return cls()

        def score(self, image):
            shapes.append(image.shape)
            return image.mean() / 100

    monkeypatch.setattr(recognizer, "Recognizer", Recognizer)
    photograph("in/small.png", 100)
    encoding.write_image("in/large.png", np.full((1500, 3000), 100, np.uint8))
    assert derain.main(["in", "--output", "out", *flags]) == 0
    printed = capsys.readouterr().out
    assert shapes.count((256, 512, 3)) == 2 * bool(scored)
    assert len(shapes) == 2 * scored
    expected = f"of {scored} photograph{'s'[: scored != 1]}: 1.00 before, 1.55 after."
    assert (expected in printed) == bool(scored)


# Watching


@pytest.fixture
def watch(loaded, monkeypatch):
    """Watches the folder `in`; calls functions one after the other in its pauses."""

    def run(*actions, inputs=("in",), flags=()):
        remaining = iter(actions)

        def wait(request, seconds):
            if action := next(remaining, None):
                action()
            else:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.05)

        pathlib.Path("in").mkdir(exist_ok=True)
        monkeypatch.setattr(derain.stopping.StopRequest, "wait", wait)
        monkeypatch.setattr(derain.stopping.signal, "raise_signal", lambda number: None)
        return derain.main([*inputs, "--output", "out", "--watch", *flags])

    return run


def complete(name, level):
    """Writes a photograph that was last changed long ago."""
    photograph(name, level)
    os.utime(name, (1, 1))


def idle():
    pass


def test_watching_restores_what_arrives_until_a_signal(watch):
    def change():
        assert not pathlib.Path("out").exists()
        os.utime("in/a.png", (1, 1))

    arrive = lambda: photograph("in/a.png", 1)  # still being written
    assert watch(idle, arrive, change, idle) == 0
    assert levels("out") == {"a.png": 254}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [(["typo"], "typo does not exist"), (["in", "film.pdf"], "is not a photograph")],
)
def test_a_watch_of_what_can_never_be_restored_is_refused(
    watch, capsys, inputs, message
):
    pathlib.Path("film.pdf").touch()
    with pytest.raises(SystemExit, match="2"):
        watch(inputs=inputs)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--overwrite", "--dry_run"])
def test_a_watch_refuses_flags_that_it_would_ignore(watch, capsys, flag):
    with pytest.raises(SystemExit, match="2"):
        watch(flags=[flag])
    assert "--watch takes neither" in capsys.readouterr().err


def test_a_photograph_that_vanishes_does_not_end_a_watch(watch, monkeypatch):
    complete("in/a.png", 1)
    complete("in/b.png", 2)
    list_missing = job_lists.list_missing

    def remove_and_list(jobs, *more):
        pathlib.Path("in/a.png").unlink(missing_ok=True)
        return list_missing(jobs, *more)

    monkeypatch.setattr(job_lists, "list_missing", remove_and_list)
    assert watch(idle, idle) == 0
    assert levels("out") == {"b.png": 253}


def test_a_watch_restores_photographs_of_the_future(watch):
    photograph("in/a.png", 1)
    os.utime("in/a.png", (2**32, 2**32))
    assert watch(idle, idle) == 0
    assert levels("out") == {"a.png": 254}


def test_a_watch_waits_for_a_file_that_grows_under_an_old_time(watch):
    photograph("whole.png", 1)
    content = pathlib.Path("whole.png").read_bytes()

    def write(part):
        pathlib.Path("in/a.png").write_bytes(part)
        os.utime("in/a.png", (1, 1))

    assert watch(lambda: write(content[:40]), lambda: write(content), idle, idle) == 0
    assert levels("out") == {"a.png": 254}


def test_a_watch_restores_a_photograph_that_changes(watch):
    complete("in/a.png", 1)

    def change():
        assert levels("out") == {"a.png": 254}
        photograph("in/a.png", 2)

    assert watch(idle, idle, change, idle, idle) == 0
    assert levels("out") == {"a.png": 253}


def test_a_full_disk_ends_a_watch(watch, monkeypatch, capsys):
    complete("in/a.png", 1)

    def write(*_, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(encoding, "write_image", write)
    assert watch(*[idle] * 9) == 1
    assert "No space left on device. 1 photograph left" in capsys.readouterr().err


def test_a_process_of_several_that_watch_prints_no_line_at_each_look(watch, capsys):
    share = ["--num_processes=2", "--process_id=0"]
    assert watch(*[idle] * 5, flags=share) == 0
    assert capsys.readouterr().out.count("\n") == 1  # "Watching"


def test_an_empty_folder_does_not_keep_a_watch_from_another(watch):
    pathlib.Path("empty").mkdir()
    complete("in/a.png", 1)
    assert watch(idle, idle, inputs=["empty", "in"]) == 0
    assert levels("out") == {"a.png": 254}


def test_two_names_for_one_result_do_not_stop_a_watch(watch, caplog):
    for name in ("in/x.bmp", "in/x.png", "in/y.png"):
        complete(name, 1)
    assert watch(*[idle] * 4, flags=["--format", "png"]) == 0
    assert levels("out") == {"x.png": 254, "y.png": 254}
    (line,) = [line for line in caplog.messages if "x.png" in line]
    assert line.startswith("in/x.bmp and in/x.png would both become out/x.png")


def test_a_watch_reports_each_new_fault_once_and_goes_on(watch, capsys):
    assert watch(
        lambda: os.rmdir("in"), idle, idle,
        lambda: pathlib.Path("in").mkdir(), lambda: complete("in/a.png", 1), idle, idle,
    ) == 0  # fmt: skip
    assert capsys.readouterr().err.count("in does not exist") == 1
    assert levels("out") == {"a.png": 254}


def test_an_error_of_the_disk_does_not_end_a_watch(watch, monkeypatch, capsys):
    complete("in/a.png", 1)
    plan, calls = job_lists.plan, []

    def fail_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:  # the first is before the watch
            raise OSError(errno.EIO, "Input/output error")
        return plan(*arguments, **options)

    monkeypatch.setattr(job_lists, "plan", fail_once)
    assert watch(idle, idle, idle) == 0
    assert "Input/output error" in capsys.readouterr().err
    assert levels("out") == {"a.png": 254}


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
