"""Learning rates: one per module, and their schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ttl_jax.config_fields import SCHEDULES
from ttl_jax.training import optimizer

RATES = {"encoder": 4e-5, "decoder": 4e-4}
PARAMS = {name: {"w": jnp.zeros(3)} for name in RATES}
GRADS = {name: {"w": jnp.array([1.0, -2.0, 0.5])} for name in RATES}


def make_schedule(kind, **changes):
    fields = {
        "num_steps": 100,
        "warmup_steps": 10,
        "final_fraction": 0.01,
        "patience": 2,
        "window": 3,
        "min_learning_rate": 1e-5,
    }
    return optimizer.Schedule(kind=kind, **{**fields, **changes})


def run(schedule, losses):
    """Updates with constant gradients; returns the rates after each and the params."""
    tx = optimizer.make_optimizer(RATES, schedule, clip_norm=0.0)
    params, opt_state = PARAMS, tx.init(PARAMS)
    update = jax.jit(lambda s, p, v: tx.update(GRADS, s, p, value=v))
    rates, steps = [], []
    for i, loss in enumerate(losses):
        updates, opt_state = update(opt_state, params, jnp.float32(loss))
        params = optax.apply_updates(params, updates)
        steps.append(float(-updates["decoder"]["w"][0]))
        rates.append(
            optimizer.current_learning_rates(RATES, schedule, i + 1, opt_state)
        )
    return rates, steps, params


def test_each_module_moves_at_its_own_rate():
    # Adam's first step is the rate times the gradient's sign (Kingma and Ba 2015).
    _, _, params = run(make_schedule("constant"), [1.0])
    for name, rate in RATES.items():
        np.testing.assert_allclose(
            params[name]["w"], -rate * np.array([1, -1, 1]), rtol=1e-5
        )


def test_plateau_halves_after_patience_windows_without_decrease():
    # Windows of 3 with means 1, 0.5, 0.5, 0.5: two windows without decrease.
    losses = [1.0, 2.0, 0.0] + [0.5] * 9
    rates, _, _ = run(make_schedule("plateau"), losses)
    decoder = [r["decoder"] for r in rates]
    np.testing.assert_allclose(decoder[:11], 4e-4, rtol=1e-6)
    np.testing.assert_allclose(decoder[11:], 2e-4, rtol=1e-6)


def test_plateau_never_halves_while_the_mean_of_windows_falls():
    # Single losses rise and fall; the mean of each window of 3 decreases.
    losses = [v - 0.01 * (i // 3) for i, v in enumerate([1.0, 3.0, 2.0] * 10)]
    rates, _, _ = run(make_schedule("plateau"), losses)
    assert all(r == pytest.approx(RATES) for r in rates)


def test_plateau_stops_at_the_floor_of_each_group():
    rates, _, _ = run(make_schedule("plateau", window=1, patience=1), [1.0] * 20)
    assert rates[-1]["encoder"] == pytest.approx(1e-5)
    assert rates[-1]["decoder"] == pytest.approx(1e-5)
    assert rates[2]["encoder"] == pytest.approx(1e-5)  # 4e-5, 2e-5, 1e-5
    assert rates[2]["decoder"] == pytest.approx(1e-4)


def test_logged_rate_is_the_one_updates_are_made_with():
    for kind in SCHEDULES:
        schedule = make_schedule(
            kind, window=1, patience=1, num_steps=8, warmup_steps=3
        )
        rates, steps, _ = run(schedule, [1.0] * 8)
        np.testing.assert_allclose(steps, [r["decoder"] for r in rates], rtol=1e-4)


def test_cosine_warms_up_and_ends_at_its_fraction():
    schedule = make_schedule("cosine")
    rate = schedule.of_step(1.0)
    assert rate(0) == pytest.approx(0.1)
    assert rate(5) == pytest.approx(0.55)
    assert rate(10) == pytest.approx(1.0)
    assert rate(55) == pytest.approx((1 + 0.01) / 2)  # half way
    assert rate(100) == pytest.approx(0.01)


def test_clipping_bounds_the_global_norm():
    # Adam hides the gradient's size on its first step, but not in its moments.
    tx = optimizer.make_optimizer(RATES, make_schedule("constant"), clip_norm=0.1)
    state = tx.init(PARAMS)
    _, state = tx.update(GRADS, state, PARAMS, value=jnp.float32(0))
    moments = optax.tree_utils.tree_get_all_with_path(state, "mu")
    first = [jax.tree.leaves(mu) for _, mu in moments]
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaves in first for leaf in leaves))
    assert norm == pytest.approx(0.1 * (1 - 0.9), rel=1e-5)


def test_unknown_schedule_names_the_choices():
    with pytest.raises(ValueError, match="plateau"):
        make_schedule("step")
