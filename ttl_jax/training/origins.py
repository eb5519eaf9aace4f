"""The modules of earlier runs that a stage starts from."""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from absl import logging

from ttl_jax.stages.stage import Source, Stage
from ttl_jax.weights import fingerprints, flat_params, trained
from ttl_jax.weights.flat_params import Params

# Fields that may change in a module that is trained further: it learns the other sums.
_SUMS = {"attention_cell", "attention_radius"}
# Fields that change nothing once weights are loaded.
_WITHOUT_EFFECT = {"remat", "alpha_init", "beta_init"}


class Loaded(NamedTuple):
    """A module of an earlier run.

    Attributes:
      params: Params by dotted name.
      network: Factory and arguments, as the run's checkpoint has them.
      origin: Run, module, step and digest, as JSON values.
    """

    params: Params
    network: Mapping[str, Any]
    origin: dict[str, Any]


def load(stage: Stage, workdir: pathlib.Path) -> dict[str, Loaded]:
    """Loads the modules that a stage starts from, by name; runs lie in `workdir`.

    Raises:
      ValueError: If a run is missing or lacks a module.
    """
    check_present(stage, workdir)
    runs = {
        run: trained.load(trained.locate(workdir, run))
        for run in sorted({source.run for source in stage.init_from.values()})
    }
    for run, (_, metadata) in runs.items():
        step, num_steps = metadata["step"], metadata["config"]["num_steps"]
        if step < num_steps:
            message = "Run %r stopped at step %d of %d and is used unfinished."
            logging.warning(message, run, step, num_steps)
    loaded = {}
    for name, source in stage.init_from.items():
        modules, metadata = runs[source.run]
        if source.module not in modules:
            raise ValueError(
                f"The run {source.run!r} holds {sorted(modules)}, not the "
                f"{source.module!r} that stage {stage.run!r} starts {name!r} from."
            )
        params = modules[source.module]
        origin = {"run": source.run, "module": source.module, "step": metadata["step"]}
        origin["digest"] = fingerprints.digest(params)
        loaded[name] = Loaded(params, metadata["modules"][source.module], origin)
    return loaded


def check_present(
    stage: Stage, workdir: pathlib.Path, earlier: Collection[pathlib.Path] = ()
) -> None:
    """Checks that the runs that a stage starts from are in `workdir`.

    Runs in the folders `earlier` will be trained before the stage starts.

    Raises:
      ValueError: Naming all missing runs, with the commands that make them.
    """
    missing: dict[str, Source] = {}
    for source in stage.init_from.values():
        path = trained.locate(workdir, source.run)
        is_coming = any(path.is_relative_to(run_dir) for run_dir in earlier)
        if not is_coming and not trained.exist(path):
            missing[source.run] = source
    if not missing:
        return
    if unknown := [run for run, source in missing.items() if not source.command]:
        raise ValueError(
            f"Stage {stage.run!r} starts from {', '.join(map(repr, unknown))}: there is "
            f"no such run in {workdir}, and no run or packed file at that path."
        )
    commands = "".join(
        f"\n  python -m ttl_jax.main {source.command} --workdir={workdir}"
        for source in missing.values()
    )
    raise ValueError(
        f"Stage {stage.run!r} starts from {', '.join(map(repr, missing))}, missing in "
        f"{workdir}. Train them first, with the data fields that you use here:{commands}"
    )


def check_fits(loaded: Loaded, stage: Stage, name: str, wanted: Params) -> None:
    """Checks that a loaded module is the network `name` that a stage makes.

    The params that the stage makes, `wanted`, have the right names, shapes and types. A
    module that is trained further may use other sums; the change is logged.

    Raises:
      ValueError: Naming the leaves or the arguments that differ.
    """
    source = f"The {loaded.origin['module']} of run {loaded.origin['run']!r}"
    flat_params.verify_params(loaded.params, wanted, source=source, module=name)
    saved, here = map(_used_fields, (loaded.network, stage.describe_module(name)))
    fields = sorted(saved.keys() | here.keys())
    changed = [field for field in fields if saved.get(field) != here.get(field)]
    changes = "; ".join(
        f"{field} was {saved.get(field)!r}, is {here.get(field)!r}" for field in changed
    )
    if changed and name in stage.trainable and set(changed) <= _SUMS:
        logging.warning("%s is trained further: %s.", source, changes)
    elif changed:
        raise ValueError(
            f"{source} is another network than {name!r} here: {changes}. Use the preset "
            "and the network's fields of that run, or train it again."
        )


def _used_fields(network: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a network that change what it computes.

    Those of sums do so in channel attention with cells only. Descriptions from before
    these fields existed lack them: their sums run over the whole image.
    """
    is_local = (
        network.get("attention_cell") and network.get("global_branch") == "channel"
    )
    unused = _WITHOUT_EFFECT if is_local else _WITHOUT_EFFECT | _SUMS
    return {field: value for field, value in network.items() if field not in unused}
