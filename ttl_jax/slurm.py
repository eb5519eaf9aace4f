"""This process among the tasks of a Slurm step, from the variables that srun sets."""

import os
from typing import NamedTuple


class Step(NamedTuple):
    """The job step that this process belongs to.

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
    """Returns the step, or None if srun has not started several tasks together.

    A job without srun is one process, whatever its allocation.
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
