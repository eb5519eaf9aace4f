"""The state of a run: built from random weights or earlier runs, then trained."""

import dataclasses
import pathlib
import zlib
from collections.abc import Mapping
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
    """What a train step reads and returns, and a checkpoint holds.

    Attributes:
      step: Batches done, int32 scalar.
      params: Weights of the trainable modules, float32, by module.
      ema: Their moving average, or None.
      opt_state: State of the optimizer, that of the plateau rule included.
      bad_step: Last step whose loss or gradient was not finite, int32; -1 for none.
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
        """Returns the state whose `items` these are."""
        return cls(params=items["params"], ema=items.get("ema"), **items["progress"])

    @property
    def placement(self) -> "TrainState":
        """Where each array lives."""
        return jax.tree.map(lambda leaf: leaf.sharding, self)

    @property
    def weights(self) -> dict[str, Params]:
        """The weights to evaluate: the moving average where there is one."""
        return self.params if self.ema is None else self.ema


@dataclasses.dataclass(frozen=True)
class Networks:
    """The modules of a stage, taken apart.

    Attributes:
      graphs: Structure by module.
      frozen: Params of the modules that do not learn, by module.
    """

    graphs: dict[str, nnx.GraphDef]
    frozen: dict[str, Params]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Params from earlier runs, by the module they initialise.

    Attributes:
      params: Params by module.
      networks: What the run's checkpoint says of the module: factory and arguments.
      origins: For each module the run's name, module, step and digest: JSON values.
    """

    params: dict[str, Params]
    networks: dict[str, dict[str, Any]]
    origins: dict[str, dict[str, Any]]


def load_sources(stage: Stage, workdir: pathlib.Path) -> Loaded:
    """Loads what a stage starts from.

    Args:
      stage: The stage.
      workdir: Folder of all runs.

    Raises:
      ValueError: If a run is missing; all that are missing are named, with the commands
        that make them.
    """
    _check_present(stage, workdir)
    runs = {
        run: trained.load(trained.locate(workdir, run))
        for run in sorted({source.run for source in stage.init_from.values()})
    }
    params, networks, origins = {}, {}, {}
    for name, source in stage.init_from.items():
        modules, metadata = runs[source.run]
        if source.module not in modules:
            raise ValueError(
                f"The run {source.run!r} holds {sorted(modules)}, not the "
                f"{source.module!r} that stage {stage.run!r} starts {name!r} from."
            )
        if metadata["step"] < metadata["config"]["num_steps"]:
            logging.warning(
                "Run %r has stopped at step %d of %d; its %s is used as it is.",
                source.run,
                metadata["step"],
                metadata["config"]["num_steps"],
                source.module,
            )
        params[name] = modules[source.module]
        networks[name] = metadata["modules"][source.module]
        origins[name] = {
            **dataclasses.asdict(source),
            "step": metadata["step"],
            "digest": fingerprints.digest(params[name]),
        }
        del origins[name]["command"]
    return Loaded(params, networks, origins)


# What a module that is trained further may change: it learns the other sums.
_SUMS = {"attention_cell", "attention_radius"}
# What changes nothing once weights are loaded.
_WITHOUT_EFFECT = {"remat", "alpha_init", "beta_init"}


def _check_same_network(
    saved: Mapping[str, Any],
    wanted: Mapping[str, Any],
    source: str,
    *,
    module: str,
    is_trained: bool,
) -> None:
    """Refuses params whose shapes fit, but not the function they were trained in.

    A module that is trained further may take other sums, which is logged.
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
            f"{source} was trained as another network than {module!r} is here: "
            f"{'; '.join(changes)}. Use the preset and the network's fields of that run, "
            "or train it again."
        )


def _without_unused_sums(description: Mapping[str, Any]) -> dict[str, Any]:
    """A network's description; where sums run over the image, none are named.

    So it was before there were others. Attention of other kinds has no sums.
    """
    is_local = description.get("attention_cell") and (
        description.get("global_branch") == "channel"
    )
    dropped = set() if is_local else _SUMS
    return {k: v for k, v in description.items() if k not in dropped}


def _check_present(stage: Stage, workdir: pathlib.Path) -> None:
    missing: dict[str, Source] = {}
    for source in stage.init_from.values():
        if not trained.exist(trained.locate(workdir, source.run)):
            missing[source.run] = source
    if unknown := [run for run, source in missing.items() if not source.command]:
        raise ValueError(
            f"Stage {stage.run!r} starts from {', '.join(map(repr, unknown))}: neither a "
            f"run in {workdir}, nor the path of one or of a packed one."
        )
    if missing:
        commands = "\n".join(
            f"  python -m ttl_jax.main {source.command} --workdir={workdir}"
            for source in missing.values()
        )
        raise ValueError(
            f"Stage {stage.run!r} starts from {', '.join(map(repr, missing))}, which "
            f"{workdir} does not hold. Make what is missing, with the data fields that "
            f"you use here:\n{commands}"
        )


def create(
    stage: Stage,
    tx: optax.GradientTransformation,
    loaded: Loaded,
    mesh: Mesh,
    *,
    seed: int,
    keep_ema: bool,
    fsdp: bool = False,
) -> tuple[Networks, TrainState]:
    """Builds a stage's networks and the state before its first update.

    The order of initialisation: a module in `loaded`, else random. (A run that resumes
    overwrites both.) Random values depend on the seed and the module's name alone, so
    that another module beside it changes nothing.
    Note: so both teachers and the student, all called "encoder" in their stages, start
    from the same random values. The paper is silent on this.

    Args:
      stage: The stage.
      tx: Its optimizer.
      loaded: Params from earlier runs.
      mesh: The mesh of all devices.
      seed: Seed of the random values.
      keep_ema: Whether the state holds a moving average.
      fsdp: Whether the state is spread over the devices; frozen params never are.

    Raises:
      ValueError: If a loaded leaf's name, shape or type is not the network's.
    """
    graphs, params = {}, {}
    for name, make in stage.modules.items():
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
        graphs[name], params[name] = flat_params.split_module(
            make(rngs=nnx.Rngs(params=key))
        )
        if name in loaded.params:
            origin = loaded.origins[name]
            source = f"The {origin['module']} of run {origin['run']!r}"
            flat_params.verify_params(
                loaded.params[name], params[name], source=source, module=name
            )
            _check_same_network(
                loaded.networks[name],
                stage.describe_module(name),
                source,
                module=name,
                is_trained=name in stage.trainable,
            )
            params[name] = loaded.params[name]
        num_params = sum(leaf.size for leaf in params[name].values())
        kind = "trained" if name in stage.trainable else "frozen"
        logging.info("%s: %s params, %s", name, f"{num_params:,}", kind)
    params = jax.device_put(params, sharding.replicated(mesh))
    trained = {name: params.pop(name) for name in stage.trainable}

    def initial_state(trained):
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=trained,
            ema=jax.tree.map(jnp.copy, trained) if keep_ema else None,
            opt_state=tx.init(trained),
            bad_step=jnp.full((), -1, jnp.int32),
        )

    placement = sharding.place_state(
        mesh, jax.eval_shape(initial_state, trained), fsdp=fsdp
    )
    state = jax.jit(initial_state, out_shardings=placement)(trained)
    return Networks(graphs, params), state
