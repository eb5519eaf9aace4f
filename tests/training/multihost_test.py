"""Several processes, started as by a user, train like one process."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.training import gradient_descent, toy_stage
from tests.training.killing import wait_for_steps
from ttl_jax.training import metric_writer, sharding
from ttl_jax.weights import fingerprints, saved_runs, trained

ROOT = pathlib.Path(__file__).parents[2]


def start(*arguments, devices):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_address():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return f"localhost:{listener.getsockname()[1]}"


MAIN = ("-m", "ttl_jax.main")


def start_two(
    workdir,
    photographs,
    *flags,
    own_flags=((), ()),
    programs=(MAIN, MAIN),
    devices=2,
):
    """Two processes of `ttl_jax.main` that train the toy stage together."""
    address = free_address()
    return [
        start(
            *programs[i],
            f"--config=tests/training/toy_stage.py:{photographs}",
            f"--workdir={workdir}",
            f"--coordinator={address}",
            "--num_processes=2",
            f"--process_id={i}",
            *flags,
            *own_flags[i],
            devices=devices,
        )
        for i in range(2)
    ]


def finish(processes, statuses=(0, 0), timeout=200):
    """Waits for processes; what each printed."""
    try:
        printed = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, status, text in zip(processes, statuses, printed, strict=True):
        assert process.returncode == status, text
    return printed


def of_steps(photographs, num_steps, **changes):
    """A config whose updates are the same for any number of steps, and its flags."""
    fields = {
        "num_steps": num_steps,
        "schedule": "constant",
        "eval_every": 10,
        "checkpoint_every": 10,
        "hidden": 512,
        **changes,
    }
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    return toy_stage.get_config(photographs, **fields), flags


def losses_of(workdir):
    rows = metric_writer.read(workdir / "toy" / metric_writer.FILE)
    return {r["step"]: r["train/loss"] for r in rows if "train/loss" in r}


def assert_same_training(one, other):
    """Same losses too."""
    assert list(losses_of(one)) == list(losses_of(other)) == list(range(1, 21))
    np.testing.assert_allclose(
        list(losses_of(one).values()), list(losses_of(other).values()), rtol=1e-6
    )
    assert_same_end(one, other)


def assert_same_end(one, other):
    """Same last evaluation and params, but for the order of float32 sums."""
    (weights, ours), (other_weights, theirs) = (
        trained.load(workdir / "toy") for workdir in (one, other)
    )
    assert ours["step"] == theirs["step"] == 20
    assert ours["evaluation"] == pytest.approx(theirs["evaluation"], rel=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        weights,
        other_weights,
    )


@pytest.fixture(scope="module")
def alone(photographs, tmp_path_factory):
    """Twenty steps of this process, which has four devices."""
    workdir = tmp_path_factory.mktemp("alone")
    toy_stage.train(of_steps(photographs, 20)[0], workdir)
    return workdir


@pytest.fixture(scope="module")
def together(photographs, tmp_path_factory):
    """Ten steps of two processes with two devices each, over which the state is spread."""
    workdir = tmp_path_factory.mktemp("together")
    _, flags = of_steps(photographs, 10, fsdp=True)
    printed = finish(start_two(workdir, photographs, *flags))
    assert "step 10" in printed[0] and "step 10" not in printed[1]  # one of them writes
    return workdir


def saved_checksums(workdir):
    checksums = saved_runs.read_metadata(workdir / "toy", 10)[saved_runs.CHECKSUMS]
    assert set(checksums) == {"params", "ema", "progress"}
    return {type(value) for value in checksums.values()}


def test_spread_run_of_two_processes_goes_on_in_one(
    together, alone, photographs, tmp_path
):
    shutil.copytree(together / "toy", tmp_path / "toy")
    assert saved_checksums(tmp_path) == {str}
    toy_stage.train(of_steps(photographs, 20)[0], tmp_path)
    assert_same_training(alone, tmp_path)


@pytest.mark.slow
def test_run_of_two_processes_goes_on_in_one(alone, photographs, tmp_path):
    finish(start_two(tmp_path, photographs, *of_steps(photographs, 10)[1]))
    assert saved_checksums(tmp_path) == {int}
    toy_stage.train(of_steps(photographs, 20)[0], tmp_path)
    assert_same_training(alone, tmp_path)


@pytest.mark.parametrize("fsdp", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_run_of_one_process_goes_on_in_two_with_other_devices(
    fsdp, alone, photographs, tmp_path
):
    toy_stage.train(of_steps(photographs, 10)[0], tmp_path)
    _, flags = of_steps(photographs, 20, fsdp=fsdp)
    finish(start_two(tmp_path, photographs, *flags, devices=1))
    assert_same_training(alone, tmp_path)


# `loop_test` starts a run of one process from a teacher; the test above restores in two.
@pytest.mark.slow
def test_two_processes_start_from_an_earlier_run_of_two(
    together, photographs, tmp_path
):
    shutil.copytree(together / "toy", tmp_path / "teacher")
    _, flags = of_steps(photographs, 6, fsdp=True, frozen_teacher=True)
    finish(start_two(tmp_path, photographs, *flags))
    _, metadata = trained.load(tmp_path / "toy")
    assert metadata["step"] == 6
    teacher = trained.load(tmp_path / "teacher")[0]["encoder"]
    assert metadata["origins"]["teacher"]["digest"] == fingerprints.digest(teacher)


# The tests above compare the losses in float32, and `step_test` the devices of a process.
@pytest.mark.slow
def test_gradient_descent_in_float64_is_the_same_on_any_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    module, address = gradient_descent.__name__, free_address()
    path = tmp_path / "two.npz"
    finish([start("-m", module, path, address, 2, i, devices=2) for i in range(2)])
    two = dict(np.load(path))
    alone = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    with jax.enable_x64(True):
        one = gradient_descent.train_both(alone)
    names = {name.rsplit("/", 1)[0] for name in one}
    assert len(names) == 1 + 2 * 4 and len(one) == 2 * len(names)
    for name in names:
        expected = one[f"{name}/False"]
        assert expected.dtype == np.float64
        # The toy's output, and so its loss, is rounded to float32.
        rtol = 1e-6 if name == "losses" else 0
        for array in (two[f"{name}/False"], two[f"{name}/True"], one[f"{name}/True"]):
            np.testing.assert_allclose(array, expected, rtol=rtol, atol=1e-10)
    moved = two["params/linear.kernel/True"] - two["ema/linear.kernel/True"]
    assert np.abs(moved).max() > 1e-4


def test_processes_with_other_flags_are_rejected_in_all(photographs, tmp_path):
    processes = start_two(
        tmp_path, photographs, own_flags=((), ("--config.learning_rate=0.5",))
    )
    printed = finish(processes, statuses=(1, 1), timeout=60)
    for text in printed:
        assert "The configs of process 0 and of [1] are not the same" in text
        assert "Traceback" not in text
    assert not (tmp_path / "toy").exists()


@pytest.mark.slow
def test_processes_end_soon_when_the_first_one_is_killed(photographs, tmp_path):
    _, flags = of_steps(photographs, 100_000)
    processes = start_two(tmp_path, photographs, *flags)
    wait_for_steps(tmp_path, processes[0])
    processes[0].send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate(timeout=60)
    assert processes[0].returncode == -signal.SIGKILL
    assert processes[1].returncode not in (0, None)


UNREADABLE = """
import dataclasses, runpy
from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.loading.batches import TrainingData
make_rows, made = TrainingData._make_rows, []
def fail(*arguments):
    raise ImageError("a.png", "is gone")
def make_some(data, *arguments):
    made.append(1)
    if len(made) > 60:
        data._kind = dataclasses.replace(data._kind, make_rows=fail)
    return make_rows(data, *arguments)
TrainingData._make_rows = make_some
runpy.run_module("ttl_jax.main", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("alone", [0, 1])
def test_processes_end_soon_when_one_of_them_finds_no_photograph(
    alone, photographs, tmp_path
):
    _, flags = of_steps(photographs, 100_000, checkpoint_every=3)
    programs = [MAIN, MAIN]
    programs[alone] = ("-c", UNREADABLE)
    printed = finish(
        start_two(tmp_path, photographs, *flags, programs=programs), (1, 1), timeout=100
    )
    last = printed[alone].strip().splitlines()[-1]
    assert last.startswith("ttl_jax.main: 10 photographs in succession can no longer")
    assert "Traceback" not in printed[alone]
    assert f"Process {alone} has failed: {last}" in printed[1 - alone]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (("a:1", None, None), "--num_processes and --process_id missing"),
        ((None, None, 0), "--coordinator and --num_processes missing"),
        (("node1", 2, 0), "--coordinator=node1 must be HOST:PORT"),
        (("node1:1", 2, 2), "--process_id=2 is out of range for"),
        (("node1:1", 0, 0), "--process_id=0 is out of range for"),
    ],
)
def test_processes_that_contradict_each_other_are_rejected(given, fault):
    with pytest.raises(ValueError, match=fault):
        sharding.initialize_distributed(*given)


@pytest.mark.parametrize("port", [None, 70_000])
def test_a_first_process_that_does_not_answer_is_reported(port, monkeypatch):
    monkeypatch.setattr(sharding, "_CONTACT_SECONDS", 0)
    address = f"localhost:{port}" if port else free_address()
    with pytest.raises(ValueError, match=f"{address}: process 0 does not answer"):
        sharding.initialize_distributed(address, 2, 1)


def test_first_process_needs_a_free_port():
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        address = f"localhost:{listener.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"{address}: process 0 cannot listen"):
            sharding.initialize_distributed(address, 2, 0)


@pytest.fixture
def joined(monkeypatch):
    """The arguments of `jax.distributed.initialize`; without variables of Slurm."""
    calls = []
    monkeypatch.setattr(
        jax.distributed,
        "initialize",
        lambda *given, **more: calls.append((given, more)),
    )
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return calls


@pytest.mark.parametrize(
    ("tasks", "nodes", "visible", "devices"),
    [
        (8, 2, "0,1,2,3", None),  # a process per GPU: JAX takes one by its number
        (8, 2, None, None),
        (8, 2, "0", []),  # a process per GPU, each of which sees but its own
        (2, 2, "0,1,2,3", []),  # a process per node, with all of its GPUs
        (2, 2, None, []),
    ],
)
def test_tasks_of_slurm_find_each_other(
    tasks, nodes, visible, devices, joined, monkeypatch
):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", str(tasks))
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", str(nodes))
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_LOCALID", "0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    sharding.initialize_distributed()
    assert joined == [((None, None, None), {"local_device_ids": devices})]


def test_a_single_process_does_not_initialize_distributed_jax(joined, monkeypatch):
    sharding.initialize_distributed()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")  # in a batch script, without srun
    sharding.initialize_distributed()
    assert not joined


@pytest.mark.slow
def test_two_processes_skip_the_same_batches_as_one(photographs, tmp_path):
    config, flags = of_steps(photographs, 20, bad_steps=(3, 15), skip_bad_batches=2)
    finish(start_two(tmp_path / "two", photographs, *flags))
    toy_stage.train(config, tmp_path / "one")
    assert_same_end(tmp_path / "one", tmp_path / "two")
    for name in ("one", "two"):
        metadata = trained.load(tmp_path / name / "toy")[1]
        assert metadata["skipped_steps"] == [3, 15]


@pytest.mark.slow
def test_signal_to_one_process_stops_both_at_the_same_step(photographs, tmp_path):
    _, flags = of_steps(photographs, 100_000, checkpoint_every=100_000)
    processes = start_two(tmp_path, photographs, *flags)
    wait_for_steps(tmp_path, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    printed = finish(processes, statuses=(143, 143), timeout=60)
    step = trained.load(tmp_path / "toy")[1]["step"]
    assert f"is saved at step {step} of 100000" in printed[0]
    assert step <= max(losses_of(tmp_path)) <= step + 1
