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

    Raises:
      ValueError: If a variable is missing or is no number.
    """
    if "SLURM_STEP_NUM_TASKS" not in os.environ:
        return None
    num_tasks = _read("SLURM_STEP_NUM_TASKS")
    if num_tasks == 1:
        return None
    return Step(
        _read("SLURM_PROCID"),
        num_tasks,
        _read("SLURM_LOCALID"),
        num_tasks == _read("SLURM_STEP_NUM_NODES"),
    )


def _read(name: str) -> int:
    text = os.environ.get(name)
    if text is None or not text.isdecimal():
        found = "is not set" if text is None else f"is {text!r}, not a number"
        raise ValueError(
            f"The environment is not that of a task of Slurm: {name} {found}. Start it by "
            "srun, or unset SLURM_STEP_NUM_TASKS."
        )
    return int(text)
