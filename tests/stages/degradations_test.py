"""The degradations of the recognition task, against references and closed forms."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from flax import nnx
from PIL import Image

from configs import degradations as config_file
from tests import pictures
from ttl_jax.stages import degradations, image_degradations
from ttl_jax.stages.stage import make_stage

GREY = np.repeat(pictures.noise(40, 52, 1), 3, axis=-1)


def unit(image):
    return jnp.asarray(image[None], jnp.float32) / 255


def encode(grey, quality):
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "jpeg", quality=quality)
    return Image.open(buffer)


def test_tables_of_jpeg_are_those_of_an_encoder():
    qualities = np.arange(1, 101)
    tables = image_degradations.luminance_tables(jnp.float32(qualities))
    expected = [encode(GREY[..., 0], int(q)).quantization[0] for q in qualities]
    np.testing.assert_array_equal(tables, np.reshape(expected, (-1, 8, 8)))


@pytest.mark.parametrize("quality", [8, 30, 49, 50, 60])
def test_jpeg_of_a_grey_image_is_that_of_an_encoder(key, quality):
    smooth = scipy.ndimage.gaussian_filter(GREY.astype(float), (3, 3, 0))
    smooth = np.clip(2 * (smooth - 128) + 128, 0, 255).astype(np.uint8)
    ours = np.asarray(image_degradations.jpeg(unit(smooth), key, quality, quality))[0]
    reference = np.asarray(encode(smooth[..., 0], quality), float)
    # The encoder computes cosines with integers, so a few waves are rounded otherwise.
    assert np.mean(np.abs(ours[..., 0] * 255 - reference) > 2) < 0.05
    assert np.abs(reference - smooth[..., 0]).max() > 3
    assert np.ptp(ours, axis=-1).max() == 0


def test_noise_has_its_deviation(key):
    image = jnp.full((1, 200, 200, 3), 0.5)
    noisy = image_degradations.noise(image, key, 0.08, 0.08)
    assert float(noisy.std()) == pytest.approx(0.08, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=2e-3)


def test_a_veil_reduces_contrast_by_its_share(key):
    image = unit(GREY)
    veiled = image_degradations.veil(image, key, 0.3, 0.3)
    assert float(veiled.std() / image.std()) == pytest.approx(0.7, rel=1e-4)
    assert float(veiled.mean()) > float(image.mean())


def test_blur_is_that_of_scipy(key):
    blurred = np.asarray(image_degradations.blur(unit(GREY), key, 1.5, 1.5))[0] * 255
    reference = scipy.ndimage.gaussian_filter(
        GREY.astype(float), (1.5, 1.5, 0), mode="nearest", radius=(5, 5, 0)
    )
    np.testing.assert_allclose(blurred, reference, atol=1)


def test_streaks_only_brighten_and_more_of_them_cover_more(key):
    image = jnp.full((1, 128, 128, 3), 0.3)
    shares = []
    for _, low, high in degradations.BINS[:3]:
        change = image_degradations.streaks(image, key, low, high) - image
        assert float(change.min()) >= 0
        shares.append(float((change > 0).mean()))
    assert 0.02 < shares[0] < shares[1] < shares[2] < 0.9


def test_streaks_reach_every_row_alike(key):
    black = jnp.zeros((64, 40, 64, 3))
    wet = image_degradations.streaks(black, key, 0.03, 0.03)[..., 0] > 0
    # A pixel is dry if none of the 8 = 40 / 5 pixels from which a streak reaches it starts
    # one. 64 images of 64 columns leave a deviation of 0.01.
    np.testing.assert_allclose(wet.mean(axis=(0, 2)), 1 - 0.97**8, atol=0.05)


def test_rainy_rows_stay_and_all_classes_occur(key):
    images = jnp.full((300, 96, 96, 3), 0.3)
    is_rainy = jnp.arange(300) % 2
    spoiled, classes = degradations.degrade(images, is_rainy, key)
    assert set(np.asarray(classes)) == set(range(degradations.NUM_CLASSES))
    for i in range(300):
        unchanged = bool((spoiled[i] == images[i]).all())
        assert unchanged == (int(classes[i]) < 2)
        assert (int(classes[i]) == 0) == bool(is_rainy[i])


def test_the_loss_of_equal_logits_is_that_of_a_guess(key):
    config = config_file.get_config("smoke")
    stage = make_stage(config)
    rngs = nnx.Rngs(params=key)
    modules = {name: make(rngs=rngs) for name, make in stage.modules.items()}
    batch = {"image": jnp.full((4, 16, 16, 3), 0.4), "label": jnp.array([1, 0, 1, 0])}
    loss, _ = jax.jit(lambda batch: stage.loss_fn(modules, batch, key))(batch)
    assert float(loss) == pytest.approx(np.log(degradations.NUM_CLASSES), rel=1e-5)


def test_another_number_of_classes_is_rejected():
    config = config_file.get_config("smoke")
    config.num_classes = 4
    with pytest.raises(ValueError, match="num_classes=4; this task has 13"):
        make_stage(config)
