"""Trained weights by their path: of a run, or of a file that was packed of one.

A path is a run's folder, for its last step; the name "best" inside it, for its best one
(`config.best_metric`); one step's folder inside its `checkpoints`; or a file that `pack`
wrote. A run names what it starts from by a folder beside its own, by any such path, or as
"shipped": the weights that come with the package.
"""

import pathlib
from typing import Any, NamedTuple

from ttl_jax import user_paths
from ttl_jax.weights import saved_runs, shipped, weight_files
from ttl_jax.weights.flat_params import Params

_ANCESTORS = "ancestors"  # what a packed run came from, in its metadata


class Ancestors(NamedTuple):
    """What weights came from, by way of all earlier runs.

    Attributes:
      digests: Of the modules that were handed over.
      runs: The resolved folders of the earlier runs; those of a packed one are not known.
      are_all: Whether each of those steps is still there, to tell of those before it.
    """

    digests: frozenset[str]
    runs: frozenset[pathlib.Path]
    are_all: bool


def load_modules(path: pathlib.Path) -> tuple[dict[str, Params], dict[str, Any]]:
    """Loads trained weights: the moving average where the run keeps one.

    Returns:
      Params by module, on the host; and the metadata with the entry `step` added.

    Raises:
      ValueError: If there are none, or they are damaged.
    """
    path = pathlib.Path(path)
    if not _is_file(path):
        return saved_runs.load_modules(path)
    modules, metadata = weight_files.read(path)
    _check_metadata(path, metadata)
    if metadata["modules"].keys() != modules.keys():
        raise ValueError(f"{path} holds {sorted(modules)}, but tells of others.")
    del metadata[_ANCESTORS]
    return modules, metadata


def find_run(path: pathlib.Path) -> pathlib.Path:
    """Returns the run's folder that a path names, or the file, resolved.

    Raises:
      ValueError: If no weights lie there.
    """
    path = pathlib.Path(path)
    return (path if _is_file(path) else saved_runs.find_run(path)).resolve()


def find_name(path: pathlib.Path) -> str:
    """Returns the name of the run or file, for tables and messages.

    Raises:
      ValueError: If no weights lie there.
    """
    run = find_run(path)
    if name := shipped.name_of(run):
        return name
    return run.stem if _is_file(run) else run.name


def locate(workdir: pathlib.Path, run: str) -> pathlib.Path:
    """Returns the path of what a run in `workdir` starts from, by its name for it."""
    if shipped.is_shipped(run):
        return shipped.find_derain(run)
    beside, elsewhere = workdir / run, user_paths.expand(run)
    return elsewhere if not exist(beside) and exist(elsewhere) else beside


def exist(path: pathlib.Path) -> bool:
    """Whether a file lies there, or a run that has saved a step."""
    try:
        run = find_run(path)
    except ValueError:
        return False
    return _is_file(run) or bool(saved_runs.saved_steps(run))


def find_ancestors(path: pathlib.Path) -> Ancestors:
    """Returns what trained weights came from.

    Raises:
      ValueError: If there are none, or they are damaged.
    """
    digests: set[str] = set()
    runs: set[pathlib.Path] = set()
    are_all = True
    remaining = [pathlib.Path(path)]
    while remaining:
        path = remaining.pop()
        if _is_file(path):
            metadata = weight_files.read_metadata(path)
            _check_metadata(path, metadata)
            digests.update(metadata[_ANCESTORS]["digests"])
            are_all &= metadata[_ANCESTORS]["are_all"]
            continue
        run_dir, step = saved_runs.find_step(path)
        for origin in saved_runs.read_metadata(run_dir, step)["origins"].values():
            if origin["digest"] in digests:
                continue
            digests.add(origin["digest"])
            earlier = locate(run_dir.parent, origin["run"])
            runs.add(find_run(earlier) if exist(earlier) else earlier.resolve())
            if step_path := _find_origin(earlier, origin):
                remaining.append(step_path)
            else:
                are_all = False
    return Ancestors(frozenset(digests), frozenset(runs), are_all)


def pack(path: pathlib.Path, output: pathlib.Path) -> dict[str, Any]:
    """Writes trained weights to one file, with all that is known of them.

    Args:
      path: Of the weights.
      output: The file; its suffix is `weight_files.SUFFIX`.

    Returns:
      The metadata that the file holds.

    Raises:
      ValueError: As `load_modules`; or if the file is named otherwise.
      OSError: If it cannot be written; what was there before still is.
    """
    modules, metadata = load_modules(path)
    ancestors = find_ancestors(path)
    metadata[_ANCESTORS] = {
        "digests": sorted(ancestors.digests),
        "are_all": ancestors.are_all,
    }
    weight_files.write(output, modules, metadata)
    return metadata


def _find_origin(path: pathlib.Path, origin: dict[str, Any]) -> pathlib.Path | None:
    """The path of the weights that were handed over, if they are still there."""
    if not exist(path):
        return None
    run = find_run(path)
    if _is_file(run):
        told = weight_files.read_digests(run)
        return run if told.get(origin["module"]) == origin["digest"] else None
    step = origin["step"]
    is_there = step in saved_runs.saved_steps(run)
    return run / saved_runs.FOLDER / str(step) if is_there else None


def _is_file(path: pathlib.Path) -> bool:
    return path.suffix == weight_files.SUFFIX and path.is_file()


def _check_metadata(path: pathlib.Path, metadata: dict[str, Any]) -> None:
    match metadata:
        case {
            "step": int(),
            "ancestors": {"digests": list(digests), "are_all": bool()},
        }:
            are_texts = all(isinstance(digest, str) for digest in digests)
            if are_texts and saved_runs.is_metadata(metadata):
                return
    raise ValueError(f"{path} does not tell of its weights what training writes.")
