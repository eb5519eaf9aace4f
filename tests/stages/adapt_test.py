"""Adaptation without pairs: what is laid on what, and what is wanted of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import adapt as config_file
from ttl_jax.stages import adapt


@pytest.fixture
def config():
    config = config_file.get_config("smoke")
    config.image_loss, config.gradient_weight = "mse", 0.0
    return config


@pytest.fixture
def batch(key):
    """Photographs between 0.1 and 0.5, rain of 0.3 in every eighth column of the rainy."""
    rainy_scene, clean = 0.1 + 0.4 * jax.random.uniform(key, (2, 3, 16, 16, 3))
    rain = jnp.zeros((1, 16, 16, 1)).at[:, :, ::8].set(0.3)
    return {"rainy": rainy_scene + rain, "clean": clean, "scene": rainy_scene}


def modules_that(restore, restore_frozen):
    """Networks that are functions of the image."""
    return {
        "encoder": lambda image: None,
        "decoder": lambda features, image: restore(image),
        "frozen_encoder": lambda image: None,
        "frozen_decoder": lambda features, image: restore_frozen(image),
    }


def terms_of(config, batch, key, restore=lambda image: image):
    modules = modules_that(restore, lambda image: batch["scene"])
    return adapt.make_stage(config).loss_fn(modules, batch, key)


def test_terms_are_errors_under_the_layer_that_the_frozen_weights_took_off(
    config, batch, key
):
    config.layer_gain = (1.0, 1.0)
    _, terms = terms_of(config, batch, key)
    # Who changes nothing leaves 0.3 in two of sixteen columns.
    np.testing.assert_allclose(terms["laid"], 0.3**2 * 2 / 16, rtol=1e-5)
    np.testing.assert_allclose(terms["thickened"], 0.3**2 * 2 / 16, rtol=1e-5)
    assert terms["clean"] == 0


def test_who_takes_off_what_the_frozen_weights_do_has_no_error_under_rain(
    config, batch, key
):
    config.layer_gain = (1.0, 1.0)
    rain = jnp.zeros((1, 16, 16, 1)).at[:, :, ::8].set(0.3)
    _, terms = terms_of(config, batch, key, restore=lambda image: image - rain)
    np.testing.assert_allclose([terms["laid"], terms["thickened"]], 0, atol=1e-12)
    np.testing.assert_allclose(terms["clean"], 0.3**2 * 2 / 16, rtol=1e-5)


def test_rain_is_laid_thinner_and_thicker_but_only_thickened_on_its_own_scene(
    config, batch, key
):
    config.layer_gain = (0.5, 1.5)
    laid, thickened = [], []
    for step in range(40):
        _, terms = terms_of(config, batch, jax.random.fold_in(key, step))
        laid.append(terms["laid"])
        thickened.append(terms["thickened"])
    full = 0.3**2 * 2 / 16
    assert 0.25 * full < min(laid) < 0.8 * full < 1.3 * full < max(laid) < 2.25 * full
    assert min(thickened) >= 0.999 * full


def test_weights_of_zero_take_a_term_out(config, batch, key):
    config.term_weights = {"laid": 2.0, "thickened": 0.0, "clean": 0.0}
    loss, terms = terms_of(config, batch, key)
    assert list(terms) == ["laid"] and loss == 2 * terms["laid"]


def test_no_gradient_reaches_the_frozen_weights(config, batch, key):
    stage = adapt.make_stage(config)

    def loss(frozen):
        modules = modules_that(lambda image: image, lambda image: image - frozen)
        return stage.loss_fn(modules, batch, key)[0]

    assert loss(0.3) > loss(0.1) > 0
    assert jax.grad(loss)(0.1) == 0


def test_evaluation_tells_what_is_taken_off_and_how_far_clean_photographs_stay(
    config, batch, key
):
    stage = adapt.make_stage(config)
    modules = modules_that(lambda image: image - 0.1, None)
    scores = stage.eval_fn(modules, batch, key)
    np.testing.assert_allclose(scores["taken_off"], 0.1, rtol=1e-4)
    np.testing.assert_allclose(
        scores["clean_psnr"], -20 * np.log10(0.1 * 219 / 255), 0.02
    )


@pytest.mark.parametrize("gain", [(1.5, 0.5), (0.0, 1.0), (1.0,)])
def test_factors_that_are_none_are_refused(config, gain):
    config.layer_gain = gain
    with pytest.raises(ValueError, match="layer_gain=.* least and the greatest"):
        adapt.make_stage(config)
