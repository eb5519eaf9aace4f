"""Divides photographs and GPUs between processes that do not communicate."""

import os
from typing import NamedTuple

from ttl_jax import slurm


class Share(NamedTuple):
    """Part of one process: the items whose number is `index` modulo `count`.

    Attributes:
      index: Number of this process, from 0.
      count: Number of processes.
    """

    index: int = 0
    count: int = 1


def find_share(num_processes: int | None, process_id: int | None) -> Share:
    """Returns the share from flags, or otherwise from the task number of Slurm's srun.

    Raises:
      ValueError: If one is given without the other, or `process_id` is out of range.
    """
    if num_processes is None and process_id is None:
        step = slurm.find_step()
        return Share(step.index, step.num_tasks) if step else Share()
    if num_processes is None or process_id is None:
        raise ValueError("use both --num_processes and --process_id, or neither")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id={process_id} is out of range for "
            f"--num_processes={num_processes} (0-based)"
        )
    return Share(process_id, num_processes)


def take_gpu() -> None:
    """Restricts a Slurm task to one GPU if tasks share the GPUs of a machine.

    JAX reserves the memory of all visible GPUs, so call this before JAX starts.

    Raises:
      ValueError: If there are fewer GPUs than tasks.
    """
    step = slurm.find_step()
    if step is None or step.has_one_task_per_node:
        return
    number = step.local_index
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", str(number)).split(",")
    if len(gpus) == 1:  # Slurm has assigned it
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[0]
        return
    if number >= len(gpus):
        raise ValueError(
            f"task {number} (from 0) of this machine found only {len(gpus)} GPUs; start "
            "as many tasks as there are GPUs"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number]
