"""Videos from file to file, with a stand-in for the network."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import av
import numpy as np
import pytest

from tests.inference.video import clips
from ttl_jax.inference.file_jobs import Job
from ttl_jax.inference.video import jobs, joining, reading, writing

ROOT = pathlib.Path(__file__).parents[3]
STILL = [clips.picture()] * 12


def darken(image, progress=lambda: None):
    progress()
    return image - image // 4


def run(source, target, restore=darken, *, temporal=False, **options):
    options = {
        "settings": jobs.Settings(temporal=temporal),
        "options": lambda target: {},
    } | options
    return jobs.restore_video(
        Job(str(source), str(target)), restore, shows_progress=False, **options
    )


# Restores the video that its arguments name, slowly, and prints a line for each frame.
_SLOW = """
import sys, time
from tests.inference.video import jobs_test
def restore(image, progress):
    print(flush=True)
    time.sleep(0.05)
    return jobs_test.darken(image, progress)
jobs_test.jobs._SEGMENT_FRAMES = 5
settings = jobs_test.jobs.Settings(crf=0)
jobs_test.run(sys.argv[1], sys.argv[2], restore, settings=settings)
"""


def pixels(path):
    return [one.pixels() for one in reading.read(str(path))]


@pytest.mark.parametrize(
    ("source", "target", "options"),
    [
        ("in.mp4", "out.mp4", {"steps": (20, 27, 34), "sound": "aac", "rotation": 90}),
        ("in.mkv", "out.mkv", {"steps": (20, 27, 34), "sound": "aac", "rotation": -90}),
        ("in.mp4", "out.mp4", {"fmt": "yuv420p10le"}),
        ("in.mov", "out.mov", {"fmt": "yuv444p"}),
        ("in.webm", "out.webm", {"codec": "libvpx-vp9", "sound": "libopus"}),
    ],
)
def test_everything_but_the_pixels_is_kept(tmp_path, source, target, options):
    clips.write(tmp_path / source, STILL, **options)
    found = run(tmp_path / source, tmp_path / target)
    assert found == jobs.Restored(len(STILL), [], [])
    before, after = (clips.describe(tmp_path / name) for name in (source, target))
    assert abs(before.pop("duration") - after.pop("duration")) <= 0.02
    if "steps" in options:  # the mean of variable rates depends on the last frame
        del before["rate"], after["rate"]
    assert after == before
    for one, other in zip(pixels(tmp_path / source), pixels(tmp_path / target)):
        assert one.dtype == other.dtype
        error = np.abs(darken(one).astype(float) - other).mean()
        assert error < 0.008 * np.iinfo(one.dtype).max
    assert {path.name for path in tmp_path.iterdir()} == {source, target}


@pytest.mark.parametrize("target", ["out.mkv", "out.mp4"])
def test_a_recording_that_starts_at_any_hour_starts_at_0(tmp_path, target):
    clips.write(tmp_path / "in.mp4", STILL, sound="aac")
    clips.copy(tmp_path / "in.mp4", tmp_path / "in.ts", delay=3600)
    before = clips.describe(tmp_path / "in.ts")
    assert before["times"][0] >= 3600
    run(tmp_path / "in.ts", tmp_path / target)
    after = clips.describe(tmp_path / target)
    first = before["sound"][0][0] / 90000  # the sound begins a little earlier
    moved = [float(time) - first for time in before["times"]]
    assert [float(time) for time in after["times"]] == pytest.approx(moved, abs=0.001)
    assert after["sound"][0][0] == 0
    assert after["duration"] == pytest.approx(before["duration"], abs=0.02)
    # Each packet of a transport stream has a header of its own, of seven bytes.
    sound = [data[7:] for _, data in before["sound"]]
    assert [data for _, data in after["sound"]] == sound


def read_tags(path):
    with av.open(str(path)) as container:
        return dict(container.metadata)


@pytest.mark.parametrize("suffix", ["mov", "mp4", "m4v", "mkv"])
def test_tags_of_phones_and_ordinary_tags_are_kept(tmp_path, suffix):
    ordinary = {"title": "Rain", "comment": "wet"}
    phone = {
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.location.ISO6709": "+48.1+011.6/",
    }
    clips.write(tmp_path / "clip.mp4", STILL[:3])
    for tags in (ordinary | phone, ordinary):
        # Matroska as the source can hold any tag.
        clips.copy(tmp_path / "clip.mp4", tmp_path / "in.mkv", tags=tags)
        run(tmp_path / "in.mkv", tmp_path / f"out.{suffix}")
        found = read_tags(tmp_path / f"out.{suffix}")
        found = {name.lower(): value for name, value in found.items()}
        assert {name: found.get(name.lower()) for name in tags} == tags
    # QuickTime's list, for programs that know no other.
    in_ordinary_list = b"\xa9nam" in (tmp_path / f"out.{suffix}").read_bytes()
    assert in_ordinary_list == (suffix != "mkv")


@pytest.mark.parametrize("suffix", ["mp4", "m4v", "mkv"])
def test_a_codec_that_passes_the_check_can_be_written(tmp_path, suffix):
    clips.write(tmp_path / "in.mp4", STILL[:3])
    settings = jobs.Settings(codec="libvpx-vp9")
    run(tmp_path / "in.mp4", tmp_path / f"out.{suffix}", settings=settings)
    assert len(pixels(tmp_path / f"out.{suffix}")) == 3


def test_frames_are_upright_for_the_network(tmp_path):
    clips.write(tmp_path / "in.mp4", STILL[:2], rotation=90)
    seen = []

    def restore(image, progress):
        seen.append(image)
        return image

    run(tmp_path / "in.mp4", tmp_path / "out.mp4", restore)
    upright = np.rot90(STILL[0])
    assert seen[0].shape == upright.shape
    assert np.abs(seen[0].astype(float) - upright).mean() < 3


@pytest.mark.parametrize("temporal", [False, True])
def test_a_stopped_video_goes_on_and_equals_one_never_stopped(
    tmp_path, monkeypatch, temporal
):
    monkeypatch.setattr(jobs, "_SEGMENT_FRAMES", 5)
    rng = np.random.default_rng(1)
    noisy = [
        np.clip(clips.picture() + rng.integers(-20, 20, (*clips.SIZE, 3)), 0, 255)
        for _ in range(23)
    ]
    clips.write(tmp_path / "in.mp4", [one.astype(np.uint8) for one in noisy])
    lossless = {"settings": jobs.Settings(temporal, crf=0), "num_ahead": 2}
    run(tmp_path / "in.mp4", tmp_path / "whole.mp4", **lossless)
    calls = []

    def count(image, progress):
        calls.append(1)
        return darken(image, progress)

    def stop():
        return len(calls) >= 18

    with pytest.raises(jobs.StopError):
        run(
            tmp_path / "in.mp4", tmp_path / "out.mp4", count, must_stop=stop, **lossless
        )
    assert not (tmp_path / "out.mp4").exists()
    (tmp_path / ".out.mp4.segments" / "partial_0").write_bytes(
        b"cut short"
    )  # by a kill
    calls.clear()
    run(tmp_path / "in.mp4", tmp_path / "out.mp4", count, **lossless)
    assert len(calls) < 23
    np.testing.assert_array_equal(
        pixels(tmp_path / "out.mp4"), pixels(tmp_path / "whole.mp4")
    )


def test_a_video_killed_goes_on_and_equals_one_never_killed(tmp_path):
    """`kill -9` in the middle of a segment; then the same command to the end."""
    rng = np.random.default_rng(2)
    noisy = [
        clips.picture() + rng.integers(-20, 20, (*clips.SIZE, 3)) for _ in range(23)
    ]
    clips.write(tmp_path / "in.mp4", [one.astype(np.uint8) for one in noisy])
    command = [sys.executable, "-c", _SLOW, tmp_path / "in.mp4", tmp_path / "out.mp4"]
    work = tmp_path / ".out.mp4.segments"
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        for _ in process.stdout:
            if len(list(work.glob("*.nut"))) == 2 and any(work.glob("partial*")):
                process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.mp4").exists()
    again = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=True)
    assert len(again.stdout.splitlines()) < 23  # the first frames are restored already
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    lossless = jobs.Settings(crf=0)
    run(tmp_path / "in.mp4", tmp_path / "whole.mp4", settings=lossless)
    killed, whole = (tmp_path / f"{name}.mp4" for name in ("out", "whole"))
    assert clips.describe(killed) == clips.describe(whole)
    np.testing.assert_array_equal(pixels(killed), pixels(whole))


def test_two_runs_at_one_video_write_into_files_of_their_own(tmp_path, monkeypatch):
    clips.write(tmp_path / "in.mp4", STILL)
    opened, segment = [], writing.Segment
    monkeypatch.setattr(
        writing, "Segment", lambda p, *a, **k: opened.append(p) or segment(p, *a, **k)
    )

    def die(image, progress):
        if len(opened) == 2:
            raise RuntimeError("killed")
        return image

    def restore(image, progress):
        if len(opened) == 1:  # in the middle of the segment
            with pytest.raises(RuntimeError, match="killed"):
                run(tmp_path / "in.mp4", tmp_path / "out.mp4", die)
        return darken(image, progress)

    assert run(tmp_path / "in.mp4", tmp_path / "out.mp4", restore).num_frames == 12
    assert len(set(opened)) == 2


def test_segments_of_other_weights_are_not_used(tmp_path):
    clips.write(tmp_path / "in.mp4", STILL)
    calls = []

    def count(image, progress):
        calls.append(1)
        return image

    with pytest.raises(jobs.StopError):
        run(
            tmp_path / "in.mp4", tmp_path / "out.mp4", count,
            must_stop=lambda: len(calls) >= 6, options=lambda target: {"weights": "a"},
        )  # fmt: skip
    calls.clear()
    run(
        tmp_path / "in.mp4",
        tmp_path / "out.mp4",
        count,
        options=lambda target: {"weights": "b"},
    )
    assert len(calls) == len(STILL)


def test_a_frame_that_cannot_be_decoded_is_named_and_repeated(tmp_path, monkeypatch):
    clips.write(tmp_path / "in.mp4", STILL)
    good = list(reading.read(str(tmp_path / "in.mp4")))
    good[4] = good[4]._replace(decoded=None, is_broken=True)
    monkeypatch.setattr(reading, "read", lambda path: iter(good))
    found = run(tmp_path / "in.mp4", tmp_path / "out.mp4", temporal=True)
    monkeypatch.undo()
    assert len(found.broken) == 1 and "frame 4 cannot be decoded" in found.broken[0]
    before, after = (clips.describe(tmp_path / name) for name in ("in.mp4", "out.mp4"))
    assert after["times"] == before["times"]


def test_a_video_without_a_frame_that_can_be_decoded_is_named(tmp_path, monkeypatch):
    clips.write(tmp_path / "in.mp4", STILL)
    frames = list(reading.read(str(tmp_path / "in.mp4")))
    lost = [one._replace(decoded=None, is_broken=True) for one in frames]
    monkeypatch.setattr(reading, "read", lambda path: iter(lost))
    with pytest.raises(ValueError, match="in.mp4 has no frame that can be decoded"):
        run(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("lost", [{10}, set(range(3, 12))])
@pytest.mark.parametrize("temporal", [False, True])
def test_a_video_goes_on_at_a_frame_that_cannot_be_decoded(
    tmp_path, monkeypatch, lost, temporal
):
    clips.write(tmp_path / "in.mp4", [clips.picture(k) for k in range(16)])
    good = list(reading.read(str(tmp_path / "in.mp4")))
    made = [
        one._replace(decoded=None, is_broken=True) if k in lost else one
        for k, one in enumerate(good)
    ]
    read = reading.read
    monkeypatch.setattr(
        reading, "read", lambda p: iter(made) if p.endswith("in.mp4") else read(p)
    )
    monkeypatch.setattr(jobs, "_SEGMENT_FRAMES", 10)
    lossless = {"settings": jobs.Settings(temporal, crf=0)}
    run(tmp_path / "in.mp4", tmp_path / "whole.mp4", **lossless)

    def die(image, progress):
        if (image == good[13].pixels()).all():
            raise RuntimeError("killed")
        return darken(image, progress)

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "in.mp4", tmp_path / "out.mp4", die, **lossless)
    segments = tmp_path.glob(".out.mp4.segments/*.nut")
    assert [path.stem for path in segments] == ["000000000-000000010"]
    found = run(tmp_path / "in.mp4", tmp_path / "out.mp4", **lossless)
    assert found.num_frames == 16
    np.testing.assert_array_equal(
        pixels(tmp_path / "out.mp4"), pixels(tmp_path / "whole.mp4")
    )


def test_damage_in_a_file_is_found_and_no_frame_is_lost(tmp_path):
    clips.write(tmp_path / "in.mp4", [clips.picture(k) for k in range(12)])
    data = bytearray((tmp_path / "in.mp4").read_bytes())
    start, stop = data.index(b"mdat"), data.index(b"moov")
    middle = (2 * start + stop) // 3
    data[middle : middle + 400] = b"\xff" * 400
    (tmp_path / "in.mp4").write_bytes(data)
    found = run(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert found.num_frames == 12
    assert found.broken


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_video_that_ends_early_is_restored_up_to_there_and_reported(tmp_path, suffix):
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    whole = [clips.picture(k) for k in range(20)]
    clips.write(source, whole, header_first=True)
    assert not run(source, target).broken
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 17 // 20])
    found = run(source, target)
    assert 4 < found.num_frames == len(pixels(target)) < 20
    assert found.broken[-1].endswith(
        f"after {found.num_frames} frames; is the file cut off?"
    )


def test_alpha_that_is_not_kept_is_named(tmp_path):
    clips.write(tmp_path / "in.mov", STILL[:3], codec="qtrle", fmt="argb")
    assert run(tmp_path / "in.mov", tmp_path / "out.mov").lost == ["alpha"]
    clips.write(tmp_path / "in.webm", STILL[:3], codec="libvpx-vp9", fmt="yuva420p")
    assert run(tmp_path / "in.webm", tmp_path / "out.webm").lost == ["alpha"]
    with av.open(str(tmp_path / "out.webm")) as container:
        assert "alpha_mode" not in container.streams.video[0].metadata


def test_a_frame_that_the_network_refuses_is_copied(tmp_path):
    clips.write(tmp_path / "in.mp4", STILL)

    def refuse(image, progress):
        raise ValueError("the network returned NaN")

    found = run(tmp_path / "in.mp4", tmp_path / "out.mp4", refuse)
    assert len(found.broken) == len(STILL) and "NaN" in found.broken[0]
    one, other = (pixels(tmp_path / name)[0] for name in ("in.mp4", "out.mp4"))
    assert np.abs(one.astype(float) - other).mean() < 2


def test_a_video_of_too_large_frames_is_refused_as_a_whole(tmp_path):
    clips.write(tmp_path / "in.mp4", STILL)
    checked, written = [], []

    def check_pixels(num_pixels):
        checked.append(num_pixels)
        raise ValueError("too many pixels")

    job = Job(str(tmp_path / "in.mp4"), str(tmp_path / "out.mp4"))
    failures = jobs.restore_videos(
        [job], darken, record=lambda *one: written.append(one), settings=jobs.Settings(),
        options=lambda target: {}, check_pixels=check_pixels,
    )  # fmt: skip
    assert list(failures) == [f"{job.source}: too many pixels"]
    assert checked == [48 * 64] and not written
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    ("codec", "suffix", "message"),
    [
        ("no_such_codec", "mp4", "no encoder 'no_such_codec'"),
        ("libopus", "mp4", "encodes audio"),
        ("libx264", "webm", ".webm cannot hold libx264.*such as libvpx-vp9"),
        ("prores_ks", "mkv", "NUT.* cannot hold prores_ks.*such as libx264"),
        ("qtrle", "mov", "NUT.* cannot hold qtrle"),
    ],
)
def test_a_codec_that_cannot_be_used_is_named(tmp_path, codec, suffix, message):
    clips.write(tmp_path / "in.mp4", STILL)
    settings = jobs.Settings(codec=codec)
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "in.mp4", tmp_path / f"out.{suffix}", settings=settings)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def restore_all(folder, names, restore=darken):
    """Restores videos of a folder; returns their failures, and the targets written."""
    written = []
    failures = jobs.restore_videos(
        [Job(str(folder / f"{n}.mkv"), str(folder / f"{n}_.mkv")) for n in names],
        restore, record=lambda job, status: written.append(job.target),
        settings=jobs.Settings(), options=lambda target: {}, shows_progress=False,
    )  # fmt: skip
    return list(failures), written


def test_failures_are_named_and_the_rest_goes_on(tmp_path):
    clips.write(tmp_path / "in.mkv", STILL)
    clips.write(tmp_path / "large.mkv", [clips.picture(shape=(64, 64))] * 3)
    (tmp_path / "text.mkv").write_text("no video")

    def restore(image, progress):
        if image.shape[0] == 64:
            raise RuntimeError("out of memory\nwith many lines of detail")
        return image

    failures, written = restore_all(tmp_path, ("text", "large", "in"), restore)
    assert len(failures) == 2 and "text.mkv cannot be read" in failures[0]
    assert failures[1] == f"{tmp_path / 'large.mkv'}: out of memory"
    assert written == [str(tmp_path / "in_.mkv")]


@pytest.mark.parametrize("full", ["segment", "joined"])
def test_a_full_disk_ends_the_videos_and_leaves_no_file_in_progress(
    tmp_path, monkeypatch, full
):
    for name in ("a", "b"):
        clips.write(tmp_path / f"{name}.mkv", STILL)
    partial, begun = jobs._partial, []

    @contextlib.contextmanager
    def fill(work, suffix=""):
        with partial(work, suffix) as path:
            begun.append(suffix)
            if bool(suffix) == (full == "joined"):
                path.symlink_to("/dev/full")
            yield path

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_partial", fill)
        with pytest.raises(jobs.EndError, match=r"/a_.mkv cannot be written: No space"):
            restore_all(tmp_path, "ab")
    assert begun == ([""] if full == "segment" else ["", ".mkv"])
    left = {path.name for path in (tmp_path / ".a_.mkv.segments").iterdir()}
    segments = {"000000000-000000012.nut"} if full == "joined" else set()
    assert left == {jobs._RECORD} | segments
    assert restore_all(tmp_path, "ab")[0] == []
    assert len(pixels(tmp_path / "a_.mkv")) == 12


def test_an_error_of_writing_names_the_target_and_not_the_source(tmp_path):
    clips.write(tmp_path / "in.mkv", STILL)
    job = Job(str(tmp_path / "in.mkv"), str(tmp_path / "out.mkv"))
    run(job.source, tmp_path / "part.nut.mkv")
    target = tmp_path / "full.mkv"
    target.symlink_to("/dev/full")
    with pytest.raises(OSError, match="full.mkv cannot be written: No space"):
        joining.join([tmp_path / "part.nut.mkv"], job.source, target, num_frames=12)


def test_files_that_killed_runs_left_are_removed_and_those_of_others_are_kept(tmp_path):
    clips.write(tmp_path / "in.mp4", STILL)
    stops = iter([False] * 6)
    with pytest.raises(jobs.StopError):
        run(tmp_path / "in.mp4", tmp_path / "out.mp4", must_stop=lambda: next(stops, 1))
    work = tmp_path / ".out.mp4.segments"
    for name in ("partial_old", "partial_new"):
        (work / name).touch()
    os.utime(work / "partial_old", (1, 1))
    with pytest.raises(jobs.StopError):
        run(tmp_path / "in.mp4", tmp_path / "out.mp4", must_stop=lambda: True)
    assert [path.name for path in work.glob("partial_*")] == ["partial_new"]
