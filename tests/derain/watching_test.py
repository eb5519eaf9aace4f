"""Restoring what arrives in a folder."""

import errno
import os
import pathlib
import signal
import time

import pytest

from tests.derain import photographs
from ttl_jax import derain
from ttl_jax.data.files import encoding
from ttl_jax.inference import job_lists


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
    photographs.write(name, level)
    os.utime(name, (1, 1))


def idle():
    pass


def test_watching_restores_what_arrives_until_a_signal(watch):
    def change():
        assert not pathlib.Path("out").exists()
        os.utime("in/a.png", (1, 1))

    arrive = lambda: photographs.write("in/a.png", 1)  # still being written
    assert watch(idle, arrive, change, idle) == 0
    assert photographs.levels("out") == {"a.png": 254}


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
    assert photographs.levels("out") == {"b.png": 253}


def test_a_watch_restores_photographs_of_the_future(watch):
    photographs.write("in/a.png", 1)
    os.utime("in/a.png", (2**32, 2**32))
    assert watch(idle, idle) == 0
    assert photographs.levels("out") == {"a.png": 254}


def test_a_watch_waits_for_a_file_that_grows_under_an_old_time(watch):
    photographs.write("whole.png", 1)
    content = pathlib.Path("whole.png").read_bytes()

    def write(part):
        pathlib.Path("in/a.png").write_bytes(part)
        os.utime("in/a.png", (1, 1))

    assert watch(lambda: write(content[:40]), lambda: write(content), idle, idle) == 0
    assert photographs.levels("out") == {"a.png": 254}


def test_a_watch_restores_a_photograph_that_changes(watch):
    complete("in/a.png", 1)

    def change():
        assert photographs.levels("out") == {"a.png": 254}
        photographs.write("in/a.png", 2)

    assert watch(idle, idle, change, idle, idle) == 0
    assert photographs.levels("out") == {"a.png": 253}


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
    assert photographs.levels("out") == {"a.png": 254}


def test_two_names_for_one_result_do_not_stop_a_watch(watch, caplog):
    for name in ("in/x.bmp", "in/x.png", "in/y.png"):
        complete(name, 1)
    assert watch(*[idle] * 4, flags=["--format", "png"]) == 0
    assert photographs.levels("out") == {"x.png": 254, "y.png": 254}
    (line,) = [line for line in caplog.messages if "x.png" in line]
    assert line.startswith("in/x.bmp and in/x.png would both become out/x.png")


def test_a_watch_reports_each_new_fault_once_and_goes_on(watch, capsys):
    assert watch(
        lambda: os.rmdir("in"), idle, idle,
        lambda: pathlib.Path("in").mkdir(), lambda: complete("in/a.png", 1), idle, idle,
    ) == 0  # fmt: skip
    assert capsys.readouterr().err.count("in does not exist") == 1
    assert photographs.levels("out") == {"a.png": 254}


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
    assert photographs.levels("out") == {"a.png": 254}


def test_processes_that_watch_share_what_arrives(watch):
    """Each photograph belongs to one process, whatever has arrived before it."""
    names = [f"{level}.png" for level in range(9)]
    made = []
    for number in "01":
        for name in names:
            pathlib.Path("in", name).unlink(missing_ok=True)
        arrivals = [
            lambda name=name: photographs.write(f"in/{name}", 1)
            for name in (names if number == "0" else reversed(names))
        ]
        settle = lambda: [
            os.utime(path, (1, 1)) for path in pathlib.Path("in").glob("*")
        ]
        share = ["--num_processes=2", f"--process_id={number}"]
        steps = [step for arrival in arrivals for step in (arrival, settle, idle)]
        assert watch(*steps, idle, flags=share) == 0
        made.append(set(photographs.levels("out")))
        os.rename("out", f"out{number}")
    assert made[0].isdisjoint(made[1]) and made[0] | made[1] == set(names)
    assert made[0] and made[1]
