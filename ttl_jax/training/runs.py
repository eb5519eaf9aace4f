"""Trains all runs of a config: one, a pipeline's stages, or a planner's list.

The field `stages` of a pipeline's config lists the fields with the configs of its runs.
The field `planner` names a module whose `list_runs(config)` returns the configs to
train. If the module has `list_rows(config)`, this describes them for tables. Before
training starts, the rows are added to `ablation.json` in the working directory. A row
is {"name", "description", "tables", "reference", "runs": {seed: folder}}.
"""

import importlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from ttl_jax import atomic_files, suggestions, user_paths
from ttl_jax.stages.stage import find_function
from ttl_jax.training import run, sharding
from ttl_jax.weights import saved_runs, trained


def train(
    config, workdir: str | os.PathLike[str], *, fallback: bool = False
) -> list[run.Trained]:
    """Trains the runs of a config in order; all are checked before the first one trains.

    Args:
      fallback: Whether to set damaged last checkpoints aside and resume from earlier ones.

    Returns:
      The trained runs in order, including runs that were already finished.

    Raises:
      ValueError, FloatingPointError, stopping.Stopped: As `run.open_run` and
        `run.Run.train`.
    """
    opened: list[run.Run] = []
    for one in list_runs(config):
        opened.append(run.open_run(one, workdir, earlier=opened, fallback=fallback))
    _check_origins_stay(opened)
    _write_index(config, user_paths.expand(workdir))
    finished = []
    while opened:  # so that a finished run's images leave the memory
        next_run = opened[1].directory if len(opened) > 1 else None
        finished.append(opened.pop(0).train(next_run))
    return finished


def list_runs(config) -> list[Any]:
    """Returns the configs to train, one stage each, in order.

    Raises:
      ValueError: If `stages` is invalid; if `run` is set for one of several runs, since
        later runs look for it under its default name; or if the planner rejects the
        config.
    """
    if "stages" not in config:
        return [config]
    _check_stages(config)
    for name in config.stages:
        if config[name].run not in ("", name):
            raise ValueError(
                f"config.{name}.run={config[name].run!r}: the runs of several stages "
                "keep their names. Use another --workdir, or train the stage alone."
            )
    if "planner" in config:
        field = f"config.planner={config.planner!r}"
        return find_function(config.planner, "list_runs", field)(config)
    return [config[name] for name in config.stages]


def _check_stages(config) -> None:
    """Raises ValueError unless `stages` names fields with configs, each once."""
    stages = config.stages
    fields = config.to_dict().items()
    known = [name for name, of in fields if isinstance(of, dict) and "stage" in of]
    for name in stages:
        if name not in known:
            hint = suggestions.known_and_hint(name, known)
            raise ValueError(
                f"config.stages={stages!r}: {name!r} is no stage; choose from {hint}"
            )
    if not stages or len(set(stages)) < len(stages):
        raise ValueError(f"config.stages={stages!r} must name stages, each once.")


def _check_origins_stay(opened: Sequence[run.Run]) -> None:
    """Raises ValueError if a saved run started from one that would be trained further."""
    for one in opened:
        names = {origin["run"] for origin in one.saved.get("origins", {}).values()}
        paths = [
            trained.path_of(one.directory.parent, name).resolve() for name in names
        ]
        for other in opened:
            folder, step = other.directory, other.first_step
            uses = any(path.is_relative_to(folder.resolve()) for path in paths)
            if not uses or other.training is None:
                continue
            way_out = f"keep its num_steps={step}" if step else "leave out this stage"
            raise ValueError(
                f"{one.directory} started from {folder}, which this command would train "
                f"from step {step} to {other.config.num_steps}. Use another --workdir, or "
                f"{way_out}."
            )


def _write_index(config, workdir: pathlib.Path) -> None:
    """Adds the rows of a planner to the index; rows of earlier commands are kept."""
    if "planner" not in config or not sharding.is_writer():
        return
    planner = importlib.import_module(config.planner)
    if not hasattr(planner, "list_rows"):
        return
    path = workdir / saved_runs.INDEX
    try:
        known = atomic_files.read_json(path)["rows"] if path.exists() else []
        rows = {row["name"]: row for row in known}
        for row in planner.list_rows(config):
            runs = rows.get(row["name"], {}).get("runs", {}) | row["runs"]
            rows[row["name"]] = row | {"runs": runs}
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not an index of an ablation ({error!r}). Move it elsewhere; this "
            "command then writes a new one."
        ) from error
    workdir.mkdir(parents=True, exist_ok=True)
    atomic_files.write_json(path, {"rows": list(rows.values())})
