"""launch/slurm.sbatch on a Slurm of one node, which is made for this test alone.

It needs Debian's packages slurm-wlm and munge, and is skipped without them. The daemons
write into a folder of the test only.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.launch.cluster_test import start_local
from tests.training.kill_test import assert_same_run
from ttl_jax.training import metric_writer
from ttl_jax.weights import saved_runs

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
INSTALL = "apt-get install -y --no-install-recommends slurm-wlm munge"

CONFIG = """
ClusterName=one_node
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def find_programs():
    """Skips the test where Slurm is not installed, or the user is not root."""
    if os.geteuid():
        pytest.skip("the daemons of Slurm are started by root")
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing; on Debian: {INSTALL}")


def free_ports(count):
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} within {seconds} seconds"
        time.sleep(0.2)
    return found


def call(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Munge, controller and node, for the commands of Slurm that the test calls."""
    find_programs()
    folder = tmp_path / "slurm"
    for name in ("controller", "node"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    controller_port, node_port = free_ports(2)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=socket.gethostname().split(".")[0],
            folder=folder,
            controller_port=controller_port,
            node_port=node_port,
        )
    )
    monkeypatch.setenv("SLURM_CONF", str(config))
    munged = ["munged", "--foreground", "--force", "--num-threads=2"]
    for option, name in (
        ("key-file", "munge.key"),
        ("socket", "munge.socket"),
        ("pid-file", "munge.pid"),
        ("log-file", "munge.log"),
        ("seed-file", "munge.seed"),
    ):
        munged.append(f"--{option}={folder / name}")
    daemons = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            with (folder / f"{command[0]}.log").open("w") as log:
                daemons.append(
                    subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
                )
            if command is munged:
                wait_for((folder / "munge.socket").exists, 10, "socket of munge")

        def is_idle():
            told = subprocess.run(
                ["sinfo", "--noheader", "--format=%T"],
                capture_output=True,
                text=True,
                check=False,
            )
            return told.stdout.strip() == "idle"

        wait_for(is_idle, 60, "idle node")
        yield
    finally:
        subprocess.run(["scancel", "--full", "--user=root"], check=False)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)


def state_of(job):
    told = call("scontrol", "--oneliner", "show", "job", job)
    return dict(part.split("=", 1) for part in told.split() if "=" in part)["JobState"]


def test_job_of_two_tasks_goes_on_after_its_time_limit_to_what_two_processes_reach(
    slurm, photographs, tmp_path, monkeypatch
):
    python = pathlib.Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{python}:{os.environ['PATH']}")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.chdir(ROOT)
    flags = [
        f"--config.{field}={value}"
        for field, value in {
            "num_steps": 600,
            "schedule": "constant",
            "eval_every": 300,
            "checkpoint_every": 600,
            "keep_checkpoints": 1,
        }.items()
    ]
    output = tmp_path / "job.txt"
    job = call(
        "sbatch",
        "--parsable",
        "--ntasks-per-node=2",
        f"--output={output}",
        "launch/slurm.sbatch",
        f"--config=tests/training/toy_stage.py:{photographs}",
        f"--workdir={tmp_path / 'job'}",
        *flags,
    ).strip()
    path = tmp_path / "job" / "toy" / metric_writer.FILE
    wait_for(lambda: path.exists() and len(metric_writer.read(path)) > 9, 120, "steps")
    call("scancel", "--batch", "--signal=USR1", job)  # as Slurm does at the limit
    wait_for(lambda: "is saved at step" in output.read_text(), 60, "saved step")
    wait_for(lambda: state_of(job) == "PENDING", 60, "queued job")
    (step,) = saved_runs.saved_steps(tmp_path / "job" / "toy")
    assert 9 <= step < 600
    call("scontrol", "update", f"JobId={job}", "StartTime=now")  # else minutes later
    wait_for(lambda: state_of(job) == "COMPLETED", 200, "end of the job")
    printed = output.read_text()
    assert f"resumes at step {step}" in printed
    assert printed.count("step 600: train") == 1  # of the two tasks one writes
    plain = start_local(tmp_path / "plain", photographs, 2, *flags)
    printed, _ = plain.communicate(timeout=200)
    assert plain.returncode == 0, printed
    assert_same_run(tmp_path / "job" / "toy", tmp_path / "plain" / "toy")
