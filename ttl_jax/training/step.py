"""One update and one evaluation of any stage, as jitted functions."""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import einops
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh

from ttl_jax.stages.stage import Stage
from ttl_jax.training import sharding
from ttl_jax.training.state import Networks, TrainState
from ttl_jax.weights import flat_params


def make_train_step(
    stage: Stage,
    networks: Networks,
    tx: optax.GradientTransformationExtraArgs,
    mesh: Mesh,
    placement: TrainState,
    *,
    seed: int,
    compute_dtype: str,
    num_micro_batches: int,
    ema_decay: float,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Returns `train_step(state, frozen, batch) -> (state, scalars)`.

    Random numbers depend on the seed and the state's step. An update whose loss or
    gradient is not finite is discarded and its step noted in `bad_step`, without a word
    to the host: its batch is skipped, and the step and the schedules of the learning
    rates go on, so that later batches meet what they would have met. The batch's
    `replaced` (1 for images that stand in for others) is for the scalars alone, as
    `replaced_images`, its mean.

    Args:
      stage: What is trained.
      networks: Its modules.
      tx: Its optimizer.
      mesh: The mesh of all devices; batches are spread over it.
      placement: Where each array of the state lives. Params that are spread over the
        devices are gathered for the computation, and their gradients spread again.
      seed: Seed of the run.
      compute_dtype: Type the networks compute in; params, losses and the optimizer stay
        in float32.
      num_micro_batches: Parts a batch is computed in, one after the other.
      ema_decay: Decay of the moving average once warm, used where the state has one.
    """

    replicated, over_batch = sharding.replicated(mesh), sharding.over_batch(mesh)

    def loss_of(params, frozen, batch, key):
        modules = _build_modules(networks, params, frozen, compute_dtype)
        return stage.loss_fn(modules, _to_unit_range(batch), key)

    def train_step(state: TrainState, frozen, batch):
        """The next state, and scalars of this update."""
        replaced = batch["replaced"].mean()
        batch = {name: rows for name, rows in batch.items() if name != "replaced"}
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        whole = lax.with_sharding_constraint(state.params, replicated)
        (loss, scalars), grads = _mean_over_micro_batches(
            lambda rows, key: gradient_of(whole, frozen, rows, key),
            batch,
            key,
            num_micro_batches,
        )
        grads = lax.with_sharding_constraint(grads, placement.params)
        grad_norm = optax.tree.norm(grads)
        updates, opt_state = tx.update(grads, state.opt_state, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)
        ema = _update_ema(state.ema, params, state.step, ema_decay)

        is_finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        params, ema, opt_state = _update_if(
            is_finite,
            (params, ema, opt_state),
            (state.params, state.ema, state.opt_state),
        )
        new_state = TrainState(
            step=state.step + 1,
            params=params,
            ema=ema,
            opt_state=opt_state,
            bad_step=jnp.where(is_finite, state.bad_step, state.step),
        )
        own = {"loss": loss, "grad_norm": grad_norm, "replaced_images": replaced}
        return new_state, {**scalars, **own}

    return jax.jit(
        train_step,
        in_shardings=(placement, replicated, over_batch),
        out_shardings=(placement, replicated),
        donate_argnums=0,
    )


def make_eval_step(
    stage: Stage,
    networks: Networks,
    mesh: Mesh,
    *,
    compute_dtype: str,
    num_samples: int,
) -> Callable[..., tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
    """Returns `eval_step(weights, frozen, batch, key) -> (metrics, images)`.

    The metrics are [N], per image, with the batch's `mask` (1 for rows that count) among
    them. The images are those of the stage's `images_fn`, of the first `num_samples`
    rows; XLA computes what both functions have in common once.
    """

    replicated, over_batch = sharding.replicated(mesh), sharding.over_batch(mesh)

    def eval_step(weights, frozen, batch, key):
        weights = lax.with_sharding_constraint(weights, replicated)
        modules = _build_modules(networks, weights, frozen, compute_dtype)
        batch = _to_unit_range(batch)
        metrics = {**stage.eval_fn(modules, batch, key), "mask": batch["mask"]}
        if not (stage.images_fn and num_samples):
            return metrics, {}
        images = stage.images_fn(modules, batch, key)
        # A plain dict would come back sorted.
        return metrics, collections.OrderedDict(
            (name, rows[:num_samples]) for name, rows in images.items()
        )

    return jax.jit(
        eval_step,
        in_shardings=(None, replicated, over_batch, replicated),  # None: as they are
        out_shardings=replicated,
    )


def metric_names(stage: Stage, batch: Mapping[str, Any]) -> list[str]:
    """Returns what an evaluation gives numbers of, without computing them.

    Args:
      stage: The stage.
      batch: Arrays of a batch, or their shapes and types.
    """

    def evaluate(batch):
        modules = {name: make(rngs=nnx.Rngs(0)) for name, make in stage.modules.items()}
        return stage.eval_fn(modules, _to_unit_range(batch), jax.random.key(0))

    return list(stage.summaries or jax.eval_shape(evaluate, batch))


def _build_modules(networks, trained, frozen, compute_dtype) -> dict[str, Callable]:
    frozen = lax.stop_gradient(frozen)
    modules = {}
    for name, params in {**trained, **frozen}.items():
        params = {leaf: value.astype(compute_dtype) for leaf, value in params.items()}
        module = flat_params.merge_module(networks.graphs[name], params)
        modules[name] = _in_compute_dtype(module, compute_dtype)
    return modules


def _in_compute_dtype(module, dtype) -> Callable:
    """A module that computes in `dtype` and returns float32.

    Its first input decides the type. A decoder's second one, the image that it adds its
    residual to, keeps its precision.
    """

    def apply(x, *others):
        return module(x.astype(dtype), *others).astype(jnp.float32)

    return apply


def _to_unit_range(batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Images from 8 bits to float in [0, 1]; they travel to the device as bytes."""
    return {
        name: value.astype(jnp.float32) / 255 if value.dtype == jnp.uint8 else value
        for name, value in batch.items()
    }


def _mean_over_micro_batches(gradient_of, batch, key, num_micro_batches) -> Any:
    """Means of what `gradient_of(rows, key)` returns for equal parts of the batch."""
    if num_micro_batches == 1:
        return gradient_of(batch, key)
    # Rows stay on their device: each micro-batch takes its share of every device's rows.
    parts = jax.tree.map(
        lambda rows: einops.rearrange(
            rows, "(b parts) ... -> parts b ...", parts=num_micro_batches
        ),
        batch,
    )
    keys = jax.random.split(key, num_micro_batches)

    def add(total, part):
        return jax.tree.map(jnp.add, total, gradient_of(*part)), None

    first = jax.tree.map(lambda rows: rows[0], (parts, keys))
    rest = jax.tree.map(lambda rows: rows[1:], (parts, keys))
    total, _ = lax.scan(add, gradient_of(*first), rest)
    return jax.tree.map(lambda value: value / num_micro_batches, total)


def _update_if(condition: jax.Array, new: Any, old: Any) -> Any:
    """One tree or the other; the schedules, which go by steps, are always new."""

    def is_schedule(node):
        return isinstance(node, optax.ScaleByScheduleState)

    def choose(new, old):
        return new if is_schedule(new) else jnp.where(condition, new, old)

    return jax.tree.map(choose, new, old, is_leaf=is_schedule)


def _update_ema(ema, params, step, decay):
    if ema is None:
        return None
    # The decay warms up, or a short run would evaluate its initial weights.
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, new: old + (1 - decay) * (new - old), ema, params)
