"""Restoring files of photographs, with stand-ins for the network."""

import errno
import functools
import pathlib
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image

from ttl_jax.data.files import decoding, encoding
from ttl_jax.inference import file_jobs

SECONDS = 20  # after which a thread that waits gives up


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, level=100, shape=(4, 5, 3)):
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    encoding.write_image(name, np.full(shape, level, np.uint8))


def make_jobs(count):
    """Returns jobs of photographs whose brightness is their number."""
    for number in range(count):
        write(f"in/{number:02d}.png", number)
    return [to_out(f"in/{number:02d}.png") for number in range(count)]


def to_out(source):
    return file_jobs.Job(source, f"out/{pathlib.Path(source).name}")


def plain(function):
    """A network that reports no progress."""
    return lambda array, progress: function(array)


def written():
    return sorted(path.name for path in pathlib.Path("out").glob("*"))


@pytest.fixture
def watch(monkeypatch):
    """Wraps a function of a module that is called while files are restored."""

    def wrap(module, name, wrapper):
        monkeypatch.setattr(
            module, name, functools.partial(wrapper, getattr(module, name))
        )

    return wrap


def test_each_file_keeps_depth_and_alpha():
    array = np.arange(4 * 5 * 4, dtype=np.uint16).reshape(4, 5, 4)
    encoding.write_image("a.png", array, {"dpi": (300.0, 300.0)})
    assert not file_jobs.restore_files([to_out("a.png")], plain(np.flipud)).failures
    result, info = decoding.read_image("out/a.png")
    np.testing.assert_array_equal(result, np.flipud(array))
    np.testing.assert_allclose(info["dpi"], 300, atol=0.1)


def test_a_still_gif_with_another_suffix_is_written_by_its_suffix():
    Image.new("L", (5, 4), 100).save("a.jpg", format="GIF")
    assert not file_jobs.restore_files([to_out("a.jpg")], plain(np.flipud)).failures
    with Image.open("out/a.jpg") as image:
        assert image.format == "JPEG"


def test_a_bad_file_is_named_on_one_line():
    pathlib.Path("a\nb.png").touch()
    outcome = file_jobs.restore_files([to_out("a\nb.png")], plain(np.flipud))
    assert outcome.failures == ["a\ufffdb.png is empty (0 bytes)."]


def test_bad_files_are_named_in_their_order_and_the_rest_is_restored():
    jobs = make_jobs(5)
    pathlib.Path("in/03.png").write_bytes(b"")

    def restore(array):
        if array.max() == 1:
            time.sleep(0.1)  # the other one is known to be bad long before
            raise RuntimeError("out of memory\nwith many lines of detail")
        return array

    outcome = file_jobs.restore_files(jobs, plain(restore))
    assert outcome.failures == [
        "in/01.png: out of memory",
        "in/03.png is empty (0 bytes).",
    ]
    assert written() == ["00.png", "02.png", "04.png"]
    assert len(outcome.restored) == 3 and outcome.ended_by is None


def test_a_missing_photograph_is_named_and_a_replaced_one_is_read_again():
    jobs = make_jobs(3)
    pathlib.Path("in/01.png").unlink()
    write("in/02.png", 200)
    outcome = file_jobs.restore_files(jobs, plain(np.copy))
    assert outcome.failures == ["in/01.png cannot be read: No such file or directory."]
    assert written() == ["00.png", "02.png"]
    assert decoding.read_image("out/02.png").array.max() == 200


def test_a_file_instead_of_a_folder_is_named():
    write("in/a.png")
    pathlib.Path("out").touch()
    (failure,) = file_jobs.restore_files([to_out("in/a.png")], plain(np.copy)).failures
    assert failure.startswith("in/a.png: ") and "'out'" in failure


def test_files_are_read_and_written_while_the_network_computes(watch):
    second_read, second_restored = threading.Event(), threading.Event()

    def read(original, path):
        picture = original(path)
        if path == "in/01.png":
            second_read.set()
        return picture

    def restore(array):
        if array.max() == 0:
            assert second_read.wait(SECONDS)
        else:
            second_restored.set()
        return array

    def write_slowly(original, path, *arguments, **options):
        if path == "out/00.png":
            assert second_restored.wait(SECONDS)
        original(path, *arguments, **options)

    jobs = make_jobs(2)
    watch(decoding, "read_image", read)
    watch(encoding, "write_image", write_slowly)
    assert not file_jobs.restore_files(jobs, plain(restore)).failures


def test_photographs_with_too_many_pixels_are_rejected_before_they_are_decoded(watch):
    def read(original, path):
        assert path != "in/large.png"
        return original(path)

    def check_pixels(num_pixels):
        if num_pixels > 20:
            raise ValueError(f"{num_pixels} pixels are more than 20")

    jobs = make_jobs(2)
    write("in/large.png", shape=(5, 5, 3))
    watch(decoding, "read_image", read)
    outcome = file_jobs.restore_files(
        [to_out("in/large.png"), *jobs], plain(np.copy), check_pixels=check_pixels
    )
    assert outcome.failures == ["in/large.png: 25 pixels are more than 20"]
    assert written() == ["00.png", "01.png"]


@pytest.mark.parametrize(("most_pixels", "most_at_once"), [(60, 3), (1, 1)])
def test_photographs_in_memory_are_bounded_by_their_pixels(
    most_pixels, most_at_once, watch, monkeypatch
):
    held, counts = set(), []

    def read(original, path):
        held.add(pathlib.Path(path).name)
        counts.append(len(held))
        time.sleep(0.01)
        return original(path)

    def write_and_free(original, path, *arguments, **options):
        original(path, *arguments, **options)
        held.remove(pathlib.Path(path).name)

    jobs = make_jobs(12)  # of 20 pixels each
    monkeypatch.setattr(file_jobs, "_MOST_PIXELS", most_pixels)
    monkeypatch.setattr(file_jobs, "_NUM_THREADS", 6)
    watch(decoding, "read_image", read)
    watch(encoding, "write_image", write_and_free)
    assert not file_jobs.restore_files(jobs, plain(np.copy)).failures
    assert max(counts) == most_at_once
    assert len(written()) == 12


def test_failed_photographs_are_not_kept_until_they_are_reported(watch):
    arrays = []

    def restore(array):
        arrays.append(weakref.ref(array))
        return array

    def write_badly(original, path, *arguments, **options):
        if path != "out/00.png":
            raise ValueError("no room")
        deadline = time.monotonic() + SECONDS
        while sum(array() is not None for array in arrays) > 1 or len(arrays) < 9:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    jobs = make_jobs(9)
    watch(encoding, "write_image", write_badly)
    outcome = file_jobs.restore_files(jobs, plain(restore))
    assert outcome.failures == [f"in/{i:02d}.png: no room" for i in range(1, 9)]


def test_a_full_disk_ends_the_run(watch):
    tried = []

    def write_until_full(original, path, *arguments, **options):
        tried.append(path)
        if len(tried) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, *arguments, **options)

    jobs = make_jobs(40)
    watch(encoding, "write_image", write_until_full)
    outcome = file_jobs.restore_files(jobs, plain(np.copy))
    assert "cannot be written: No space left on device" in outcome.ended_by
    assert outcome.ended_by.startswith("out/")
    assert outcome.failures == [] and len(outcome.restored) == len(written()) == 2
    assert len(tried) <= 2 + file_jobs._NUM_THREADS  # those that were at work


def test_a_stop_leaves_unfinished_photographs_after_the_current_window():
    stop, windows = threading.Event(), []

    def restore(array, progress):
        for done in range(4):
            progress(done, 4)
            windows.append(array.max())
            if array.max() == 9 and done == 1:
                stop.set()
            time.sleep(0.01)
        progress(4, 4)
        return array

    outcome = file_jobs.restore_files(make_jobs(40), restore, must_stop=stop.is_set)
    assert outcome.failures == [] and outcome.ended_by is None
    assert windows.count(9) == 2 and "09.png" not in written()
    assert 0 < len(written()) < 40 and len(outcome.restored) == len(written())


def test_a_photograph_restored_at_a_stop_is_written():
    stop = threading.Event()

    def restore(array, progress):
        progress(0, 1)
        stop.set()
        progress(1, 1)
        return array

    jobs = make_jobs(1)
    outcome = file_jobs.restore_files(jobs, restore, must_stop=stop.is_set)
    assert len(outcome.restored) == 1 and written() == ["00.png"]


def test_rates_are_those_after_the_first_has_left_the_network():
    times = [(14.0, 18.0, (15, 20)), (10.0, 13.0, (9, 9)), (12.0, 12.5, (4, 25))]
    outcome = file_jobs.Outcome([file_jobs.Restored(*each) for each in times])
    assert outcome.rates() == (2 / 8, 400 / 8)
    assert outcome.first_written() == 12.5
    assert file_jobs.Outcome(outcome.restored[:1]).rates() is None
