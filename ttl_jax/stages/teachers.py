"""The two teachers of the method, and the names of runs that use them."""

import shlex
from collections.abc import Sequence

TEACHERS = ("recog", "recon")


def check_teachers(teachers: Sequence[str]) -> tuple[str, ...]:
    """Returns the teachers of `config.teachers` in their fixed order.

    Raises:
      ValueError: If no teacher is named, or an unknown one.
    """
    unknown = sorted(set(teachers) - set(TEACHERS))
    if unknown or not teachers:
        raise ValueError(
            f"config.teachers={teachers!r}: name one or both of {TEACHERS}, for example "
            "--config.teachers=\"('recog',)\"."
        )
    return tuple(name for name in TEACHERS if name in teachers)


def teachers_flag(teachers: Sequence[str]) -> str:
    """Returns the flag that names a single teacher, after a space; empty for both."""
    return f" --config.teachers=\"('{teachers[0]}',)\"" if len(teachers) == 1 else ""


def run_name(base: str, teachers: Sequence[str]) -> str:
    """Returns the name of a run; with a single teacher (Table 3) it ends with its name."""
    return base if len(teachers) > 1 else f"{base}_{teachers[0]}"


def train_command(task: str, preset: str, run: str, default: str) -> str:
    """Returns the flags of `ttl_jax.main` that train a run, under its name.

    Args:
      task: Name of the config.
      run: Name of the run. If it is a path of other weights, the result is "", since no
        command is known.
      default: Name that the run has without a flag.
    """
    if "/" in run:
        return ""
    name = "" if run == default else f" --config.run={shlex.quote(run)}"
    return f"--config=configs/{task}.py:{preset}{name}"
