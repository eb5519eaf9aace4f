"""The jitted functions for one update and one evaluation of any stage."""

import collections
import functools
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
    config,
    stage: Stage,
    networks: Networks,
    tx: optax.GradientTransformationExtraArgs,
    mesh: Mesh,
    placement: TrainState,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Returns `train_step(state, frozen, batch) -> (state, scalars)`.

    Random numbers depend on the seed and the step of the state. An update with a non-finite
    loss or gradient is discarded on the devices, and its step is recorded in `bad_step`.
    The step and the learning rate schedules advance nevertheless. The field `replaced` of
    the batch (1 for images that replace unreadable ones) only gives the scalar
    `replaced_images`, its mean.

    The config gives seed, compute_dtype, num_micro_batches and ema_decay. Params, losses
    and the optimizer are always float32. Params that `placement` spreads over the devices
    are gathered for the computation, and their gradients are spread again.
    """
    replicated = sharding.replicated(mesh)

    def loss_of(params, frozen, batch, key):
        modules = _build_modules(networks, params, frozen, config.compute_dtype)
        return stage.loss_fn(modules, _to_unit_range(batch), key)

    def gradient_of(params, frozen, batch, key):
        whole = lax.with_sharding_constraint(params, replicated)
        of_part = functools.partial(
            jax.value_and_grad(loss_of, has_aux=True), whole, frozen
        )
        (loss, scalars), grads = _mean_over_micro_batches(
            of_part, batch, key, config.num_micro_batches
        )
        return loss, scalars, lax.with_sharding_constraint(grads, placement.params)

    def train_step(state: TrainState, frozen, batch):
        batch = dict(batch)
        replaced = batch.pop("replaced").mean()
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        loss, scalars, grads = gradient_of(state.params, frozen, batch, key)
        grad_norm = optax.tree.norm(grads)
        is_finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        new_state = _update(state, tx, grads, loss, is_finite, config.ema_decay)
        own = {"loss": loss, "grad_norm": grad_norm, "replaced_images": replaced}
        return new_state, {**scalars, **own}

    return jax.jit(
        train_step,
        in_shardings=(placement, replicated, sharding.over_batch(mesh)),
        out_shardings=(placement, replicated),
        donate_argnums=0,
    )


def make_eval_step(
    config, stage: Stage, networks: Networks, mesh: Mesh
) -> Callable[..., tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
    """Returns `eval_step(weights, frozen, batch, key) -> (metrics, images)`.

    Metrics are per image, [N], including the `mask` of the batch (1 for rows of the set).
    Images are those of the stage's `images_fn`, for the first `config.num_samples` rows.
    XLA computes the common parts of both functions only once.
    """
    replicated, over_batch = sharding.replicated(mesh), sharding.over_batch(mesh)

    def eval_step(weights, frozen, batch, key):
        weights = lax.with_sharding_constraint(weights, replicated)
        modules = _build_modules(networks, weights, frozen, config.compute_dtype)
        batch = _to_unit_range(batch)
        metrics = {**stage.eval_fn(modules, batch, key), "mask": batch["mask"]}
        if not (stage.images_fn and config.num_samples):
            return metrics, {}
        images = stage.images_fn(modules, batch, key)
        # jit sorts a plain dict by key; an OrderedDict keeps its order.
        return metrics, collections.OrderedDict(
            (name, rows[: config.num_samples]) for name, rows in images.items()
        )

    return jax.jit(
        eval_step,
        in_shardings=(None, replicated, over_batch, replicated),  # None: unchanged
        out_shardings=replicated,
    )


def metric_names(stage: Stage, batch: Mapping[str, Any]) -> list[str]:
    """Returns the names of the evaluation metrics of a stage, without computing them.

    The batch may have arrays, or their shapes and types.
    """

    def evaluate(batch):
        modules = {name: make(rngs=nnx.Rngs(0)) for name, make in stage.modules.items()}
        return stage.eval_fn(modules, _to_unit_range(batch), jax.random.key(0))

    return list(stage.summaries or jax.eval_shape(evaluate, batch))


def _build_modules(networks, trained, frozen, compute_dtype) -> dict[str, Callable]:
    frozen = lax.stop_gradient(frozen)
    modules = {}
    for name, params in {**trained, **frozen}.items():
        params = jax.tree.map(lambda value: value.astype(compute_dtype), params)
        module = flat_params.merge_module(networks.graphs[name], params)
        modules[name] = _in_compute_dtype(module, compute_dtype)
    return modules


def _in_compute_dtype(module, dtype) -> Callable:
    """Wraps a module so that it computes in `dtype` and returns float32.

    Only the first input is converted. The second input of a decoder, the image to which it
    adds a residual, keeps its precision.
    """

    def apply(x, *others):
        return module(x.astype(dtype), *others).astype(jnp.float32)

    return apply


def _to_unit_range(batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Converts 8-bit images to float in [0, 1]; they are transferred as bytes."""
    return {
        name: value.astype(jnp.float32) / 255 if value.dtype == jnp.uint8 else value
        for name, value in batch.items()
    }


def _mean_over_micro_batches(gradient_of, batch, key, num_micro_batches) -> Any:
    """Returns the mean of `gradient_of(rows, key)` over equal parts of the batch."""
    if num_micro_batches == 1:
        return gradient_of(batch, key)
    # Rows stay on their device, since each micro-batch has rows of every device.
    pattern = "(b parts) ... -> parts b ..."
    parts = {
        name: einops.rearrange(rows, pattern, parts=num_micro_batches)
        for name, rows in batch.items()
    }
    keys = jax.random.split(key, num_micro_batches)

    def add(total, part):
        return jax.tree.map(jnp.add, total, gradient_of(*part)), None

    first = jax.tree.map(lambda rows: rows[0], (parts, keys))
    rest = jax.tree.map(lambda rows: rows[1:], (parts, keys))
    total, _ = lax.scan(add, gradient_of(*first), rest)
    return jax.tree.map(lambda value: value / num_micro_batches, total)


def _update(state: TrainState, tx, grads, loss, is_finite, ema_decay) -> TrainState:
    """Returns the next state; if `is_finite` is false, only steps and schedules advance."""
    updates, opt_state = tx.update(grads, state.opt_state, state.params, value=loss)
    params = optax.apply_updates(state.params, updates)
    ema = _update_ema(state.ema, params, state.step, ema_decay)
    params, ema, opt_state = _update_if(
        is_finite, (params, ema, opt_state), (state.params, state.ema, state.opt_state)
    )
    return TrainState(
        step=state.step + 1,
        params=params,
        ema=ema,
        opt_state=opt_state,
        bad_step=jnp.where(is_finite, state.bad_step, state.step),
    )


def _update_if(condition: jax.Array, new: Any, old: Any) -> Any:
    """Returns `new` or `old` by a condition, but always the new schedules (step counts)."""

    def is_schedule(node):
        return isinstance(node, optax.ScaleByScheduleState)

    def choose(new, old):
        return new if is_schedule(new) else jnp.where(condition, new, old)

    return jax.tree.map(choose, new, old, is_leaf=is_schedule)


def _update_ema(ema, params, step, decay):
    if ema is None:
        return None
    # The decay warms up; otherwise a short run would evaluate its initial weights.
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, new: old + (1 - decay) * (new - old), ema, params)
