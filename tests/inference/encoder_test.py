import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import pictures
from tests.inference.restorer_test import save_run
from ttl_jax import models
from ttl_jax.inference import encoder

MODULES = {
    "encoder": functools.partial(
        models.make_encoder, width=8, num_blocks=1, head_width=4
    ),
    "decoder": functools.partial(models.make_classifier, width=8),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a recognition run, and the networks that are in it."""
    run_dir = tmp_path_factory.mktemp("runs") / "recog"
    return run_dir, save_run(run_dir, MODULES)


def test_features_are_the_mean_of_the_trained_encoder_over_the_central_square(run):
    run_dir, networks = run
    image = pictures.texture(0, 200, 240)
    network = encoder.Encoder.from_checkpoint(run_dir)
    square = jnp.asarray(image[None, 4:196, 24:216], jnp.float32) / 255
    expected = jax.jit(networks["encoder"])(square).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(network.embed(image), expected, atol=1e-5)
    assert network.embed(image).shape == (8,)
    assert "encoder of recog at step 3" in network.description
    assert "192 x 192" in network.description


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((20, 20), np.uint8), ((1, 20, 20, 3), np.uint8), ((20, 20, 4), np.uint8),
        ((0, 20, 3), np.uint8), ((20, 20, 3), np.float32),
    ],
)  # fmt: skip
def test_other_arrays_are_rejected(run, shape, dtype):
    network = encoder.Encoder.from_checkpoint(run[0])
    with pytest.raises(ValueError, match=r"uint8 RGB .H, W, 3., not \w+ of shape"):
        network.embed(np.zeros(shape, dtype))


def test_a_run_without_an_encoder_is_rejected(tmp_path):
    save_run(tmp_path / "run", {"decoder": MODULES["decoder"]})
    with pytest.raises(
        ValueError, match="holds .'decoder'., not .'encoder'.; features"
    ):
        encoder.Encoder.from_checkpoint(tmp_path / "run")
