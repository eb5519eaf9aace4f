"""Checkpoints: arrays and JSON by Orbax, one folder per run, verified leaf by leaf.

A module's params are a flat dict from dotted names ("blocks.0.alpha") to arrays, so that
a checkpoint can be read, listed and compared without the code that made it. A step holds

    params/<module>/<leaf>    the weights of each trainable module
    ema/<module>/<leaf>       their moving average, where the run keeps one
    progress/                 step, optimizer state and so on, to go on training
    metadata                  JSON: config, networks, where modules were loaded from

Nothing else is in it: to read a step runs no code of whoever wrote it. Whatever makes it
unreadable is a `CheckpointError`, which tells the way out.
"""

import contextlib
import hashlib
import itertools
import json
import math
import pathlib
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

FOLDER = "checkpoints"
BEST = "best"  # runs/derain/best names the best step of runs/derain

Params = dict[str, jax.Array]

_CHECKSUMS = "checksums"  # of each item's arrays, in a step's metadata
# Trained weights hardly compress. Arrays that claim more than so many times what their
# step has on disk are not read, as sizes that somebody forged would fill the memory.
_MAX_EXPANSION = 100
_ALWAYS_READ = 2**28  # bytes


class CheckpointError(ValueError):
    """A saved step that cannot be read; names it, what is wrong, and the way out.

    Attributes:
      fault: The same without the way out, and no full stop.
    """

    def __init__(self, run_dir: pathlib.Path, step: int, reason: str):
        earlier = [saved for saved in saved_steps(run_dir) if saved < step]
        folder = run_dir / FOLDER
        way_out = (
            f"The step before it is {folder / str(earlier[-1])}: name that one, or go on "
            "training from there by the run's own command with --fallback."
            if earlier
            else f"No step is saved before it: remove {run_dir} and train it anew."
        )
        self.fault = f"{folder / str(step)} cannot be read: {reason}"
        super().__init__(f"{self.fault}. {way_out}")


def _make_handlers() -> dict[str, ocp.CheckpointHandler]:
    arrays = ("params", "ema", "progress")
    return {
        **{name: ocp.StandardCheckpointHandler() for name in arrays},
        "metadata": ocp.JsonCheckpointHandler(),
    }


def split_module(module: nnx.Module) -> tuple[nnx.GraphDef, Params]:
    """Returns a module's structure and its params by dotted name."""
    graph, state = nnx.split(module)
    params = {
        ".".join(map(str, path)): variable.get_value()
        for path, variable in nnx.to_flat_state(state)
    }
    return graph, params


def merge_module(graph: nnx.GraphDef, params: Mapping[str, jax.Array]) -> nnx.Module:
    """Returns the module that `split_module` took apart, with the given params."""
    flat = [
        (tuple(int(k) if k.isdigit() else k for k in name.split(".")), nnx.Param(value))
        for name, value in params.items()
    ]
    return nnx.merge(graph, nnx.from_flat_state(flat))


def verify_params(
    loaded: Mapping[str, Any], wanted: Mapping[str, Any], *, source: str, module: str
) -> None:
    """Checks that loaded params are those wanted: every name, shape and type.

    Args:
      loaded: Params by dotted name.
      wanted: Arrays or `jax.ShapeDtypeStruct` by dotted name.
      source: Where they were loaded from, for the message.
      module: Name of the module, for the message.

    Raises:
      ValueError: Naming up to five leaves that differ.
    """

    def form(leaf):
        return f"{tuple(leaf.shape)} {np.dtype(leaf.dtype)}"

    faults = []
    for name in sorted(set(loaded) | set(wanted)):
        if name not in loaded:
            faults.append(f"{name} is missing, wanted {form(wanted[name])}")
        elif name not in wanted:
            faults.append(f"{name} {form(loaded[name])} is not part of the network")
        elif form(loaded[name]) != form(wanted[name]):
            faults.append(
                f"{name} is {form(loaded[name])}, wanted {form(wanted[name])}"
            )
    if faults:
        shown = "; ".join(faults[:5]) + (
            f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        )
        raise ValueError(
            f"{source} does not fit {module!r}: {shown}. Use the config (preset, encoder "
            "and decoder fields) that the run was trained with, or train it again."
        )


def digest(params: Mapping[str, Any]) -> str:
    """Returns a fingerprint of names, types, shapes and values, 16 hex digits."""
    sha = hashlib.sha256()
    for name in sorted(params):
        value = np.asarray(params[name])
        sha.update(f"{name} {value.dtype} {value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()[:16]


class _LatestAndBest:
    """Which steps stay: the last ones, and the best.

    Attributes:
      best_step: The best one, if any is.
    """

    def __init__(self, num_latest: int):
        self.best_step: int | None = None
        self._num_latest = num_latest

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """For each saved step, ascending, whether it stays; Orbax asks."""
        del context
        first_latest = len(checkpoints) - self._num_latest
        return [
            i >= first_latest or checkpoint.step == self.best_step
            for i, checkpoint in enumerate(checkpoints)
        ]


class Checkpointer:
    """Saves and restores the steps of one run.

    Attributes:
      run_dir: The run's folder; checkpoints lie in its subfolder `checkpoints`.
    """

    def __init__(self, run_dir: pathlib.Path, *, keep: int):
        self.run_dir = run_dir
        self._kept = _LatestAndBest(keep)
        folder = (run_dir / FOLDER).absolute()
        try:
            self._manager = ocp.CheckpointManager(
                folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=self._kept, create=True
                ),
                item_handlers=_make_handlers(),
            )
        except OSError:
            raise
        except Exception as error:  # Orbax looks into each step.
            raise ValueError(
                f"{folder} cannot be opened: {_reason(error)}. Move the step that is "
                "damaged elsewhere, and start again."
            ) from error

    def latest_step(self) -> int | None:
        """Returns the last step saved whole, or None."""
        return self._manager.latest_step()

    def save(self, step: int, items: Mapping[str, Any], metadata: Mapping) -> None:
        """Begins to write a step in the background; the arrays may be donated after.

        Once it is written whole, those steps go that are neither among the last nor the
        best.

        Args:
          step: Updates done.
          items: Trees of arrays by item, `params` among them.
          metadata: Values that JSON can hold; "best", where it is not None, has the best
            "step" so far.

        Raises:
          OSError: If a step, this one or the one before, cannot be written. The last
            good one stays.
        """
        self._kept.best_step = (metadata.get("best") or {}).get("step")
        arguments = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        checksums = {name: _checksum(tree) for name, tree in items.items()}
        arguments["metadata"] = ocp.args.JsonSave({**metadata, _CHECKSUMS: checksums})
        with self._saving():
            self._manager.save(step, args=ocp.args.Composite(**arguments), force=True)

    def restore(self, step: int, items: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the items of a step, placed as their templates are.

        Args:
          step: A step that was saved.
          items: Trees of arrays or `jax.ShapeDtypeStruct` with sharding, by item.

        Raises:
          ValueError: If a leaf's name, shape or type is not the template's.
          CheckpointError: If the step is damaged.
        """
        source = f"{self.run_dir} at step {step}"
        checksums = read_metadata(self.run_dir, step)[_CHECKSUMS]
        with _reading(self.run_dir, step, *items):
            saved = self._manager.item_metadata(step)
        for name, template in items.items():
            verify_params(
                _flatten(saved[name]),
                _flatten(template),
                source=source,
                module=name,
            )
        arguments = {
            name: ocp.args.StandardRestore(jax.tree.map(_as_template, template))
            for name, template in items.items()
        }
        with _reading(self.run_dir, step, *items):
            restored = self._manager.restore(step, args=ocp.args.Composite(**arguments))
        for name in items:
            with _reading(self.run_dir, step, name):
                _verify_checksum(restored[name], checksums.get(name))
        return {name: restored[name] for name in items}

    def close(self) -> None:
        """Waits, then releases the run's files.

        Raises:
          OSError: As `save`.
        """
        with self._saving():
            self._manager.close()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Tells what fails to be written, and leaves nothing of it."""
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise nearly anything.
            for partial in (self.run_dir / FOLDER).glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(partial, ignore_errors=True)  # which may have filled it
            last = max(saved_steps(self.run_dir), default=None)
            stays = "No step was saved" if last is None else f"Step {last} stays"
            raise OSError(
                f"{self.run_dir / FOLDER} could not be written to: {_reason(error)}. "
                f"{stays}. Once there is room and permission to write, the same command "
                "goes on."
            ) from error


def _as_template(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _flatten(tree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_path_name(path): leaf for path, leaf in leaves}


def _path_name(path) -> str:
    return "/".join(
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
        for key in path
    )


def _checksum(tree) -> int | None:
    """A number that any changed bit of the arrays in a tree changes, or of their names.

    It does not depend on their order, which a template may change. None where arrays
    are spread over several processes, none of which has them whole.
    """
    leaves = _flatten(tree)
    if not all(map(_is_whole_here, leaves.values())):
        return None
    return sum(
        zlib.crc32(np.asarray(leaf).tobytes(), zlib.crc32(name.encode()))
        for name, leaf in leaves.items()
    )


def _is_whole_here(leaf) -> bool:
    return not isinstance(leaf, jax.Array) or (
        leaf.is_fully_addressable or leaf.is_fully_replicated
    )


def _verify_checksum(tree, saved: int | None) -> None:
    """Refuses arrays that are not those that were saved; disks flip bits."""
    found = _checksum(tree)
    if None not in (saved, found) and found != saved:  # none in older steps
        raise ValueError("they are not those that were saved")


@contextlib.contextmanager
def _reading(run_dir: pathlib.Path, step: int, *items: str) -> Iterator[None]:
    """Turns what fails in the block into a `CheckpointError`; items have to be there."""
    folder = run_dir / FOLDER / str(step)
    if missing := [item for item in items if not (folder / item).is_dir()]:
        reason = f"it lacks its {' and '.join(missing)}"
        raise CheckpointError(run_dir, step, reason)
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # Orbax and TensorStore raise nearly anything.
        where = f"its {items[0]}: " if len(items) == 1 else ""
        raise CheckpointError(run_dir, step, where + _reason(error)) from error


def _reason(error: BaseException) -> str:
    """The first cause of an error, on one line, without TensorStore's settings."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.split(r" \[(?:tensorstore_spec|os_error_code)=", str(error))[0]
    text = " ".join(text.split())
    kind = "" if type(error) is ValueError else type(error).__name__
    return ": ".join(part for part in (kind, text.rstrip(".")) if part)


def saved_steps(run_dir: pathlib.Path) -> list[int]:
    """Returns the steps that a run has saved, ascending; none if it never began.

    What was being written when a run was killed has another name.
    """
    folder = run_dir / FOLDER
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def read_metadata(run_dir: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns what `Checkpointer.save` was given as the metadata of a step.

    And the entry "checksums" by item, which is empty in steps of earlier versions.

    Raises:
      CheckpointError: If they cannot be read, or are not what training writes.
    """
    metadata = _read_item(run_dir, step, "metadata")
    if not _is_metadata(metadata):
        reason = "its metadata are not those that training writes"
        raise CheckpointError(run_dir, step, reason)
    return {_CHECKSUMS: {}} | metadata


def _is_metadata(value) -> bool:
    """Whether JSON has the form that the readers of metadata rely on."""
    match value:
        case {
            "config": {"num_steps": int()},
            "modules": dict(modules),
            "origins": dict(origins),
            "ema": bool(),
            "evaluation": dict(evaluation),
        }:
            best, checksums = value.get("best"), value.get(_CHECKSUMS, {})
            skipped = value.get("skipped_steps", [])
            return (
                all(_has(module, factory=str) for module in modules.values())
                and all(
                    _has(origin, run=str, module=str, step=int, digest=str)
                    for origin in origins.values()
                )
                and all(isinstance(v, int | float) for v in evaluation.values())
                and (best is None or _has(best, step=int, value=int | float))
                and isinstance(checksums, dict)
                and isinstance(skipped, list)
                and all(isinstance(step, int) for step in skipped)
            )
    return False


def _has(value, /, **types) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), kind) for name, kind in types.items()
    )


def _read_item(run_dir: pathlib.Path, step: int, name: str):
    """An item as it was saved, arrays on the host."""
    folder = (run_dir / FOLDER / str(step)).absolute()
    handler = ocp.CompositeCheckpointHandler(**_make_handlers())
    # Each process reads for itself, whether the others do or not.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"p{here}"
    )
    with (
        _reading(run_dir, step, name),
        ocp.Checkpointer(handler, multiprocessing_options=alone) as reader,
    ):
        if name == "metadata":
            argument = ocp.args.JsonRestore()
        else:
            saved = reader.metadata(folder).item_metadata[name]
            _check_expansion(_flatten(saved), folder)
            # Without a template Orbax asks for the devices that there were in training.
            template = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), saved)
            argument = ocp.args.StandardRestore(template)
        return reader.restore(folder, args=ocp.args.Composite(**{name: argument}))[name]


def _check_expansion(arrays: Mapping[str, Any], folder: pathlib.Path) -> None:
    claimed = sum(
        math.prod(array.shape) * np.dtype(array.dtype).itemsize
        for array in arrays.values()
    )
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if claimed > max(_ALWAYS_READ, _MAX_EXPANSION * stored):
        raise ValueError(
            f"they claim {claimed:,} bytes, but the files have {stored:,} in all"
        )


def _read_arrays(
    run_dir: pathlib.Path, step: int, item: str, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """An item of arrays, on the host, as it was saved."""
    arrays = _read_item(run_dir, step, item)
    with _reading(run_dir, step, item):
        _verify_checksum(arrays, metadata[_CHECKSUMS].get(item))
    return arrays


def set_aside_damaged(run_dir: pathlib.Path) -> list[str]:
    """Renames the last steps of a run that cannot be read, down to the first that can.

    Returns:
      What was wrong with each of them, and what it is called now.

    Raises:
      CheckpointError: If none can be read; nothing is renamed then.
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
            raise faults[min(faults)]
    return [f"{e.fault}; it is now {_set_aside(run_dir, s)}" for s, e in faults.items()]


def _set_aside(run_dir: pathlib.Path, step: int) -> pathlib.Path:
    folder = run_dir / FOLDER / str(step)
    names = (folder.with_name(f"{step}.damaged{i}") for i in itertools.count(1))
    return folder.rename(next(name for name in names if not name.exists()))


def find_run(path: pathlib.Path) -> pathlib.Path:
    """Returns the run's folder for a run, its best step, `checkpoints` or one of them.

    Raises:
      ValueError: If no checkpoint lies there.
    """
    path = pathlib.Path(path)
    if (path / FOLDER).is_dir():
        return path
    if path.name == BEST and (path.parent / FOLDER).is_dir():
        return path.parent
    folder = path.parent if path.name.isdigit() else path
    if folder.name == FOLDER and path.is_dir():
        return folder.parent
    raise ValueError(
        f"{path} holds no checkpoint: expected a run's folder such as runs/derain, with "
        f"a folder {FOLDER!r} inside."
    )


def load_modules(path: pathlib.Path) -> tuple[dict[str, Params], dict[str, Any]]:
    """Loads the weights of a run: the moving average where it keeps one.

    Args:
      path: A run's folder, for its last step; the name "best" inside it, for its best
        one (`config.best_metric`); or one step's folder inside its `checkpoints`.

    Returns:
      Params by module, on the host; and the metadata with the entry `step` added.

    Raises:
      ValueError: If there is no finished checkpoint, or none was chosen as the best.
      CheckpointError: If the step is damaged.
    """
    run_dir, step = _find_step(pathlib.Path(path))
    metadata = read_metadata(run_dir, step)
    modules = _read_arrays(
        run_dir, step, "ema" if metadata["ema"] else "params", metadata
    )
    del metadata[_CHECKSUMS]
    return modules, {**metadata, "step": step}


def _find_step(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """The run's folder and the step that a path names."""
    run_dir = find_run(path)
    steps = saved_steps(run_dir)
    step = max(steps, default=None)
    if path != run_dir and path.name.isdigit():
        step = int(path.name)
    if step not in steps:
        raise ValueError(
            f"{path} holds no finished checkpoint; steps in {run_dir}: "
            f"{steps or 'none'}."
        )
    if path != run_dir and path.name == BEST:
        best = read_metadata(run_dir, step).get("best")
        if best is None:
            raise ValueError(
                f"{run_dir} has no best step yet, or was trained without "
                f"--config.best_metric; name the run itself, for its last step {step}."
            )
        step = best["step"]
    return run_dir, step


class Ancestors(NamedTuple):
    """What a run came from, by way of all earlier runs.

    Attributes:
      digests: Of the modules that were handed over.
      runs: The resolved folders of the earlier runs.
      are_all: Whether each of those steps is still there, to tell of those before it.
    """

    digests: frozenset[str]
    runs: frozenset[pathlib.Path]
    are_all: bool


def find_ancestors(path: pathlib.Path) -> Ancestors:
    """Returns what a run came from.

    Args:
      path: As of `load_modules`.
    """
    digests: set[str] = set()
    runs: set[pathlib.Path] = set()
    are_all = True
    remaining = [_find_step(pathlib.Path(path))]
    while remaining:
        run_dir, step = remaining.pop()
        if step not in saved_steps(run_dir):
            are_all = False
            continue
        for origin in read_metadata(run_dir, step)["origins"].values():
            if origin["digest"] not in digests:
                earlier = run_dir.parent / origin["run"]
                digests.add(origin["digest"])
                runs.add(earlier.resolve())
                remaining.append((earlier, origin["step"]))
    return Ancestors(frozenset(digests), frozenset(runs), are_all)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON to a temporary name, then renames it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    temporary.replace(path)


def read_json(path: pathlib.Path) -> Any:
    """Reads what `write_json` wrote.

    Raises:
      ValueError: If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
