"""Loads and checks the modules of earlier runs from which a stage starts."""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from absl import logging

from ttl_jax.stages.stage import Origin, Stage
from ttl_jax.weights import fingerprints, flat_params, saved_runs, trained
from ttl_jax.weights.flat_params import Params

# Fields that may change if a module is trained further, since it adapts to other sums.
_SUMS = {"attention_cell", "attention_radius"}
# Fields that have no effect once weights are loaded.
_WITHOUT_EFFECT = {"remat", "alpha_init", "beta_init"}


class Loaded(NamedTuple):
    """A module of an earlier run.

    Attributes:
      params: Params by dotted name.
      network: Factory and arguments, from the checkpoint of the run.
      origin: Run, module, step and digest, as values of JSON.
    """

    params: Params
    network: Mapping[str, Any]
    origin: dict[str, Any]


def load(stage: Stage, workdir: pathlib.Path) -> dict[str, Loaded]:
    """Loads the modules from which a stage starts, by name, from runs in `workdir`.

    Modules of runs that no longer exist are left out.

    Raises:
      ValueError: If a run is damaged or lacks a module.
    """
    names = sorted({source.run for source in stage.init_from.values()})
    paths = {run: trained.path_of(workdir, run) for run in names}
    runs = {
        run: trained.load(path)
        for run, path in paths.items() if trained.has_weights(path)
    }  # fmt: skip
    for run, (_, metadata) in runs.items():
        step, num_steps = metadata["step"], metadata["config"]["num_steps"]
        if step < num_steps:
            message = "Weights of step %d of %d of the run %r are used."
            logging.warning(message, step, num_steps, run)
    loaded = {}
    for name, source in stage.init_from.items():
        if source.run not in runs:
            continue
        modules, metadata = runs[source.run]
        _check_holds(source, modules, stage, name)
        params = modules[source.module]
        origin = {"run": source.run, "module": source.module, "step": metadata["step"]}
        origin["digest"] = fingerprints.digest(params)
        loaded[name] = Loaded(params, metadata["modules"][source.module], origin)
    return loaded


def _check_holds(
    source: Origin, modules: Collection[str], stage: Stage, name: str
) -> None:
    """Raises ValueError if a run lacks the module from which a stage starts."""
    if source.module not in modules:
        raise ValueError(
            f"The run {source.run!r} holds {sorted(modules)}, but {name!r} of stage "
            f"{stage.run!r} starts from its {source.module!r}."
        )


def check_usable(
    stage: Stage, workdir: pathlib.Path, coming: Collection[Any] = ()
) -> None:
    """Checks by metadata that a stage can start from its runs, as they are or will be.

    Args:
      coming: Each `run.Run` that will be trained before this one.

    Raises:
      ValueError: If runs are missing; the message names them and the commands that train
        them. Or if a run has other modules or networks than this stage starts from.
    """
    missing: dict[str, Origin] = {}
    for name, source in stage.init_from.items():
        path = workdir / source.run
        runs = [run for run in coming if path.is_relative_to(run.directory)]
        if runs:
            modules = _describe_coming(runs[0], path, source, stage)
        elif trained.has_weights(path := trained.path_of(workdir, source.run)):
            modules = trained.read_metadata(path)["modules"]
        else:
            missing[source.run] = source
            continue
        _check_holds(source, modules, stage, name)
        _check_network(modules[source.module], stage, name)
    if not missing:
        return
    if unknown := [run for run, source in missing.items() if not source.command]:
        raise ValueError(
            f"Stage {stage.run!r} starts from {', '.join(map(repr, unknown))}, but there "
            f"is no such run in {workdir}, and no run or packed file at that path."
        )
    commands = "".join(
        f"\n  python -m ttl_jax.main {source.command} --workdir={workdir}"
        for source in missing.values()
    )
    raise ValueError(
        f"Stage {stage.run!r} starts from {', '.join(map(repr, missing))}, missing in "
        f"{workdir}. Train them first, with your flags for data:{commands}"
    )


def _describe_coming(
    run, path: pathlib.Path, source: Origin, stage: Stage
) -> dict[str, dict[str, Any]]:
    """Returns the modules that a coming run saves; raises ValueError if not at `path`."""
    steps, run_name = run.directory / saved_runs.FOLDER, run.directory.name
    kept = [run.directory, steps, steps / str(run.config.num_steps)]
    if run.config.best_metric:
        kept.append(run.directory / saved_runs.BEST)
    if path not in kept:
        raise ValueError(
            f"Stage {stage.run!r} starts from {source.run!r}, which the run {run_name!r} of "
            f"this command will not have: name {run_name!r} for its last step, or "
            f"'{run_name}/{saved_runs.BEST}' with its field best_metric."
        )
    return {name: run.stage.describe_module(name) for name in run.stage.trainable}


def check_fits(loaded: Loaded, stage: Stage, name: str, wanted: Params) -> None:
    """Checks that a loaded module is the same network as a module of the stage.

    A module that is trained further may use other sums; the change is logged.

    Args:
      wanted: Params of this module, with the right names, shapes and types.

    Raises:
      ValueError: If params or arguments differ; the message names them.
    """
    source = f"The {loaded.origin['module']} of run {loaded.origin['run']!r}"
    flat_params.verify_params(loaded.params, wanted, source=source, module=name)
    if changes := _check_network(loaded.network, stage, name):
        logging.warning("%s is trained further: %s.", source, changes)


def _check_network(network: Mapping[str, Any], stage: Stage, name: str) -> str:
    """Checks that a module of a stage has the description of the module it starts from.

    Returns:
      Changes of the sums of a module that is trained further, which are allowed.

    Raises:
      ValueError: If other fields differ; the message names them.
    """
    saved, here = map(_used_fields, (network, stage.describe_module(name)))
    fields = sorted(saved.keys() | here.keys())
    changed = [field for field in fields if saved.get(field) != here.get(field)]
    changes = "; ".join(
        f"{field} was {saved.get(field)!r}, is {here.get(field)!r}" for field in changed
    )
    if changed and not (name in stage.trainable and set(changed) <= _SUMS):
        source = stage.init_from[name]
        raise ValueError(
            f"The {source.module} of run {source.run!r} is a different network than "
            f"{name!r} of stage {stage.run!r}: {changes}. Use the preset and the network's "
            "fields of that run, or train it again."
        )
    return changes


def _used_fields(network: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a network that affect its results.

    The fields of sums have an effect only in channel attention with cells. Descriptions
    of earlier versions lack these fields: their sums are over the whole image.
    """
    is_local = (
        network.get("attention_cell") and network.get("global_branch") == "channel"
    )
    unused = _WITHOUT_EFFECT if is_local else _WITHOUT_EFFECT | _SUMS
    return {field: value for field, value in network.items() if field not in unused}
