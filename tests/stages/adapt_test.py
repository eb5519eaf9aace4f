"""Adaptation without pairs: finding streaks, laying them, and the loss."""

import math

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
    return {"rainy": adapt.add_streaks(opacity, scene), "clean": clean, "scene": scene}


def modules_that(restore, restore_frozen):
    """Networks that are functions of the image."""
    return {
        "encoder": lambda image: None,
        "decoder": lambda features, image: restore(image),
        "frozen_encoder": lambda image: None,
        "frozen_decoder": lambda features, image: restore_frozen(image),
    }


def back_to(scene):
    """Returns the scene for images of its size, and other images unchanged."""
    return lambda image: scene if image.shape == scene.shape else image


def loss_of(config, batch, key, restore=lambda image: image):
    stage = adapt.make_stage(config)

    @jax.jit
    def loss(batch, key):
        modules = modules_that(restore, back_to(batch["scene"]))
        return stage.loss_fn(modules, batch, key)

    return loss(batch, key)


def test_opacity_of_streaks_is_found_by_a_white_top_hat(batch, opacity):
    found = adapt.opacity_between(
        batch["rainy"], batch["scene"], thickness=11, noise=0.0
    )
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


def test_veils_colours_noise_and_darkening_are_not_streaks(batch, key):
    scene = batch["scene"]
    noise = 2.9 / 255 * jax.random.uniform(key, scene.shape[:-1])[..., None]
    tinted = scene.at[:, :, 4::8, 0].add(0.3)
    darker = scene.at[:, :, 4::8].add(-0.1)

    def opacity_in(image):
        return adapt.opacity_between(image, scene, thickness=11, noise=3 / 255)

    for image in (scene + 0.1, tinted, scene + noise):
        assert opacity_in(image).max() == 0
    # Pixels beside the darker columns are unchanged.
    assert opacity_in(darker)[:, :, 4::8].max() == 0


def test_streaks_on_white_stay_in_range(opacity):
    white = jnp.full((1, 24, 24, 3), 0.99)
    rainy = adapt.add_streaks(opacity, white)
    found = adapt.opacity_between(rainy, white, thickness=11, noise=0.0)
    assert 0 < found.max() <= 0.1
    assert adapt.add_streaks(jnp.asarray(2.0), white).max() == 1


def remove_thin_streaks(images):
    """Opening that removes what is narrower than five pixels."""
    return jnp.asarray(ndimage.grey_opening(np.asarray(images), size=(1, 1, 5, 1)))


def test_wide_streaks_are_found_where_they_are_thin_and_laid_as_sharp_as_they_were():
    opacity = np.zeros((1, 32, 48, 1), np.float32)
    opacity[:, :, 8:14] = 0.5  # wider than what is taken off, at half the size narrower
    scene = np.full((1, 32, 48, 3), 0.2, np.float32)
    scene[:, ::2, 24:] += 0.1  # detail that is lost at half the size, and no rain
    rainy = adapt.add_streaks(opacity, jnp.asarray(scene))
    assert remove_thin_streaks(rainy)[0, 16, 10, 0] > 0.5  # at full size it stays
    found = adapt.find_streaks(rainy, remove_thin_streaks)
    floor = 3 / 255 / (1 - 0.2)
    np.testing.assert_allclose(found[0, :, 8:14], 0.5 - floor, atol=0.04)
    np.testing.assert_array_equal(found[0, :, :8], 0)
    np.testing.assert_array_equal(found[0, :, 14:], 0)


def test_thin_streaks_are_found_at_full_size(batch, opacity):
    found = adapt.find_streaks(batch["rainy"], lambda image: image)
    np.testing.assert_array_equal(found, jnp.zeros_like(found))
    sizes = []

    def restore(image):
        sizes.append(image.shape[1:3])
        return back_to(batch["scene"])(image)

    found = adapt.find_streaks(batch["rainy"], restore, noise=0.0)
    np.testing.assert_allclose(found, jnp.broadcast_to(opacity, found.shape), atol=1e-5)
    assert sizes == [(24, 24), (12, 12)]


def test_images_are_drawn_in_proportion_to_their_streaks(key):
    amounts = np.array([0.0, 0.1, 0.3])
    opacity = jnp.ones((1, 8, 8, 1)) * amounts[:, None, None, None]

    def draw(key):
        return adapt.vary(key, opacity, gain=(1.0, 1.0), zoom=1.0)[:, 0, 0, 0]

    drawn = jax.jit(jax.vmap(draw))(jax.random.split(key, 200))
    shares = [np.isclose(drawn, amount).mean() for amount in amounts]
    # 600 draws: three standard deviations of a share of 1/4.
    np.testing.assert_allclose(shares, [0, 0.25, 0.75], atol=0.053)
    nothing = adapt.vary(key, 0 * opacity, gain=(1.0, 1.0), zoom=1.0)
    np.testing.assert_array_equal(nothing, 0 * opacity)


def test_loss_of_an_identity_is_the_streaks_that_were_laid(config, batch, key, opacity):
    loss, scalars = loss_of(config, batch, key)
    left = np.asarray(opacity * (1 - batch["clean"]))
    # The floor of three levels is taken off the streaks as they were.
    np.testing.assert_allclose(scalars["laid"], np.mean(left**2), rtol=0.15)
    assert scalars["laid"] < np.mean(left**2)
    assert scalars["clean"] == 0 and loss == scalars["laid"]


def test_removing_the_streaks_leaves_only_the_error_on_clean_photographs(
    config, batch, key
):
    found = adapt.opacity_between(
        batch["rainy"], batch["scene"], thickness=11, noise=3 / 255
    )[:1]  # all three have the same streaks

    def restore(image):
        return (image - found) / (1 - found)

    loss, scalars = loss_of(config, batch, key, restore)
    np.testing.assert_allclose(scalars["laid"], 0, atol=1e-6)
    assert scalars["clean"] > 0.01
    wanted = scalars["laid"] + config.clean_weight * scalars["clean"]
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_streaks_are_added_with_varying_opacity(config, batch, key):
    usual = loss_of(config, batch, key)[1]["laid"]
    config.streak_gain = (0.5, 1.5)
    keys = jax.random.split(key, 40)
    laid = jax.vmap(lambda key: loss_of(config, batch, key)[1]["laid"])(keys)
    assert 0.25 * usual < laid.min() < 0.8 * usual < 1.3 * usual < laid.max()
    assert laid.max() < 2.25 * usual


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


def test_streaks_are_added_enlarged(config, batch, key, opacity):
    config.streak_zoom = 2.5
    laid = []

    def restore(image):
        laid.append(image)
        return image

    modules = modules_that(restore, back_to(batch["scene"]))
    adapt.make_stage(config).loss_fn(modules, batch, key)
    rain = np.asarray(laid[0] - batch["clean"]).mean(axis=(1, 3))  # by column
    # One streak in eight columns, as many as that over the zoom where it is enlarged.
    count = ((rain[:, 1:-1] > rain[:, :-2]) & (rain[:, 1:-1] >= rain[:, 2:])).sum(
        axis=1
    )
    assert 0 < count.min() < 3 == opacity.shape[2] // 8


def test_no_gradient_reaches_the_frozen_weights(config, batch, key):
    stage = adapt.make_stage(config)

    def loss(share):
        modules = modules_that(
            lambda image: image,
            lambda image: image + share * (back_to(batch["scene"])(image) - image),
        )
        return stage.loss_fn(modules, batch, key)[0]

    loss_and_gradient = jax.jit(jax.value_and_grad(loss))
    (all_of_it, _), (half, gradient) = map(loss_and_gradient, (1.0, 0.5))
    assert all_of_it > half > 0
    assert gradient == 0


def test_evaluation_compares_the_weights_with_the_frozen_ones(config, batch, key):
    modules = modules_that(back_to(batch["scene"]), lambda image: image)
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
        ("streak_gain", (1.5, 0.5), "smallest and the largest"),
        ("streak_gain", (0.0, 1.0), "smallest and the largest"),
        ("streak_gain", (1.0,), "smallest and the largest"),
        ("streak_gain", ("a", "b"), "smallest and the largest"),
        ("streak_gain", (1.0, math.inf), "smallest and the largest"),
        ("streak_zoom", 0.5, "streak_zoom=0.5 must be at least 1"),
        ("streak_zoom", math.inf, "streak_zoom=inf must be at least 1, and finite"),
        ("streak_zoom", math.nan, "streak_zoom=nan must be at least 1, and finite"),
        ("clean_weight", -1.0, "clean_weight=-1.0 must be zero or more"),
    ],
)
def test_invalid_values_are_rejected(config, field, value, fault):
    config[field] = value
    with pytest.raises(ValueError, match=fault):
        adapt.make_stage(config)
