"""Shares and GPUs of several processes."""

import os

import pytest

from ttl_jax.inference import processes


@pytest.fixture
def slurm(monkeypatch):
    """Sets the variables that srun gives to a task."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def start(num_tasks, num_nodes, task, local_task):
        for name, value in {
            "SLURM_NTASKS": num_tasks,
            "SLURM_STEP_NUM_TASKS": num_tasks,
            "SLURM_STEP_NUM_NODES": num_nodes,
            "SLURM_PROCID": task,
            "SLURM_LOCALID": local_task,
        }.items():
            monkeypatch.setenv(name, str(value))

    return start


def test_a_single_process_gets_everything(monkeypatch):
    assert processes.find_share(None, None) == (0, 1)
    # A script of a job of four tasks, outside srun.
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert processes.find_share(None, None) == (0, 1)


def test_an_incomplete_environment_of_slurm_is_named(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "first")
    with pytest.raises(ValueError, match="SLURM_PROCID is 'first', not a number"):
        processes.find_share(None, None)
    monkeypatch.delenv("SLURM_PROCID")
    with pytest.raises(ValueError, match="SLURM_PROCID is not set.*by srun, or unset"):
        processes.find_share(None, None)


def test_flags_have_priority_over_slurm(slurm):
    slurm(num_tasks=8, num_nodes=2, task=5, local_task=1)
    assert processes.find_share(None, None) == (5, 8)
    assert processes.find_share(3, 2) == (2, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((2, None), "both --num_processes and --process_id"),
        ((None, 0), "both --num_processes and --process_id"),
        ((2, 2), "--process_id=2 is out of range for --num_processes=2"),
    ],
)
def test_invalid_shares_are_rejected(given, message):
    with pytest.raises(ValueError, match=message):
        processes.find_share(*given)


@pytest.mark.parametrize(
    ("seen", "taken"), [("4,5,6,7", "6"), ("GPU-1", "GPU-1"), (None, "2")]
)
def test_tasks_of_one_machine_take_a_gpu_each(slurm, monkeypatch, seen, taken):
    slurm(num_tasks=8, num_nodes=2, task=6, local_task=2)
    if seen:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    processes.take_gpu()
    assert os.environ.pop("CUDA_VISIBLE_DEVICES") == taken


def test_a_task_alone_on_its_machine_keeps_all_gpus(slurm, monkeypatch):
    slurm(num_tasks=2, num_nodes=2, task=1, local_task=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    processes.take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_more_tasks_than_gpus_are_rejected(slurm, monkeypatch):
    slurm(num_tasks=4, num_nodes=1, task=3, local_task=3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ValueError, match="task 3 .* of this machine found only 2 GPUs"):
        processes.take_gpu()
