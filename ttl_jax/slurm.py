"""The place of this process among the tasks of a Slurm step, read from srun's variables."""

import os
from typing import NamedTuple


class Step(NamedTuple):
    """Job step of this process.

    Attributes:
      index: Number of this task in the step, from 0.
      num_tasks: Number of tasks of the step.
      local_index: Number of this task on its machine, from 0.
      has_one_task_per_node: Whether each machine runs one task.
    """

    index: int
    num_tasks: int
    local_index: int
    has_one_task_per_node: bool


def find_step() -> Step | None:
    """Returns the step, or None if srun did not start several tasks together.

    Without srun, a job is one process, even if several tasks are allocated.
    """
    num_tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if num_tasks == 1:
        return None
    return Step(
        int(os.environ["SLURM_PROCID"]),
        num_tasks,
        int(os.environ["SLURM_LOCALID"]),
        num_tasks == int(os.environ["SLURM_STEP_NUM_NODES"]),
    )
