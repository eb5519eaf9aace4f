"""Trained weights: loads them, rebuilds their networks, finds their ancestors, packs them.

A path is the folder of a run, for its last step; `best` inside it, for its best step
(`config.best_metric`); the folder of a step inside its `checkpoints`; or a packed file.
"shipped" is the name of the weights included in the package (see `shipped.find`).
"""

import functools
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax import models, user_paths
from ttl_jax.weights import (
    fingerprints,
    flat_params,
    packed_files,
    published,
    saved_runs,
    shipped,
)
from ttl_jax.weights.flat_params import Params

_ANCESTORS = "ancestors"  # metadata entry of packed files


class Ancestors(NamedTuple):
    """All weights of earlier runs from which some weights were trained.

    Attributes:
      digests: Digests of the modules that later runs started from.
      runs: Resolved folders of the earlier runs; unknown for a packed run.
      are_all: Whether the list is complete, because every earlier step still exists, with
        the weights from which the later run started.
    """

    digests: frozenset[str]
    runs: frozenset[pathlib.Path]
    are_all: bool


def load(path: str | os.PathLike | None) -> tuple[dict[str, Params], dict[str, Any]]:
    """Loads trained weights: the moving average, if the run has one.

    Args:
      path: A path or name as above; None means "shipped".

    Returns:
      Params by module, on the host; and the run's metadata with the entry `step` added.

    Raises:
      ValueError: If there are no weights, or they are damaged.
    """
    path = shipped.find(path)
    if published.is_published(path):
        raise ValueError(
            f"{path} is a file of PyTorch; pack it: ttl-jax pack {path} --output "
            f"{path.with_suffix(packed_files.SUFFIX).name}"
        )
    if not _is_file(path):
        return saved_runs.read(path)
    modules, metadata = packed_files.read(path)
    _check_metadata(path, metadata)
    if metadata["modules"].keys() != modules.keys():
        raise ValueError(
            f"{path} has the modules {sorted(modules)}, but its metadata describes others."
        )
    del metadata[_ANCESTORS]
    return modules, metadata


def read_metadata(path: str | os.PathLike | None) -> dict[str, Any]:
    """Returns the metadata of trained weights without their arrays; raises as `load`."""
    path = shipped.find(path)
    if not _is_file(path):
        return saved_runs.read_metadata(*saved_runs.find_step(path))
    metadata = packed_files.read_metadata(path)
    _check_metadata(path, metadata)
    return metadata


def rebuild(
    path: str | os.PathLike | None,
    factories: Mapping[str, Collection[str]],
    *,
    purpose: str,
) -> tuple[dict[str, nnx.Module], dict[str, Any]]:
    """Builds the networks of a run from its weights and the description saved with them.

    Args:
      path: A path or name, as for `load`.
      factories: Possible names in `models.FACTORIES` of each module to build, by module.
      purpose: Use of the networks and the stage that trains them, for error messages.

    Returns:
      The networks by module, and the metadata as from `load`.

    Raises:
      ValueError: As `load`, or if the run has other modules.
    """
    path = shipped.find(path)
    params, metadata = load(path)
    if not factories.keys() <= params.keys():
        raise ValueError(
            f"{path} holds {sorted(params)}, not {sorted(factories)}; {purpose}."
        )
    for name, possible in factories.items():
        found = metadata["modules"][name]["factory"]
        if found not in possible:
            raise ValueError(
                f"The {name} of {path} comes from {found}, not {' or '.join(possible)}; "
                f"{purpose}."
            )
    described = metadata["modules"]
    networks = {n: _build(described[n], params[n], path, n) for n in factories}
    return networks, metadata


def _build(description, params: Params, path: pathlib.Path, name: str) -> nnx.Module:
    fault = f"{path}: {name!r} cannot be built from its description"
    arguments = dict(description)
    factory = models.FACTORIES[arguments.pop("factory")]
    for field, value in arguments.items():  # a forged large number would take forever
        count = _count_parts(field, value)
        if count > len(params):
            raise ValueError(
                f"{fault}: {field} needs {count} parts, but only {len(params)} arrays are "
                "saved."
            )
    try:
        # Only shapes: forged sizes must not allocate memory.
        make = functools.partial(factory, **arguments)
        graph, initial = flat_params.split_factory(make)
    except Exception as error:  # The arguments may be anything.
        raise ValueError(f"{fault}, from {description}: {error}") from error
    flat_params.verify_params(params, initial, source=str(path), module=name)
    return flat_params.merge_module(graph, jax.tree.map(jnp.asarray, params))


def _count_parts(field: str, value: Any) -> int:
    """Returns how many blocks or pools a field describes; blocks of all scales together."""
    if field == "pools" and isinstance(value, list):
        return len(value)
    if not field.endswith("blocks"):
        return 0
    counts = value if isinstance(value, list) else [value]
    return sum(count for count in counts if isinstance(count, int))


def find_run(path: str | os.PathLike) -> pathlib.Path:
    """Returns the resolved path of the run's folder, or of the packed file.

    Raises:
      ValueError: If there are no weights.
    """
    path = pathlib.Path(path)
    return (path if _is_file(path) else saved_runs.run_folder(path)).resolve()


def find_name(path: str | os.PathLike) -> str:
    """Returns a short name of weights, for tables and messages; raises as `find_run`."""
    run = find_run(path)
    return shipped.name_of(run) or (run.stem if _is_file(run) else run.name)


def path_of(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of weights from which a run in `workdir` starts.

    Args:
      workdir: Folder of all runs.
      name: Name of a run in `workdir`, another path, or a name of shipped weights.

    Raises:
      ValueError: If the name means shipped weights that do not exist.
    """
    if shipped.is_shipped(name):
        return shipped.find(name)
    beside, elsewhere = workdir / name, user_paths.expand(name)
    return elsewhere if not has_weights(beside) and has_weights(elsewhere) else beside


def has_weights(path: pathlib.Path) -> bool:
    """Returns whether a path is a packed file, or belongs to a run with a saved step."""
    try:
        run = find_run(path)
    except ValueError:
        return False
    return _is_file(run) or bool(saved_runs.saved_steps(run))


def find_ancestors(path: str | os.PathLike | None) -> Ancestors:
    """Returns the ancestors of trained weights.

    Args:
      path: A path or name, as for `load`.

    Raises:
      ValueError: If there are no weights, or they are damaged.
    """
    digests, runs, are_all = set(), set(), True
    remaining = [shipped.find(path)]
    while remaining:
        path = remaining.pop()
        if _is_file(path):
            metadata = read_metadata(path)
            digests.update(metadata[_ANCESTORS]["digests"])
            are_all &= metadata[_ANCESTORS]["are_all"]
            continue
        run_dir, step = saved_runs.find_step(path)
        for origin in saved_runs.read_metadata(run_dir, step)["origins"].values():
            if origin["digest"] in digests:
                continue
            digests.add(origin["digest"])
            earlier = path_of(run_dir.parent, origin["run"])
            runs.add(find_run(earlier) if has_weights(earlier) else earlier.resolve())
            if step_path := _find_origin(earlier, origin):
                remaining.append(step_path)
            else:
                are_all = False
    return Ancestors(frozenset(digests), frozenset(runs), are_all)


def pack(
    path: str | os.PathLike,
    output: pathlib.Path,
    sums: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Writes trained weights and their metadata to one file.

    Args:
      path: A path or name, as for `load`, or a PyTorch checkpoint of Restormer or NAFNet.
      output: File to write; its suffix is `packed_files.SUFFIX`.
      sums: `attention_cell` and `attention_radius` of the encoder in the file, see
        `models.EncoderConfig`; None: as the run has them.

    Returns:
      The metadata in the file.

    Raises:
      ValueError: As `load`; if the suffix is invalid; or if the network cannot have the
        sums.
      OSError: If the file cannot be written; an earlier file is kept.
    """
    if published.is_published(source := user_paths.expand(path)):
        modules, metadata = published.read(source)
        digests, are_all = set(), False
    else:
        modules, metadata = load(path)
        digests, _, are_all = find_ancestors(path)
    metadata[_ANCESTORS] = {"digests": sorted(digests), "are_all": are_all}
    if sums is not None:
        _change_sums(metadata["modules"].get("encoder", {}), sums, path)
        _build(metadata["modules"]["encoder"], modules["encoder"], output, "encoder")
    packed_files.write(output, modules, metadata)
    return metadata


def _change_sums(encoder: dict[str, Any], sums: tuple[int, int], path) -> None:
    """Changes the sums in the description of an encoder."""
    branch = encoder.get("global_branch", models.EncoderConfig().global_branch)
    if encoder.get("factory") != "make_encoder" or branch != "channel":
        raise ValueError(
            f"{path} has no channel attention, so it cannot have local sums."
        )
    encoder["attention_cell"], encoder["attention_radius"] = sums


def _find_origin(path: pathlib.Path, origin: dict[str, Any]) -> pathlib.Path | None:
    """Returns the path of the weights of an origin, or None if they no longer exist."""
    if not has_weights(path):
        return None
    run = find_run(path)
    if _is_file(run):
        digest = packed_files.read_digests(run).get(origin["module"])
        return run if digest == origin["digest"] else None
    step = run / saved_runs.FOLDER / str(origin["step"])
    return step if _digests(step).get(origin["module"]) == origin["digest"] else None


def _digests(step: pathlib.Path) -> dict[str, str]:
    """Returns the digest of each module of a saved step; empty if it cannot be read."""
    try:
        modules, _ = saved_runs.read(step)
    except ValueError:
        return {}
    return {name: fingerprints.digest(params) for name, params in modules.items()}


def _is_file(path: pathlib.Path) -> bool:
    return path.suffix == packed_files.SUFFIX and path.is_file()


def _check_metadata(path: pathlib.Path, metadata: dict[str, Any]) -> None:
    match metadata:
        case {
            "step": int(),
            "ancestors": {"digests": list(digests), "are_all": bool()},
        }:
            are_texts = all(isinstance(digest, str) for digest in digests)
            if are_texts and saved_runs.is_metadata(metadata):
                return
    raise ValueError(
        f"{path} has missing or malformed metadata; was it written by ttl_jax.pack?"
    )
