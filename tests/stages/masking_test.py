"""Recognition and reconstruction of masked images."""

import itertools

import jax
import numpy as np

from configs import recog, recon
from tests.stages.stage_test import apply, batch_for, random_params
from ttl_jax import losses
from ttl_jax.stages import networks
from ttl_jax.stages.stage import make_stage


def jitted_loss(config, key):
    """The loss of a stage with random weights, as a function of the batch."""
    stage = make_stage(config)
    graphs, params = random_params(stage)
    return jax.jit(lambda batch: apply(stage.loss_fn, params, graphs, batch, key)[0])


def test_masked_patches_are_grey_on_a_grid_of_16_pixels(key):
    image = np.random.default_rng(0).uniform(size=(50, 40, 70, 3)).astype("float32")
    masked = np.asarray(networks.mask_patches(image, 0.5, key))
    changed = np.any(masked != image, axis=-1)
    assert np.all(masked[changed] == 0.5)
    for y, x in itertools.product(range(0, 40, 16), range(0, 70, 16)):
        patches = changed[:, y : y + 16, x : x + 16]
        assert np.all(patches.all(axis=(1, 2)) == patches.any(axis=(1, 2)))
    # 750 patches; within five standard deviations.
    assert abs(changed[:, ::16, ::16].mean() - 0.5) < 0.1
    assert networks.mask_patches(image, 0.0, key) is image


def test_recognition_of_masked_images_depends_on_their_labels_alone(key):
    config = recog.get_config("smoke")
    config.masked_share = 1.0
    batch = batch_for(config)
    exchanged = {**batch, "image": batch["image"][::-1].copy()}
    loss, other = map(jitted_loss(config, key), (batch, exchanged))
    np.testing.assert_allclose(loss, other, rtol=1e-6)
    config.masked_share = 0.0
    loss, other = map(jitted_loss(config, key), (batch, exchanged))
    assert abs(float(loss - other)) > 1e-4


def test_reconstruction_of_masked_images_is_compared_with_the_whole_image(key):
    config = recon.get_config("smoke")
    config.masked_share = 1.0
    stage, batch = make_stage(config), batch_for(config)
    graphs, params = random_params(stage)
    margin = config.crop_margin
    clean = batch["image"][:, margin:-margin, margin:-margin]

    def loss_of_grey(modules):
        restored = networks.restore(modules, np.full_like(clean, 0.5))
        return losses.reconstruction(restored, clean)

    expected = jax.jit(lambda params: apply(loss_of_grey, params, graphs))(params)
    np.testing.assert_allclose(jitted_loss(config, key)(batch), expected, rtol=1e-4)
