"""Adaptation without pairs: what counts as a streak, what is laid, what is wanted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from configs import adapt as config_file
from ttl_jax.stages import adapt


@pytest.fixture
def config():
    config = config_file.get_config("smoke")
    config.image_loss, config.gradient_weight = "mse", 0.0
    config.streak_gain, config.streak_zoom = (1.0, 1.0), 1.0
    return config


@pytest.fixture
def opacity():
    """Streaks of 0.4 in every eighth column."""
    return jnp.zeros((1, 24, 24, 1)).at[:, :, 4::8].set(0.4)


@pytest.fixture
def batch(key, opacity):
    """Photographs between 0.1 and 0.5, the rainy ones under the streaks."""
    scene, clean = 0.1 + 0.4 * jax.random.uniform(key, (2, 3, 24, 24, 3))
    scene = jnp.broadcast_to(scene.mean(axis=-1, keepdims=True), scene.shape)
    return {"rainy": adapt.lay(opacity, scene), "clean": clean, "scene": scene}


def modules_that(restore, restore_frozen):
    """Networks that are functions of the image."""
    return {
        "encoder": lambda image: None,
        "decoder": lambda features, image: restore(image),
        "frozen_encoder": lambda image: None,
        "frozen_decoder": lambda features, image: restore_frozen(image),
    }


def loss_of(config, batch, key, restore=lambda image: image):
    modules = modules_that(restore, lambda image: batch["scene"])
    return adapt.make_stage(config).loss_fn(modules, batch, key)


def test_opacity_of_streaks_is_found_by_a_white_top_hat(batch, opacity):
    found = adapt.find_streaks(batch["rainy"], batch["scene"], noise=0.0)
    # The window of 11 holds a column without rain wherever it lies.
    np.testing.assert_allclose(found, jnp.broadcast_to(opacity, found.shape), atol=1e-5)
    taken = np.asarray(batch["rainy"] - batch["scene"])[..., 0]
    top_hat = np.stack(
        [ndimage.white_tophat(one, size=(11, 11), mode="nearest") for one in taken]
    )
    shown = np.asarray(found)[..., 0] * (1 - np.asarray(batch["scene"])[..., 0])
    inside = (
        slice(None),
        slice(10, -10),
        slice(10, -10),
    )  # two windows from the border
    np.testing.assert_allclose(shown[inside], top_hat[inside], atol=1e-5)


def test_veils_colours_noise_and_darkening_are_no_streaks(batch, key):
    scene = batch["scene"]
    noise = 2.9 / 255 * jax.random.uniform(key, scene.shape[:-1])[..., None]
    tinted = scene.at[:, :, 4::8, 0].add(0.3)
    darker = scene.at[:, :, 4::8].add(-0.1)
    for image in (scene + 0.1, tinted, scene + noise):
        assert adapt.find_streaks(image, scene).max() == 0
    # Beside what got darker nothing got brighter.
    assert adapt.find_streaks(darker, scene)[:, :, 4::8].max() == 0


def test_streaks_on_white_stay_in_range(opacity):
    white = jnp.full((1, 24, 24, 3), 0.99)
    found = adapt.find_streaks(adapt.lay(opacity, white), white, noise=0.0)
    assert 0 < found.max() <= 0.1
    assert adapt.lay(jnp.asarray(2.0), white).max() == 1


def test_who_changes_nothing_leaves_all_that_is_laid(config, batch, key, opacity):
    loss, scalars = loss_of(config, batch, key)
    left = np.asarray(opacity * (1 - batch["clean"]))
    # The floor of three levels is taken off the streaks as they were.
    np.testing.assert_allclose(scalars["laid"], np.mean(left**2), rtol=0.15)
    assert scalars["laid"] < np.mean(left**2)
    assert scalars["clean"] == 0 and loss == scalars["laid"]


def test_who_takes_the_streaks_off_has_no_error_but_on_clean_photographs(
    config, batch, key
):
    found = adapt.find_streaks(batch["rainy"], batch["scene"])

    def restore(image):
        return (image - found) / (1 - found)

    loss, scalars = loss_of(config, batch, key, restore)
    np.testing.assert_allclose(scalars["laid"], 0, atol=1e-10)
    assert scalars["clean"] > 0.01
    np.testing.assert_allclose(loss, config.clean_weight * scalars["clean"], rtol=1e-5)


def test_streaks_are_laid_fainter_and_stronger(config, batch, key):
    usual = loss_of(config, batch, key)[1]["laid"]
    config.streak_gain = (0.5, 1.5)
    keys = jax.random.split(key, 40)
    laid = [loss_of(config, batch, one)[1]["laid"] for one in keys]
    assert 0.25 * usual < min(laid) < 0.8 * usual < 1.3 * usual < max(laid)
    assert max(laid) < 2.25 * usual


def test_the_middle_is_enlarged_about_the_centre():
    y, x = np.mgrid[:33, :33] - 16.0
    blob = jnp.asarray(np.exp(-((y - 2) ** 2 + (x + 3) ** 2) / 8), jnp.float32)
    images = jnp.stack([blob, blob, blob])[..., None]
    factors = (1.0, 1.5, 2.0)
    enlarged = np.asarray(adapt.enlarge(images, jnp.array(factors)))[..., 0]
    np.testing.assert_allclose(enlarged[0], blob, atol=1e-6)
    for image, factor in zip(enlarged, factors, strict=True):
        np.testing.assert_allclose(image.sum(), factor**2 * blob.sum(), rtol=0.01)
        center = (image * y).sum() / image.sum(), (image * x).sum() / image.sum()
        np.testing.assert_allclose(center, (2 * factor, -3 * factor), atol=0.1)


def test_streaks_are_laid_larger(config, batch, key, opacity):
    config.streak_zoom = 2.5
    laid = []

    def restore(image):
        laid.append(image)
        return image

    loss_of(config, batch, key, restore)
    rain = np.asarray(laid[0] - batch["clean"]).mean(axis=(1, 3))  # by column
    # One streak in eight columns, as many as that over the zoom where it is enlarged.
    count = ((rain[:, 1:-1] > rain[:, :-2]) & (rain[:, 1:-1] >= rain[:, 2:])).sum(
        axis=1
    )
    assert count.min() < 3 == opacity.shape[2] // 8


def test_no_gradient_reaches_the_frozen_weights(config, batch, key):
    stage = adapt.make_stage(config)

    def loss(share):
        modules = modules_that(
            lambda image: image,
            lambda image: image + share * (batch["scene"] - image),
        )
        return stage.loss_fn(modules, batch, key)[0]

    assert loss(1.0) > loss(0.5) > 0
    assert jax.grad(loss)(0.5) == 0


def test_evaluation_sets_the_weights_beside_what_they_were(config, batch, key):
    modules = modules_that(lambda image: batch["scene"], lambda image: image)
    clean = {**batch, "clean": batch["scene"]}
    scores = adapt.make_stage(config).eval_fn(modules, clean, key)
    assert scores.keys() == {
        "clean_psnr",
        "clean_psnr_before",
        "opacity",
        "opacity_before",
    }
    np.testing.assert_array_equal(scores["clean_psnr"], np.full(3, 100.0))
    np.testing.assert_array_equal(scores["opacity_before"], np.zeros(3))
    np.testing.assert_allclose(scores["opacity"], np.full(3, 0.4 / 8), rtol=0.1)


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("streak_gain", (1.5, 0.5), "least and the greatest"),
        ("streak_gain", (0.0, 1.0), "least and the greatest"),
        ("streak_gain", (1.0,), "least and the greatest"),
        ("streak_zoom", 0.5, "streak_zoom=0.5 must be at least 1"),
        ("clean_weight", -1.0, "clean_weight=-1.0 must not be negative"),
    ],
)
def test_values_that_make_no_sense_are_refused(config, field, value, fault):
    config[field] = value
    with pytest.raises(ValueError, match=fault):
        adapt.make_stage(config)
