"""Gradient descent in float64 on the toy stage, here or in several processes.

    python -m tests.training.gradient_descent OUTPUT COORDINATOR NUM_PROCESSES INDEX

Process 0 writes the losses and the last params to OUTPUT, an .npz, by "<name>/<fsdp>".
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

from tests.training import toy_stage
from ttl_jax.training import sharding, state, step

NUM_STEPS = 20


def train(mesh, *, fsdp):
    """Losses and params of updates with a batch of eight rows each."""
    config = toy_stage.get_config(
        "", hidden=1024, compute_dtype="float64", ema_decay=0.9, fsdp=fsdp
    )
    stage = toy_stage.make_stage(config)
    tx = optax.with_extra_args_support(optax.sgd(0.002))
    networks, current = state.create(config, stage, tx, {}, mesh)
    placement = current.placement
    widen = jax.jit(
        lambda tree: jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree
        ),
        out_shardings=placement,
    )
    current = widen(current)
    train_step = step.make_train_step(config, stage, networks, tx, mesh, placement)
    losses = []
    index, count = sharding.process_share()
    rows = 8 // count
    for i in range(NUM_STEPS):
        image = np.random.default_rng(i).integers(0, 255, (8, 4, 4, 3), dtype=np.uint8)
        batch = {"image": image, "replaced": np.zeros(8, np.float32)}
        own = slice(rows * index, rows * (index + 1))
        placed = sharding.place_batch(mesh, {k: v[own] for k, v in batch.items()})
        current, scalars = train_step(current, networks.frozen, placed)
        losses.append(float(scalars["loss"]))
    assert current.placement == placement
    trees = {"params": current.params["encoder"], "ema": current.ema["encoder"]}
    whole = multihost_utils.process_allgather(trees, tiled=True)
    arrays = {f"{k}/{leaf}": v for k, tree in whole.items() for leaf, v in tree.items()}
    return {"losses": np.array(losses), **arrays}


def train_both(mesh):
    """The arrays of `train` with and without spread state, by "<name>/<fsdp>"."""
    return {
        f"{name}/{fsdp}": array
        for fsdp in (False, True)
        for name, array in train(mesh, fsdp=fsdp).items()
    }


def main(output, coordinator, num_processes, index):
    sharding.initialize_distributed(coordinator, int(num_processes), int(index))
    arrays = train_both(sharding.make_mesh())
    if sharding.is_writer():
        np.savez(output, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
