"""Reads saved steps of runs: their metadata and arrays.

If a step cannot be read, a `CheckpointError` is raised, and its message says what to do.
Reading executes no code from the files.
"""

import contextlib
import itertools
import math
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ttl_jax.weights import fingerprints
from ttl_jax.weights.flat_params import Params

FOLDER = "checkpoints"
BEST = "best"  # runs/derain/best names the best step of runs/derain
INDEX = "ablation.json"  # beside several runs: the rows of tables, with their runs
CHECKSUMS = "checksums"  # metadata entry: checksum of each item's arrays

# Trained weights hardly compress. Arrays that claim more than this multiple of their bytes
# on disk are rejected, since forged sizes would fill the memory.
_MAX_EXPANSION = 100
_ALWAYS_READ = 2**28  # bytes


class CheckpointError(ValueError):
    """A saved step cannot be read; the message names the step, the fault and what to do.

    Attributes:
      fault: First part of the message: the step and the fault.
      reason: The fault alone.
    """

    def __init__(
        self,
        run_dir: pathlib.Path,
        step: int,
        reason: str,
        *,
        damaged: Collection[int] = (),
    ):
        """Makes the message.

        Args:
          damaged: Steps that are known to be damaged too.
        """
        folder = run_dir / FOLDER
        others = [n for n in saved_steps(run_dir) if n != step and n not in damaged]
        if earlier := [other for other in others if other < step]:
            way_out = (
                f"The previous step is {folder / str(earlier[-1])}: name it instead, or "
                "resume from it with the command of the run and --fallback."
            )
        elif others:
            way_out = f"A later step is {folder / str(others[-1])}: name it instead."
        else:
            way_out = f"No other step can be read: remove {run_dir} and train it again."
        self.fault = f"{folder / str(step)} cannot be read: {reason}"
        self.reason = reason
        super().__init__(f"{self.fault}. {way_out}")


def saved_steps(run_dir: pathlib.Path) -> list[int]:
    """Returns the complete steps of a run in ascending order; empty if there are none.

    The incomplete steps that a killed process leaves have other names.
    """
    folder = run_dir / FOLDER
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def read_metadata(run_dir: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns the metadata of a step, including checksums by item.

    Steps written by earlier versions have no checksums.

    Raises:
      CheckpointError: If the metadata cannot be read, or training did not write them.
    """
    metadata = _read_item(run_dir, step, "metadata")
    if not is_metadata(metadata):
        reason = "its metadata is missing or malformed; was it written by ttl_jax.main?"
        raise CheckpointError(run_dir, step, reason)
    return {CHECKSUMS: {}} | metadata


def read_progress(run_dir: pathlib.Path) -> tuple[int, int | None]:
    """Returns the last saved step of a run and its `num_steps`; 0 and None without one."""
    steps = saved_steps(run_dir)
    if not steps:
        return 0, None
    return steps[-1], read_metadata(run_dir, steps[-1])["config"]["num_steps"]


def is_metadata(value) -> bool:
    """Returns whether a value of JSON has all entries of metadata, with valid types."""
    if not _has(
        value, config=dict, modules=dict, origins=dict, ema=bool, evaluation=dict
    ):
        return False
    later = {"best": None, CHECKSUMS: {}, "skipped_steps": [], "evaluated_step": 0}
    value = later | value
    best, origin = (
        value["best"],
        {"run": str, "module": str, "step": int, "digest": str},
    )
    return (
        _has(value["config"], num_steps=int)
        and all(_has(module, factory=str) for module in value["modules"].values())
        and all(_has(one, **origin) for one in value["origins"].values())
        and all(isinstance(v, int | float) for v in value["evaluation"].values())
        and (best is None or _has(best, step=int, value=int | float))
        and _has(value, checksums=dict, skipped_steps=list, evaluated_step=int)
        and all(isinstance(step, int) for step in value["skipped_steps"])
    )


def _has(value, /, **types) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), kind) for name, kind in types.items()
    )


def run_folder(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a run.

    Args:
      path: Path as for `read`, or the folder `checkpoints` of the run.

    Raises:
      ValueError: If the path contains no checkpoint.
    """
    if (path / FOLDER).is_dir():
        return path
    if path.name == BEST and (path.parent / FOLDER).is_dir():
        return path.parent
    folder = path.parent if path.name.isdigit() else path
    if folder.name == FOLDER and path.is_dir():
        return folder.parent
    raise ValueError(
        f"{path} holds no checkpoint: expected the folder of a run, such as runs/derain, "
        f"with a folder {FOLDER!r} inside, or a file written by ttl_jax.pack."
    )


def read(path: pathlib.Path) -> tuple[dict[str, Params], dict[str, Any]]:
    """Reads the weights of a run: the moving average, if the run has one.

    Args:
      path: Folder of the run, for its last step; `best` inside it, for its best step
        (`config.best_metric`); or the folder of a step inside its `checkpoints`.

    Returns:
      Params by module, on the host; and the metadata with the entry `step` added.

    Raises:
      ValueError: If there is no complete checkpoint, or no step was chosen as the best.
      CheckpointError: If the step is damaged.
    """
    run_dir, step = find_step(path)
    metadata = read_metadata(run_dir, step)
    item = "ema" if metadata["ema"] else "params"
    modules = _read_arrays(run_dir, step, item, metadata)
    del metadata[CHECKSUMS]
    return modules, {**metadata, "step": step}


def find_step(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Returns the folder of the run and the step for a path; path and errors as `read`."""
    run_dir = run_folder(path)
    steps = saved_steps(run_dir)
    step = max(steps, default=None)
    if path != run_dir and path.name.isdigit():
        step = int(path.name)
    if step not in steps:
        there = steps or "none"
        raise ValueError(
            f"{path} holds no complete checkpoint; steps in {run_dir}: {there}."
        )
    if path != run_dir and path.name == BEST:
        best = read_metadata(run_dir, step).get("best")
        if best is None:
            raise ValueError(
                f"{run_dir} has no best step yet, or was trained without "
                f"--config.best_metric; use {run_dir} for its last step, {step}."
            )
        step = best["step"]
    return run_dir, step


def set_aside_damaged(run_dir: pathlib.Path) -> list[str]:
    """Renames all steps after the last step that can be read.

    Returns:
      One line for each renamed step, with its fault and its new name.

    Raises:
      CheckpointError: If no step can be read; then nothing is renamed.
    """
    faults: dict[int, CheckpointError] = {}
    for step in reversed(saved_steps(run_dir)):
        try:
            metadata = read_metadata(run_dir, step)
            for item in ("params", "progress", *(["ema"] if metadata["ema"] else [])):
                _read_arrays(run_dir, step, item, metadata)
            break
        except CheckpointError as error:
            faults[step] = error
    else:
        if faults:
            first = min(faults)
            raise CheckpointError(run_dir, first, faults[first].reason, damaged=faults)
    lines = []
    for step, error in faults.items():
        folder = run_dir / FOLDER / str(step)
        names = (folder.with_name(f"{step}.damaged{i}") for i in itertools.count(1))
        renamed = folder.rename(next(name for name in names if not name.exists()))
        lines.append(f"{error.fault}; it is now {renamed}")
    return lines


def _read_arrays(
    run_dir: pathlib.Path, step: int, item: str, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the arrays of an item, on the host, after verifying their checksum."""
    arrays = _read_item(run_dir, step, item)
    with reading(run_dir, step, item):
        fingerprints.verify_checksum(arrays, metadata[CHECKSUMS].get(item))
    return arrays


def _read_item(run_dir: pathlib.Path, step: int, name: str):
    """Returns an item of a step: JSON, or arrays on the host."""
    folder = (run_dir / FOLDER / str(step)).absolute()
    handler = ocp.CompositeCheckpointHandler(**make_handlers())  # pyright: ignore[reportArgumentType]
    # Each process reads without waiting for the others.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"p{here}"
    )
    with (
        reading(run_dir, step, name),
        ocp.Checkpointer(handler, multiprocessing_options=alone) as reader,
    ):
        if name == "metadata":
            argument = ocp.args.JsonRestore()
        else:
            saved = reader.metadata(folder).item_metadata[name]
            _check_expansion(saved, folder)
            # Without a template, Orbax needs the devices that were used in training.
            template = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), saved)
            argument = ocp.args.StandardRestore(template)
        return reader.restore(folder, args=ocp.args.Composite(**{name: argument}))[name]


def _check_expansion(arrays: Any, folder: pathlib.Path) -> None:
    claimed = sum(
        math.prod(array.shape) * np.dtype(array.dtype).itemsize
        for array in jax.tree.leaves(arrays)
    )
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if claimed > max(_ALWAYS_READ, _MAX_EXPANSION * stored):
        raise ValueError(
            f"they claim {claimed:,} bytes, but the files have only {stored:,}"
        )


def make_handlers() -> dict[str, ocp.CheckpointHandler]:
    """Returns the handlers by which Orbax writes and reads the items of a step."""
    arrays = ("params", "ema", "progress")
    handlers = {name: ocp.StandardCheckpointHandler() for name in arrays}
    return {**handlers, "metadata": ocp.JsonCheckpointHandler()}


@contextlib.contextmanager
def reading(run_dir: pathlib.Path, step: int, *items: str) -> Iterator[None]:
    """Raises a `CheckpointError` if an item is missing, or for any error in the block."""
    folder = run_dir / FOLDER / str(step)
    if missing := [item for item in items if not (folder / item).is_dir()]:
        raise CheckpointError(run_dir, step, f"it lacks its {' and '.join(missing)}")
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # Orbax and TensorStore raise nearly anything.
        where = f"its {items[0]}: " if len(items) == 1 else ""
        raise CheckpointError(run_dir, step, where + reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """Returns the first cause of an error on one line, without TensorStore's settings."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.split(r" \[(?:tensorstore_spec|os_error_code)=", str(error))[0]
    text = " ".join(text.split())
    kind = "" if type(error) is ValueError else type(error).__name__
    return ": ".join(part for part in (kind, text.rstrip(".")) if part)
