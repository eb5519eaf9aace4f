"""Checkpoints: arrays and JSON by Orbax, one folder per run, verified leaf by leaf.

A module's params are a flat dict from dotted names ("blocks.0.alpha") to arrays, so that
a checkpoint can be read, listed and compared without the code that made it. A step holds

    params/<module>/<leaf>    the weights of each trainable module
    ema/<module>/<leaf>       their moving average, where the run keeps one
    progress/                 step, optimizer state and so on, to go on training
    metadata                  JSON: config, networks, where modules were loaded from
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

FOLDER = "checkpoints"
BEST = "best"  # runs/derain/best names the best step of runs/derain

Params = dict[str, jax.Array]


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
        ".".join(map(str, path)): variable[...]
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
        self._manager = ocp.CheckpointManager(
            (run_dir / FOLDER).absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._kept, create=True
            ),
            item_handlers=_make_handlers(),
        )

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
        """
        self._kept.best_step = (metadata.get("best") or {}).get("step")
        arguments = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        arguments["metadata"] = ocp.args.JsonSave(metadata)
        self._manager.save(step, args=ocp.args.Composite(**arguments), force=True)

    def restore(self, step: int, items: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the items of a step, placed as their templates are.

        Args:
          step: A step that was saved.
          items: Trees of arrays or `jax.ShapeDtypeStruct` with sharding, by item.

        Raises:
          ValueError: If a leaf's name, shape or type is not the template's.
        """
        source = f"{self.run_dir} at step {step}"
        saved = self._manager.item_metadata(step)
        for name, template in items.items():
            verify_params(
                _flatten(saved[name] or {}),
                _flatten(template),
                source=source,
                module=name,
            )
        arguments = {
            name: ocp.args.StandardRestore(jax.tree.map(_as_template, template))
            for name, template in items.items()
        }
        restored = self._manager.restore(step, args=ocp.args.Composite(**arguments))
        return {name: restored[name] for name in items}

    def close(self) -> None:
        """Waits, then releases the run's files."""
        self._manager.close()


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


def saved_steps(run_dir: pathlib.Path) -> list[int]:
    """Returns the steps that a run has saved whole, ascending; none if it never began."""
    folder = run_dir / FOLDER
    return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def read_metadata(run_dir: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns what `Checkpointer.save` was given as the metadata of a step."""
    return _read_item(run_dir, step, metadata=ocp.args.JsonRestore())


def _read_item(run_dir, step, **item):
    (name,) = item
    with _make_reader() as reader:
        folder = _folder_of(run_dir, step)
        return reader.restore(folder, args=ocp.args.Composite(**item))[name]


def _read_arrays(run_dir, step, item):
    """A tree of arrays on the host, on whatever devices of whichever process it was."""
    with _make_reader() as reader:
        saved = reader.metadata(_folder_of(run_dir, step)).item_metadata[item]
    # Without a template Orbax asks for the devices that there were in training.
    template = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), saved)
    return _read_item(run_dir, step, **{item: ocp.args.StandardRestore(template)})


def _make_reader() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler(**_make_handlers()))


def _folder_of(run_dir: pathlib.Path, step: int) -> pathlib.Path:
    return (run_dir / FOLDER / str(step)).absolute()


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
    """
    run_dir, step = _find_step(pathlib.Path(path))
    metadata = read_metadata(run_dir, step)
    item = "ema" if metadata["ema"] else "params"
    return _read_arrays(run_dir, step, item), {**metadata, "step": step}


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
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
