"""Networks rebuilt from a checkpoint alone."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ttl_jax import models
from ttl_jax.weights import flat_params, saved_runs, weight_sources


def load(
    path: str | pathlib.Path, names: Sequence[str], *, factory: str, purpose: str
) -> tuple[dict[str, nnx.Module], dict[str, Any]]:
    """The networks of a run, with their weights, by name; and the run's metadata.

    Args:
      path: As of `weight_sources`, such as `runs/derain`.
      names: Which modules; the last is made by `factory`.
      factory: Name of that one's factory in `models`.
      purpose: What they are loaded for and which stage trains them, for messages.

    Raises:
      ValueError: If there is no checkpoint, it is damaged, or the run is of another kind.
    """
    params, metadata = weight_sources.load_modules(path)
    if not set(names) <= params.keys():
        raise ValueError(
            f"{path} holds {sorted(params)}, not {sorted(names)}; {purpose}."
        )
    found = metadata["modules"][names[-1]]["factory"]
    if found != factory:
        raise ValueError(
            f"The {names[-1]} of {path} comes from {found}, not {factory}; {purpose}."
        )
    modules = {
        name: _rebuild(metadata["modules"][name], params[name], path, name)
        for name in names
    }
    return modules, metadata


def read_progress(run_dir: pathlib.Path) -> tuple[int, int | None]:
    """Updates that a run has saved and that it is to do; 0 and None before the first."""
    steps = saved_runs.saved_steps(run_dir)
    if not steps:
        return 0, None
    metadata = saved_runs.read_metadata(run_dir, steps[-1])
    return steps[-1], metadata["config"]["num_steps"]


def _rebuild(description: dict[str, Any], params, path, name: str) -> nnx.Module:
    """The network that a checkpoint describes, with its params."""
    arguments = {k: v for k, v in description.items() if k != "factory"}
    if description["factory"] not in models.FACTORIES:
        raise ValueError(
            f"{path}: {name!r} comes from {description['factory']}, which is none of "
            f"{', '.join(models.FACTORIES)}; restore with the code that trained it."
        )
    for field, count in _count_parts(arguments).items():
        if count > len(params):  # to build so many would take forever
            raise ValueError(
                f"{path}: {name!r} cannot be made as its checkpoint says: {count} "
                f"{field} have more than the {len(params)} arrays that are saved."
            )
    factory = models.FACTORIES[description["factory"]]
    try:
        # Shapes alone, so that no memory is needed for sizes that are not the params'.
        graph, initial = flat_params.split_module(
            nnx.eval_shape(lambda: factory(**arguments, rngs=nnx.Rngs(0)))
        )
    except Exception as error:  # The arguments may be anything.
        raise ValueError(
            f"{path}: {name!r} cannot be made as its checkpoint says, by "
            f"{description}: {error}"
        ) from error
    flat_params.verify_params(params, initial, source=str(path), module=name)
    return flat_params.merge_module(graph, jax.tree.map(jnp.asarray, params))


def _count_parts(arguments: dict[str, Any]) -> dict[str, int]:
    """How many parts with arrays of their own a network has, by kind."""
    blocks, pools = arguments.get("num_blocks"), arguments.get("pools")
    return {
        "blocks": blocks if isinstance(blocks, int) else 0,
        "pools": len(pools) if isinstance(pools, list) else 0,
    }
