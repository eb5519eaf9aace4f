"""A run stopped by a signal, and resumed by the same command."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests.training import toy_stage
from tests.training.killing import wait_for_steps
from ttl_jax import stopping
from ttl_jax.data.loading import pipeline
from ttl_jax.training import metric_writer
from ttl_jax.weights import trained

ROOT = pathlib.Path(__file__).parents[1]
MANY = 100_000  # more than a test waits for
MANY_STEPS = ("num_steps", "checkpoint_every", "eval_every")


def start(workdir, photographs, *flags):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "ttl_jax.main"),
            f"--config=tests/training/toy_stage.py:{photographs}",
            f"--workdir={workdir}",
            "--config.schedule=constant",
            *(f"--config.{name}={MANY}" for name in MANY_STEPS),
            *flags,
        ],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(jax.device_count())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # the process group of a terminal's command
    )


@pytest.mark.parametrize(
    ("number", "num_workers", "status"),
    [
        (signal.SIGTERM, 0, 143),
        pytest.param(signal.SIGINT, 0, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 1, 143, marks=pytest.mark.slow),
    ],
)
def test_stopped_run_goes_on_to_exactly_the_weights_of_an_undisturbed_one(
    number, num_workers, status, photographs, tmp_path
):
    flag = f"--config.num_workers={num_workers}"
    process = start(tmp_path / "stopped", photographs, flag)
    wait_for_steps(tmp_path / "stopped", process)
    os.killpg(process.pid, number)  # with its workers, as a terminal or Slurm does
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == status, printed
    _, metadata = trained.load(tmp_path / "stopped" / "toy")
    step = metadata["step"]
    logged = metric_writer.read(tmp_path / "stopped" / "toy" / metric_writer.FILE)
    assert step == logged[-1]["step"]  # each step is logged: no other one was done
    told = f"is saved at step {step} of {MANY}, and stopped by a signal. The same"
    assert told in printed and "Traceback" not in printed
    config = toy_stage.get_config(
        photographs,
        num_steps=step + 3,
        schedule="constant",
        checkpoint_every=MANY,
        eval_every=MANY,
        num_workers=num_workers,
    )
    for name in ("stopped", "undisturbed"):
        toy_stage.train(config, tmp_path / name)
    ours, theirs = (
        trained.load(tmp_path / name / "toy") for name in ("stopped", "undisturbed")
    )
    assert ours[1]["step"] == theirs[1]["step"] == step + 3
    jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_with_nothing_to_save_a_signal_ends_even_a_call_that_goes_on_for_ever(
    number, status
):
    code = """if True:
        import hashlib
        from ttl_jax import stopping
        with stopping.EndAtOnce() as ending:
            ending.before = lambda status: print("ends with", status)
            print("begins", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    """
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begins\n"
        process.send_signal(number)
        assert process.wait(timeout=20) == status
        assert process.stdout.read() == f"ends with {status}\n".encode()


def test_a_signal_while_jax_is_imported_ends_the_command(tmp_path):
    config = tmp_path / "announced.py"
    config.write_text(
        "from configs import recog\n\n\ndef get_config(preset):\n"
        "    print('begins', flush=True)\n    return recog.get_config(preset)\n"
    )
    command = [sys.executable, "-m", "ttl_jax.main", f"--config={config}:smoke"]
    with subprocess.Popen(
        [*command, f"--workdir={tmp_path}/runs"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout.readline() == b"begins\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stdout.read() == b""
    assert not (tmp_path / "runs").exists()


def test_before_the_first_update_a_signal_is_left_to_the_handler_around_the_run(
    photographs, tmp_path, monkeypatch
):
    received = []
    batches = pipeline.TrainingData.batches

    def batches_after_a_signal(self, start_step):
        signal.raise_signal(signal.SIGTERM)
        yield from batches(self, start_step)

    monkeypatch.setattr(pipeline.TrainingData, "batches", batches_after_a_signal)
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        toy_stage.train(toy_stage.get_config(photographs), tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert trained.load(tmp_path / "toy")[1]["step"] == 6


def test_second_signal_ends_the_process():
    code = """if True:
        import signal
        from ttl_jax import stopping
        with stopping.StopRequest() as request:
            signal.raise_signal(signal.SIGTERM)
            assert request.signal == signal.SIGTERM
            signal.raise_signal(signal.SIGINT)
            print("alive")
    """
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == -signal.SIGINT and not result.stdout
    assert result.stderr.startswith("Saving after this step")


def test_a_signal_after_the_last_step_is_not_lost():
    before = signal.getsignal(signal.SIGINT)

    def go_on():
        with stopping.StopRequest() as request:
            signal.raise_signal(signal.SIGINT)
            assert request.signal == signal.SIGINT

    with pytest.raises(KeyboardInterrupt):
        go_on()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_exception_has_priority_over_the_signal():
    def fail():
        with stopping.StopRequest():
            signal.raise_signal(signal.SIGINT)
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        fail()


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.StopRequest() as request:
            signal.raise_signal(signal.SIGINT)
            assert request.signal == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_at_the_end_of_the_work_always_has_its_exit_status():
    """`StopRequest` passes the signal on when it ends; a thread then ends the process."""
    program = """
import os, signal, sys
from ttl_jax import stopping
for _ in range(20):
    child = os.fork()
    if not child:
        with stopping.EndAtOnce(), stopping.StopRequest():
            os.kill(os.getpid(), signal.SIGTERM)
            while not signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                pass
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.split() == ["143"] * 20
