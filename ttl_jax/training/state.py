"""The state of a run, and the weights that it starts from."""

import dataclasses
import pathlib
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from flax import nnx, struct
from jax.sharding import Mesh

from ttl_jax.stages.stage import Source, Stage
from ttl_jax.training import sharding
from ttl_jax.weights import fingerprints, flat_params, trained
from ttl_jax.weights.flat_params import Params


@struct.dataclass
class TrainState:
    """State that a train step updates and a checkpoint holds.

    Attributes:
      step: Number of batches done, int32 scalar.
      params: Weights of the trainable modules, float32, by module.
      ema: Moving average of the weights, or None.
      opt_state: State of the optimizer, with that of the plateau rule.
      bad_step: Last step with a non-finite loss or gradient, int32; -1 if there is none.
    """

    step: jax.Array
    params: dict[str, Params]
    ema: dict[str, Params] | None
    opt_state: Any
    bad_step: jax.Array

    def items(self) -> dict[str, Any]:
        """Returns the trees a checkpoint stores, by item."""
        progress = {
            "step": self.step,
            "bad_step": self.bad_step,
            "opt_state": self.opt_state,
        }
        items = {"params": self.params, "progress": progress}
        return items | ({"ema": self.ema} if self.ema is not None else {})

    @classmethod
    def from_items(cls, items: Mapping[str, Any]) -> "TrainState":
        """Returns the state that has these `items`."""
        return cls(params=items["params"], ema=items.get("ema"), **items["progress"])

    @property
    def placement(self) -> "TrainState":
        """Sharding of each array."""
        return jax.tree.map(lambda leaf: leaf.sharding, self)

    @property
    def weights(self) -> dict[str, Params]:
        """The weights to evaluate: the moving average where there is one."""
        return self.params if self.ema is None else self.ema


@dataclasses.dataclass(frozen=True)
class Networks:
    """The modules of a stage, split into structure and params.

    Attributes:
      graphs: Structure by module.
      frozen: Params of the modules that do not learn, by module.
    """

    graphs: dict[str, nnx.GraphDef]
    frozen: dict[str, Params]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Params from earlier runs, for the modules that they initialise.

    Attributes:
      params: Params by module.
      networks: Factory and arguments of each module, as the run's checkpoint has them.
      origins: Run, module, step and digest of each module, as JSON values.
    """

    params: dict[str, Params]
    networks: dict[str, dict[str, Any]]
    origins: dict[str, dict[str, Any]]


def load_sources(stage: Stage, workdir: pathlib.Path) -> Loaded:
    """Loads the modules of earlier runs that a stage starts from.

    Args:
      stage: The stage.
      workdir: Folder of all runs.

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
            logging.warning(
                "Run %r stopped at step %d of %d and is used as it is.",
                run,
                step,
                num_steps,
            )
    params, networks, origins = {}, {}, {}
    for name, source in stage.init_from.items():
        modules, metadata = runs[source.run]
        if source.module not in modules:
            raise ValueError(
                f"The run {source.run!r} holds {sorted(modules)}, not the "
                f"{source.module!r} that stage {stage.run!r} starts {name!r} from."
            )
        params[name] = modules[source.module]
        networks[name] = metadata["modules"][source.module]
        origins[name] = {
            "run": source.run,
            "module": source.module,
            "step": metadata["step"],
            "digest": fingerprints.digest(params[name]),
        }
    return Loaded(params, networks, origins)


# Fields that may change in a module that is trained further: it learns the other sums.
_SUMS = {"attention_cell", "attention_radius"}
# Fields that change nothing once weights are loaded.
_WITHOUT_EFFECT = {"remat", "alpha_init", "beta_init"}


def _check_same_network(
    saved: Mapping[str, Any],
    wanted: Mapping[str, Any],
    source: str,
    *,
    module: str,
    is_trained: bool,
) -> None:
    """Refuses params that were trained in another function of the same shapes.

    A module that is trained further may use other sums; the change is logged.
    """
    saved, wanted = _without_unused_sums(saved), _without_unused_sums(wanted)
    fields = {
        field
        for field in (saved.keys() | wanted.keys()) - _WITHOUT_EFFECT
        if saved.get(field) != wanted.get(field)
    }
    changes = [
        f"{field} was {saved.get(field)!r}, is {wanted.get(field)!r}"
        for field in sorted(fields)
    ]
    if is_trained and fields and fields <= _SUMS:
        logging.warning("%s is trained further: %s.", source, "; ".join(changes))
    elif changes:
        raise ValueError(
            f"{source} is another network than {module!r} here: "
            f"{'; '.join(changes)}. Use the preset and the network's fields of that run, "
            "or train it again."
        )


def _without_unused_sums(description: Mapping[str, Any]) -> dict[str, Any]:
    """A network's description without fields of sums that have no effect.

    That is where sums run over the whole image, as in descriptions from before these
    fields existed, and in attention of other kinds.
    """
    is_local = description.get("attention_cell") and (
        description.get("global_branch") == "channel"
    )
    dropped = set() if is_local else _SUMS
    return {k: v for k, v in description.items() if k not in dropped}


def check_present(
    stage: Stage, workdir: pathlib.Path, earlier: Collection[pathlib.Path] = ()
) -> None:
    """Checks that the runs that a stage starts from are there.

    Args:
      stage: The stage.
      workdir: Folder of all runs.
      earlier: Folders of runs that will be trained before the stage starts.

    Raises:
      ValueError: Naming all missing runs, with the commands that make them.
    """
    missing: dict[str, Source] = {}
    for source in stage.init_from.values():
        path = trained.locate(workdir, source.run)
        is_coming = any(path.is_relative_to(run_dir) for run_dir in earlier)
        if not is_coming and not trained.exist(path):
            missing[source.run] = source
    if unknown := [run for run, source in missing.items() if not source.command]:
        raise ValueError(
            f"Stage {stage.run!r} starts from {', '.join(map(repr, unknown))}: there is "
            f"no such run in {workdir}, and no run or packed file at that path."
        )
    if missing:
        commands = "\n".join(
            f"  python -m ttl_jax.main {source.command} --workdir={workdir}"
            for source in missing.values()
        )
        raise ValueError(
            f"Stage {stage.run!r} starts from {', '.join(map(repr, missing))}, missing "
            f"in {workdir}. Train them first, with the data fields that you use "
            f"here:\n{commands}"
        )


def create(
    config,
    stage: Stage,
    tx: optax.GradientTransformation,
    loaded: Loaded,
    mesh: Mesh,
) -> tuple[Networks, TrainState]:
    """Builds a stage's networks and the state before its first update.

    A module starts from `loaded` if it is there, else from random values. (A run that
    resumes overwrites both.) Random values depend only on the seed and the module's name,
    so another module beside it changes nothing.
    Note: therefore both teachers and the student, which are all called "encoder" in their
    stages, start from the same random values. The paper is silent on this.

    Args:
      config: Run's config: seed, ema_decay (0: no moving average) and fsdp (whether the
        state is spread over the devices; frozen params never are).
      stage: Stage to train.
      tx: Optimizer.
      loaded: Params from earlier runs.
      mesh: Mesh of all devices.

    Raises:
      ValueError: If a loaded module is not the network that the stage makes.
    """
    graphs, params = {}, {}
    for name in stage.modules:
        graphs[name], params[name] = _create_module(name, stage, loaded, config.seed)
    params = jax.device_put(params, sharding.replicated(mesh))
    trained = {name: params.pop(name) for name in stage.trainable}

    def initial_state(trained):
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=trained,
            ema=jax.tree.map(jnp.copy, trained) if config.ema_decay else None,
            opt_state=tx.init(trained),
            bad_step=jnp.full((), -1, jnp.int32),
        )

    placement = sharding.place_state(
        mesh, jax.eval_shape(initial_state, trained), fsdp=config.fsdp
    )
    state = jax.jit(initial_state, out_shardings=placement)(trained)
    return Networks(graphs, params), state


def _create_module(name: str, stage: Stage, loaded: Loaded, seed: int):
    """Structure and params of a module, loaded or random."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    graph, params = flat_params.split_module(
        stage.modules[name](rngs=nnx.Rngs(params=key))
    )
    is_trained = name in stage.trainable
    if name in loaded.params:
        origin = loaded.origins[name]
        source = f"The {origin['module']} of run {origin['run']!r}"
        flat_params.verify_params(
            loaded.params[name], params, source=source, module=name
        )
        _check_same_network(
            loaded.networks[name],
            stage.describe_module(name),
            source,
            module=name,
            is_trained=is_trained,
        )
        params = loaded.params[name]
    num_params = sum(leaf.size for leaf in params.values())
    kind = "trained" if is_trained else "frozen"
    logging.info("%s: %s params, %s", name, f"{num_params:,}", kind)
    return graph, params
