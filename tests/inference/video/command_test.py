"""The command `derain` on videos, with a stand-in for the network."""

import io
import os
import sys

import numpy as np
import pytest

from tests.inference.video import clips
from ttl_jax import derain, inference
from ttl_jax.data.files import decoding, encoding
from ttl_jax.inference import job_lists, video
from ttl_jax.inference.video import reading


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, replace_network):
    """Runs in a folder with a video and a photograph, and a network that inverts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album").mkdir()
    clips.write("album/clip.mp4", [clips.picture()] * 6)
    encoding.write_image("album/a.png", np.full((4, 5, 3), 100, np.uint8))
    replace_network(lambda array: np.iinfo(array.dtype).max - array)
    return tmp_path


def test_a_folder_with_photographs_and_videos_is_restored(folder, capsys):
    # The vote would take an inverted scene for detail that is lost.
    command = ["album", "-o", "out", "--format", "webp", "--no-temporal"]
    assert derain.main(command) == 0
    assert decoding.read_image("out/a.webp").array.max() == 155
    (first, *_) = reading.read("out/clip.mp4")
    expected = 255 - clips.picture().astype(float)
    assert np.abs(first.pixels() - expected).mean() < 5
    assert "Restored 6 frames of album/clip.mp4" in capsys.readouterr().out
    assert derain.main(command) == 0
    assert "Skipping 2 of 2" in capsys.readouterr().out


def test_other_options_of_videos_restore_videos_again_and_no_photographs(capsys):
    command = ["album", "-o", "out", "--no-temporal"]
    assert derain.main(command) == 0
    capsys.readouterr()
    assert derain.main([*command, "--crf", "30"]) == 0
    printed = capsys.readouterr().out
    assert "with crf 18" in printed and "Skipping 1 of 2 files" in printed
    assert "Restored 6 frames" in printed
    assert derain.main([*command, "--crf", "30", "--codec", "libx264"]) == 0
    assert "Skipping 2 of 2" in capsys.readouterr().out


def test_a_video_may_get_a_name_of_its_own(folder):
    assert (
        derain.main(["album/clip.mp4", "dry.mkv", "--no-temporal", "--crf", "9"]) == 0
    )
    assert len(list(reading.read("dry.mkv"))) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["album/clip.mp4", "dry.avi"], "videos are written as .mp4"),
        (["album/clip.mp4", "-o", "out", "--crf", "64"], "from 0 to 63"),
    ],
)
def test_mistakes_end_with_a_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        derain.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--codec", "prores_ks"], ".mp4 cannot hold prores_ks"),
        (["--codec", "mpeg4", "--crf", "20"], "mpeg4 has no constant rate factor"),
    ],
)
def test_a_codec_is_checked_before_any_work(folder, flags, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        derain.main(["album", "-o", "out", *flags])
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_an_encoder_without_a_rate_factor_can_be_used(folder):
    assert derain.main(["album", "-o", "out", "--codec", "mpeg4"]) == 0
    assert len(list(reading.read("out/clip.mp4"))) == 6


def test_names_that_are_not_utf_8_are_printed_where_output_is_strict(
    folder, monkeypatch
):
    name = os.fsdecode(b"\xe4.mp4")
    os.rename("album/clip.mp4", f"album/{name}")
    strict = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", strict)
    assert derain.main([f"album/{name}", "-o", "out"]) == 0
    strict.flush()
    printed = strict.buffer.getvalue().decode()
    assert "Restored 6 frames of album/\ufffd.mp4 into out/\ufffd.mp4" in printed


def test_a_damaged_video_fails_by_name_and_the_rest_is_done(folder, capsys):
    (folder / "album" / "b.mp4").write_text("no video")
    assert derain.main(["album", "-o", "out"]) == 1
    assert "album/b.mp4 cannot be read" in capsys.readouterr().err
    assert {path.name for path in (folder / "out").glob("[!.]*")} == {
        "a.png",
        "clip.mp4",
    }


def test_a_video_too_large_for_a_network_is_refused_like_a_photograph(
    folder, monkeypatch, capsys
):
    def check_pixels(self, num_pixels):
        if num_pixels > 1000:
            raise ValueError(f"{num_pixels:,} pixels are more than 1,000")

    monkeypatch.setattr(inference.restorer.Restorer, "check_pixels", check_pixels)
    assert derain.main(["album", "-o", "out"]) == 1
    assert "album/clip.mp4: 3,072 pixels are more than" in capsys.readouterr().err
    assert {path.name for path in (folder / "out").glob("[!.]*")} == {"a.png"}


def test_without_the_extra_the_command_says_which_to_install(monkeypatch, capsys):
    monkeypatch.setattr(video, "is_installed", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        derain.main(["album/clip.mp4", "--output", "out"])
    assert 'pip install "ttl_jax[video]"' in capsys.readouterr().err
    jobs, skipped = job_lists.plan(["album"], "out")
    assert [job.source for job in jobs] == ["album/a.png"]
    assert video.INSTALL in skipped.describe()


def test_containers_that_are_not_written_become_matroska():
    assert [video.target_suffix(name) for name in ("a.MOV", "a.avi")] == [
        ".MOV",
        ".mkv",
    ]
