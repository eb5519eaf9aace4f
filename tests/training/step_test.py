"""One update: placement of arrays, micro-batches, discarded updates."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy_stage
from ttl_jax.training import sharding, state, step

BATCH = {
    "image": np.random.default_rng(0).integers(0, 255, (8, 4, 4, 3), dtype=np.uint8),
    "replaced": np.zeros(8, np.float32),
}


@pytest.fixture
def stage(photographs):
    return toy_stage.make_stage(toy_stage.get_config(photographs))


def make(stage, *, tx=None, devices=4, ema_decay=0.0, **changes):
    """Networks, state and train step on some of the devices."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))
    tx = optax.with_extra_args_support(tx or optax.sgd(0.1))
    config = toy_stage.get_config("", ema_decay=ema_decay, **changes)
    networks, initial = state.create(config, stage, tx, {}, mesh)
    train_step = step.make_train_step(
        config, stage, networks, tx, mesh, initial.placement
    )

    def run(current, batch=BATCH):
        placed = sharding.place_batch(mesh, batch)
        return train_step(current, networks.frozen, placed)

    return initial, run


def params_after(stage, num_steps=2, **changes):
    current, run = make(stage, **changes)
    for _ in range(num_steps):
        current, scalars = run(current)
    return jax.tree.map(np.asarray, current.params), jax.tree.map(np.asarray, scalars)


def test_update_equals_gradient_descent_in_numpy(stage):
    current, run = make(stage)
    kernel = np.asarray(current.params["encoder"]["linear.kernel"], np.float64)
    bias = np.asarray(current.params["encoder"]["linear.bias"], np.float64)
    x = BATCH["image"].reshape(-1, 3) / 255
    error = x @ kernel + bias - x / 2
    current, scalars = run(current)
    np.testing.assert_allclose(scalars["loss"], np.mean(error**2), rtol=1e-5)
    np.testing.assert_allclose(
        current.params["encoder"]["linear.kernel"],
        kernel - 0.1 * 2 * x.T @ error / error.size,
        rtol=1e-5,
    )
    grads = [2 * x.T @ error / error.size, 2 * error.sum(0) / error.size]
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    np.testing.assert_allclose(scalars["grad_norm"], norm, rtol=1e-5)


def test_devices_share_a_batch_as_if_they_were_one(stage):
    four, one = params_after(stage), params_after(stage, devices=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), four, one)


def test_micro_batches_give_the_mean_of_the_whole_batch(stage):
    whole = params_after(stage, devices=2)
    parts = params_after(stage, devices=2, num_micro_batches=4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), parts, whole)


def test_state_that_is_spread_over_the_devices_trains_as_a_whole_one(photographs):
    config = toy_stage.get_config(photographs, hidden=1024)
    options = {"num_micro_batches": 2, "ema_decay": 0.5}
    states = []
    for fsdp in (False, True):
        # The clipping needs the norm of all shards together.
        tx = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.01, momentum=0.9))
        stage = toy_stage.make_stage(config)
        current, run = make(stage, tx=tx, fsdp=fsdp, **options)
        for _ in range(3):
            current, _ = run(current)
        states.append(current)
    whole, spread = states
    for tree in (spread.params, spread.ema, spread.opt_state):
        leaves = [leaf for leaf in jax.tree.leaves(tree) if leaf.size >= 1024]
        assert len(leaves) == 3  # two kernels and a bias
        for leaf in leaves:
            assert leaf.addressable_shards[0].data.size == leaf.size / 4
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        spread,
        whole,
    )


def test_random_numbers_differ_from_step_to_step_and_between_micro_batches(stage):
    def loss_fn(modules, batch, key):
        noise = jax.random.normal(key)
        scalars = {"noise": noise, "square": jnp.square(noise)}
        return jnp.sum(modules["encoder"](batch["image"])) * 0, scalars

    noisy = dataclasses.replace(stage, loss_fn=loss_fn)
    current, run = make(noisy)
    seen = []
    for _ in range(3):
        current, scalars = run(current)
        seen.append(float(scalars["noise"]))
    assert len(set(seen)) == 3
    (_, again), (_, split) = (
        params_after(noisy, 1, num_micro_batches=parts) for parts in (1, 2)
    )
    assert float(again["noise"]) == seen[0]
    # Two numbers have the mean m and the mean square m² + d², with d half their difference.
    variance = float(split["square"]) - float(split["noise"]) ** 2
    assert variance > 1e-3
    two = split["noise"] + np.array([-1, 1]) * np.sqrt(variance)
    assert np.abs(two[:, None] - np.array(seen)).min() > 1e-3


def test_bfloat16_computes_in_it_and_keeps_params_in_float32(stage):
    seen = []

    def loss_fn(modules, batch, key):
        out = modules["encoder"](batch["image"])
        seen.append(out.dtype)
        return jnp.mean(out), {}

    def of_dtype(dtype):
        return params_after(
            dataclasses.replace(stage, loss_fn=loss_fn), compute_dtype=dtype
        )

    (half, half_scalars), (full, full_scalars) = map(of_dtype, ("bfloat16", "float32"))
    assert set(seen) == {jnp.dtype("float32")}  # losses see float32
    assert half["encoder"]["linear.kernel"].dtype == np.float32
    difference = abs(half_scalars["loss"] - full_scalars["loss"])
    assert 0 < difference < 0.02 * abs(full_scalars["loss"])
    np.testing.assert_allclose(
        half["encoder"]["linear.kernel"],
        full["encoder"]["linear.kernel"],
        rtol=0.02,
        atol=1e-3,
    )


def test_update_that_is_not_finite_is_discarded_and_its_step_noted(stage):
    def loss_fn(modules, batch, key):
        factor = jnp.where(jnp.max(batch["image"]) > 0.5, 1.0, jnp.nan)
        return factor * jnp.mean(modules["encoder"](batch["image"])), {}

    schedule = optax.linear_schedule(0.1, 0.0, 10)
    tx = optax.adam(schedule)
    current, run = make(
        dataclasses.replace(stage, loss_fn=loss_fn), tx=tx, ema_decay=0.9
    )
    dark = {name: np.zeros_like(rows) for name, rows in BATCH.items()}
    current, _ = run(current)
    before = jax.tree.map(np.asarray, current)
    for _ in range(2):
        current, _ = run(current, dark)
    assert int(current.bad_step) == 2  # the last of the two
    assert int(current.step) == 3
    (adam, steps), (adam_before, _) = current.opt_state, before.opt_state
    assert int(steps.count) == 3  # the rate falls by steps
    for now, then in (
        (current.params, before.params),
        (current.ema, before.ema),
        (adam, adam_before),
    ):
        jax.tree.map(np.testing.assert_array_equal, now, then)


def test_moving_average_warms_up_and_follows_its_recursion(stage):
    current, run = make(stage, ema_decay=0.3)
    expected = np.asarray(current.params["encoder"]["linear.kernel"], np.float64)
    for i in range(4):
        current, _ = run(current)
        decay = min(0.3, (1 + i) / (10 + i))
        kernel = np.asarray(current.params["encoder"]["linear.kernel"])
        expected = decay * expected + (1 - decay) * kernel
        np.testing.assert_allclose(
            current.ema["encoder"]["linear.kernel"], expected, rtol=1e-5
        )
    assert current.weights is current.ema


def test_another_module_leaves_the_initial_values_of_the_rest_unchanged(stage):
    alone, _ = make(stage)
    extra = stage.modules["encoder"]
    more = dataclasses.replace(
        stage,
        modules={"another": extra, **stage.modules},
        trainable=("another", "encoder"),
        learning_rates={"another": 1.0, "encoder": 1.0},
    )
    both, _ = make(more)
    jax.tree.map(
        np.testing.assert_array_equal, alone.params["encoder"], both.params["encoder"]
    )
    assert np.any(
        both.params["another"]["linear.kernel"]
        != both.params["encoder"]["linear.kernel"]
    )


def test_evaluation_returns_per_image_values_the_mask_and_images(stage):
    mesh = sharding.make_mesh()
    config = toy_stage.get_config("", ema_decay=0.0, num_samples=3)
    networks, initial = state.create(config, stage, optax.sgd(0.1), {}, mesh)
    eval_step = step.make_eval_step(config, stage, networks, mesh)
    mask = np.array([1] * 7 + [0], np.float32)
    batch = sharding.place_batch(mesh, {**BATCH, "mask": mask})
    out, images = eval_step(initial.weights, {}, batch, jax.random.key(0))
    kernel = np.asarray(initial.params["encoder"]["linear.kernel"])
    expected = (BATCH["image"] / 255 @ kernel).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(out["mean"], expected, rtol=1e-4)
    np.testing.assert_array_equal(out["mask"], mask)
    assert list(out) == ["mask", *step.metric_names(stage, BATCH)]
    bright = np.float32(BATCH["image"][:3]) / 255
    np.testing.assert_allclose(images["input"], bright, rtol=1e-6)
    assert list(images) == ["input", "dark"]
    np.testing.assert_allclose(images["dark"], bright @ kernel, rtol=1e-4, atol=1e-6)


def test_share_of_replaced_images_is_that_of_the_whole_batch(stage):
    def loss_fn(modules, batch, key):
        assert set(batch) == {"image"}  # nothing of it reaches the stage
        return jnp.mean(modules["encoder"](batch["image"])), {}

    current, run = make(
        dataclasses.replace(stage, loss_fn=loss_fn), num_micro_batches=2
    )
    replaced = np.float32([0, 0, 0, 1, 0, 0, 1, 1])
    _, scalars = run(current, BATCH | {"replaced": replaced})
    assert scalars["replaced_images"] == 3 / 8
