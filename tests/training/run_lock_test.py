"""A run that one process trains is refused to a second one, and free after its death."""

import errno
import fcntl
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.training import toy_stage
from ttl_jax.training import run, run_lock
from ttl_jax.weights import saved_runs

HOLDER = """
import pathlib, sys, time
from ttl_jax.training import run_lock
lock = run_lock.hold(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def config(photographs):
    return toy_stage.get_config(photographs, schedule="constant")


@pytest.fixture
def other(tmp_path):
    """Another process, which holds the lock of the run `toy`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "toy")],
        cwd=pathlib.Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_run_of_another_process_is_refused_unchanged_until_that_process_is_killed(
    config, other, tmp_path
):
    unfinished = tmp_path / "toy" / saved_runs.FOLDER / "3.orbax-checkpoint-tmp"
    unfinished.mkdir(parents=True)  # as the other process is saving a step
    fault = (
        f"{re.escape(str(tmp_path / 'toy'))} is being trained by another process "
        rf"\(pid {other.pid} on {re.escape(socket.gethostname())}\): wait for it, or name another"
    )
    with pytest.raises(ValueError, match=fault):
        run.open_run(config, tmp_path)
    with pytest.raises(ValueError, match=fault):
        run.open_run(config, tmp_path, fallback=True)
    assert unfinished.is_dir()
    other.kill()
    other.wait()
    toy_stage.train(config, tmp_path)
    assert saved_runs.saved_steps(tmp_path / "toy")[-1] == 6


def test_a_finished_run_may_be_read_while_another_process_trains_it_further(
    config, tmp_path, request
):
    finished = toy_stage.train(config, tmp_path)
    request.getfixturevalue("other")
    assert toy_stage.train(config, tmp_path) == finished
    config.num_steps = 8
    with pytest.raises(ValueError, match="is being trained by another process"):
        toy_stage.train(config, tmp_path)


def test_one_process_may_open_a_run_twice_and_frees_it_at_the_end(config, tmp_path):
    (tmp_path / "toy").mkdir()
    first, second = (run.open_run(config, tmp_path) for _ in range(2))
    assert first.lock is second.lock
    first.train()
    with (tmp_path / "toy" / run_lock.FILE).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # does not raise
    with pytest.raises(ValueError, match="was at step 0 .*, and is now at step 6"):
        second.train()


def test_a_run_that_another_process_trained_after_it_was_opened_is_refused(
    config, tmp_path
):
    opened = run.open_run(config, tmp_path)
    toy_stage.train(config, tmp_path / "other")
    shutil.copytree(tmp_path / "other", tmp_path, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="another process has trained it. Start"):
        opened.train()


def test_a_file_system_without_locks_is_trained_on(config, tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    toy_stage.train(config, tmp_path)
    assert saved_runs.saved_steps(tmp_path / "toy")[-1] == 6
