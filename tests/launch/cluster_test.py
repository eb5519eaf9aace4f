"""The scripts of launch/ that start several processes."""

import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import jax
import pytest
import yaml
from absl import flags

import ttl_jax.main  # whose flags these are
from tests.inference import restorer_test
from tests.training.killing import wait_for_steps
from ttl_jax import config_files, derain
from ttl_jax.training import sharding
from ttl_jax.weights import trained

ROOT = pathlib.Path(__file__).parents[2]


def start(script, *arguments, path, **variables):
    return subprocess.Popen(
        ["bash", ROOT / "launch" / script, *map(str, arguments)],
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def start_local(workdir, photographs, num_processes, *more):
    """The script, with this interpreter as python, on the toy stage."""
    return start(
        "local.sh",
        num_processes,
        f"--config=tests/training/toy_stage.py:{photographs}",
        f"--workdir={workdir}",
        *more,
        path=pathlib.Path(sys.executable).parent,
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_local_processes_are_saved_by_a_signal(number, status, photographs, tmp_path):
    many = ("--config.num_steps=100000", "--config.checkpoint_every=100000")
    process = start_local(tmp_path, photographs, 2, *many, "--config.eval_every=100000")
    wait_for_steps(tmp_path, process)
    os.killpg(process.pid, number)  # as a terminal does
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == status, printed
    step = trained.load(tmp_path / "toy")[1]["step"]
    assert f"is saved at step {step} of 100000" in printed
    assert printed.count("step 3: train") == 1  # one run, of two processes


def test_local_processes_all_end_with_the_status_of_one_that_fails(
    photographs, tmp_path
):
    process = start_local(tmp_path, photographs, 2, "--config.batch_size=3")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1, printed
    assert "config.batch_size=3 does not divide over 2 devices" in printed
    process = start_local(tmp_path, photographs, "two")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "Give the number of processes" in printed


def test_local_processes_restore_what_one_restores(photographs, tmp_path, monkeypatch):
    restorer_test.save_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    command = [photographs, "--checkpoint", "run", "--output"]
    assert derain.main([*map(str, command), "alone"]) == 0
    # One damaged photograph is the failure of one process; the other does its share.
    (tmp_path / "damaged.png").write_bytes(b"")
    command = ["derain", "damaged.png", *command, "together"]
    python = {"path": pathlib.Path(sys.executable).parent, "PYTHONPATH": str(ROOT)}
    python["JAX_NUM_CPU_DEVICES"] = str(jax.device_count())  # to reuse programs
    process = start("local.sh", 2, *command, **python)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 1, printed
    assert "damaged.png is empty" in printed
    for number, share in enumerate((5, 4)):
        assert f"Process {number} of 2 restores {share} of 9 photographs." in printed
        assert f"Process {number} restored 4 photographs into together" in printed
    for alone in (tmp_path / "alone").rglob("*.png"):
        together = tmp_path / "together" / alone.relative_to(tmp_path / "alone")
        assert together.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize(
    ("gpus", "status", "expected"),
    [
        ("4,7", 0, {"GPU 4", "GPU 7"}),
        ("", 0, {"GPU "}),  # hides all GPUs
        ("4", 2, {"2 processes need as many GPUs; CUDA_VISIBLE_DEVICES names 1."}),
    ],
)
def test_each_local_process_sees_one_gpu_of_those_given(
    tmp_path, gpus, status, expected
):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "GPU $CUDA_VISIBLE_DEVICES"\n')
    python.chmod(0o755)
    process = start("local.sh", 2, "derain", path=tmp_path, CUDA_VISIBLE_DEVICES=gpus)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert set(printed.splitlines()) == expected


@pytest.fixture
def cluster(tmp_path):
    """A folder with commands of Slurm's names: one task, which ends with 143 on SIGTERM."""
    commands = tmp_path / "commands"
    commands.mkdir()
    task = "import signal, sys; signal.signal(15, lambda *_: sys.exit(143));"
    task += "open('started', 'w').close(); signal.pause()"
    for name, script in {
        "srun": 'echo "$@" > srun; if [ -e fails ]; then exit 1; fi\n'
        f"echo $$ > task; exec {sys.executable} -c {shlex.quote(task)}",
        "scancel": 'echo "$@" > scancel; kill -TERM "$(cat task)"',
        "scontrol": 'echo "$@" > scontrol',
    }.items():
        (commands / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (commands / name).chmod(0o755)
    return tmp_path


def start_job(cluster, *arguments):
    variables = {"SLURM_SUBMIT_DIR": str(cluster), "SLURM_JOB_ID": "7"}
    return start("slurm.sbatch", *arguments, path=cluster / "commands", **variables)


def test_slurm_job_is_queued_again_at_its_time_limit(cluster):
    process = start_job(cluster, "--config=configs/recog.py", "--workdir=a b")
    wait_for((cluster / "started").exists, process)
    process.send_signal(signal.SIGUSR1)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 143, printed
    started = "--kill-on-bad-exit=1 python -m ttl_jax.main"
    flags_of_it = "--config=configs/recog.py --workdir=a b"
    assert (cluster / "srun").read_text() == f"{started} {flags_of_it}\n"
    assert (cluster / "scancel").read_text() == "--signal=TERM 7\n"
    assert (cluster / "scontrol").read_text() == "requeue 7\n"


def test_slurm_job_restores_on_request(cluster):
    process = start_job(cluster, "derain", "a b", "--output", "restored")
    wait_for((cluster / "started").exists, process)
    os.kill(int((cluster / "task").read_text()), signal.SIGTERM)
    process.communicate(timeout=30)
    started = "--kill-on-bad-exit=0 python -m ttl_jax.derain"
    assert (cluster / "srun").read_text() == f"{started} a b --output restored\n"


def test_cancelled_slurm_job_is_not_queued_again(cluster):
    process = start_job(cluster)
    wait_for((cluster / "started").exists, process)
    process.send_signal(signal.SIGTERM)  # to the script and, after a while, the task
    time.sleep(0.2)
    assert process.poll() is None
    os.kill(int((cluster / "task").read_text()), signal.SIGTERM)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 143, printed
    assert not (cluster / "scontrol").exists()


def test_failed_slurm_job_is_not_queued_again(cluster):
    (cluster / "fails").touch()
    process = start_job(cluster)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 1, printed
    assert not (cluster / "scontrol").exists()


def test_kubernetes_file_uses_flags_that_exist(monkeypatch):
    jobs = yaml.safe_load((ROOT / "launch" / "kubernetes.yaml").read_text())
    assert jobs["kind"] == "JobSet"
    (workers,) = jobs["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", ttl_jax.main.__name__]
    given = dict(argument.split("=", 1) for argument in container["args"])
    known = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(ttl_jax.main)}
    assert {name.removeprefix("--").split(".")[0] for name in given} <= known
    fields = {
        name.removeprefix("--config."): value
        for name, value in given.items()
        if name.startswith("--config.")
    }
    assert fields
    config_files.load(str(ROOT / given["--config"]), fields)  # rejects unknown fields
    count = int(given["--num_processes"])
    assert job["completions"] == job["parallelism"] == count
    assert job["completionMode"] == "Indexed" and workers["replicas"] == 1
    # The first pod's name, by the rules of JobSet.
    name = jobs["metadata"]["name"]
    host, port = given["--coordinator"].split(":")
    assert host == f"{name}-{workers['name']}-0-0.{name}"
    assert given["--process_id"] == "$(JOB_COMPLETION_INDEX)"
    joined = []
    monkeypatch.setattr(sharding, "_check_contact", lambda *_, **__: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **_: joined.append(a))
    sharding.initialize_distributed(f"{host}:{port}", count, count - 1)
    assert joined == [(f"{host}:{port}", count, count - 1)]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in job["template"]["spec"]["volumes"]}
