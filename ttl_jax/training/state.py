"""The networks and the state of a run."""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax
from absl import logging
from flax import nnx, struct
from jax.sharding import Mesh

from ttl_jax.stages.stage import Stage
from ttl_jax.training import origins, sharding
from ttl_jax.weights import flat_params
from ttl_jax.weights.flat_params import Params


@struct.dataclass
class TrainState:
    """State that a train step updates and a checkpoint stores.

    Attributes:
      step: Number of batches done, int32 scalar.
      params: Weights of the trainable modules, float32, by module.
      ema: Moving average of the weights, or None.
      opt_state: State of the optimizer and of the plateau rule.
      bad_step: Last step with a non-finite loss or gradient, int32; -1 if there is none.
    """

    step: jax.Array
    params: dict[str, Params]
    ema: dict[str, Params] | None
    opt_state: Any
    bad_step: jax.Array

    def items(self) -> dict[str, Any]:
        """Returns the trees that a checkpoint stores, by item."""
        fields = ("step", "bad_step", "opt_state")
        progress = {name: getattr(self, name) for name in fields}
        items = {"params": self.params, "progress": progress}
        return items | ({} if self.ema is None else {"ema": self.ema})

    @classmethod
    def from_items(cls, items: Mapping[str, Any]) -> Self:
        """Returns the state from its `items`."""
        return cls(params=items["params"], ema=items.get("ema"), **items["progress"])

    @property
    def placement(self) -> Self:
        """Sharding of each array."""
        return jax.tree.map(lambda leaf: leaf.sharding, self)

    @property
    def weights(self) -> dict[str, Params]:
        """The weights to evaluate: the moving average, if there is one."""
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


def create(
    config,
    stage: Stage,
    tx: optax.GradientTransformation,
    loaded: Mapping[str, origins.Loaded],
    mesh: Mesh,
) -> tuple[Networks, TrainState]:
    """Creates the networks of a stage and the state before its first update.

    A module starts from `loaded` if it is there, and otherwise from random values. (When a
    run resumes, both are overwritten.) Random values depend only on the seed and the name
    of the module, not on other modules.
    Note: both teachers and the student are called "encoder" in their stages, so they start
    from the same random values. The paper does not mention this.

    The config gives seed, ema_decay (0: no moving average) and fsdp (whether the state is
    spread over the devices; frozen params are always replicated).

    Raises:
      ValueError: If a loaded module is not the network that the stage makes.
    """
    graphs, params = {}, {}
    for name, make in stage.modules.items():
        key = jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(name.encode()))
        module = make(rngs=nnx.Rngs(params=key))
        graphs[name], params[name] = flat_params.split_module(module)
        if name in loaded:
            origins.check_fits(loaded[name], stage, name, params[name])
            params[name] = loaded[name].params
        num_params = sum(leaf.size for leaf in params[name].values())
        kind = "trained" if name in stage.trainable else "frozen"
        logging.info("%s: %s params, %s", name, f"{num_params:,}", kind)
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

    shapes = jax.eval_shape(initial_state, trained)
    placement = sharding.place_state(mesh, shapes, fsdp=config.fsdp)
    state = jax.jit(initial_state, out_shardings=placement)(trained)
    return Networks(graphs, params), state
