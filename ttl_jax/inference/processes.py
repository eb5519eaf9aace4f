"""Which photographs and which GPU each of several processes takes, without asking them."""

import os
from typing import NamedTuple

from ttl_jax import slurm


class Share(NamedTuple):
    """The part of this process: every item whose number is `index` modulo `count`.

    Attributes:
      index: The number of this process, from 0.
      count: How many processes there are.
    """

    index: int = 0
    count: int = 1


def find_share(num_processes: int | None, process_id: int | None) -> Share:
    """The share that is given, else that of a task which Slurm's srun has started.

    Args:
      num_processes: How many processes there are.
      process_id: Which of them this one is, from 0.

    Raises:
      ValueError: If one is given without the other, or there is no such process.
    """
    given = num_processes, process_id
    if given == (None, None):
        step = slurm.find_step()
        return Share(step.index, step.num_tasks) if step else Share()
    if None in given:
        raise ValueError("give both of --num_processes and --process_id, or neither")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id={process_id} is out of range for "
            f"--num_processes={num_processes} (0-based)"
        )
    return Share(process_id, num_processes)


def take_gpu() -> None:
    """Leaves a task of Slurm one GPU of those that it shares with others on its machine.

    JAX takes the memory of all that it sees; to be called before it starts.

    Raises:
      ValueError: If there are fewer GPUs than tasks.
    """
    step = slurm.find_step()
    if step is None or step.has_one_task_per_node:
        return
    number = step.local_index
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", str(number)).split(",")
    if len(gpus) == 1:  # its own already
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[0]
        return
    if number >= len(gpus):
        raise ValueError(
            f"task {number} of this machine finds {len(gpus)} GPUs; start as many tasks "
            "as there are GPUs"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number]
