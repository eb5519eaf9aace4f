"""Restormer and NAFNet: values by a NumPy reference, and the published sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import nafnet, restormer
from tests import pictures, random_networks
from tests.models import reference
from ttl_jax import models
from ttl_jax.models import complexity
from ttl_jax.stages import networks

RESTORMER = {"num_blocks": (1, 2, 1), "num_refinement_blocks": 1}
NAFNET = {"down_blocks": (1, 2), "middle_blocks": 1, "up_blocks": (1, 2)}
SMALL = {
    "restormer": functools.partial(
        models.make_restormer, width=4, num_heads=(1, 2, 2), **RESTORMER
    ),
    "nafnet": functools.partial(models.make_nafnet, width=4, **NAFNET),
}


@pytest.mark.parametrize("name", SMALL)
def test_features_match_numpy(name):
    network, params = random_networks.make(SMALL[name])
    image = pictures.uniform(2, 10, 7, 3)  # is padded
    form = {"restormer": RESTORMER, "nafnet": NAFNET}[name]
    expected = getattr(reference, name)(image, params, **form)
    features = jax.jit(network)(image)
    assert features.shape == (*expected.shape[:3], network.width)
    np.testing.assert_allclose(features, expected, atol=2e-4, rtol=2e-4)


def test_output_decoder_adds_a_convolution_of_the_features_to_the_image():
    decoder, params = random_networks.make(
        functools.partial(models.make_output_decoder, width=4)
    )
    features, image = pictures.uniform(2, 8, 8, 4), pictures.uniform(2, 7, 6, 3)
    change = reference.conv(
        features, params["to_image.kernel"], params["to_image.bias"]
    )
    np.testing.assert_allclose(
        decoder(features, image), image + change[:, :7, :6], atol=1e-5
    )


def sizes_of(config):
    """Parameters, and multiply-adds at 256 x 256, of the networks of a config."""
    factories = networks.restorer(config)
    parts = [
        nnx.eval_shape(lambda f=f: f(rngs=nnx.Rngs(0))) for f in factories.values()
    ]
    (encoder, e_params), (decoder, d_params) = map(nnx.split, parts)

    def restore(e, d, image):
        return nnx.merge(decoder, d)(nnx.merge(encoder, e)(image), image)

    image = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    adds = complexity.multiply_adds(restore, e_params, d_params, image)
    return sum(map(complexity.num_params, parts)), adds


@pytest.mark.slow
def test_restormer_has_the_published_size():
    """26.13 M parameters as the authors' code counts them (Restormer, Table 5 reads 26.1).

    The multiply-adds are those of an independent count of that code over all convolutions
    and matrix products; the paper's 140.99 G leave out the attention.
    """
    num_params, multiply_adds = sizes_of(restormer.get_config("paper"))
    assert num_params == 26_126_644
    assert multiply_adds / 1e9 == pytest.approx(154.9, rel=0.002)


@pytest.mark.slow
def test_nafnet_has_the_published_size():
    """29.16 M parameters and 16.1 G multiply-adds with width 32, as in its authors' code."""
    num_params, multiply_adds = sizes_of(nafnet.get_config("paper"))
    assert num_params / 1e6 == pytest.approx(29.16, abs=0.005)
    assert multiply_adds / 1e9 == pytest.approx(16.1, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("config", [restormer, nafnet])
def test_small_peers_have_the_multiply_adds_of_our_small(config):
    assert sizes_of(config.get_config("small"))[1] / 1e9 == pytest.approx(6.4, rel=0.06)


def test_an_unknown_architecture_is_named():
    config = nafnet.get_config("smoke")
    config.architecture = "nafnt"
    with pytest.raises(
        ValueError, match="'nafnt'; choose one of .*did you mean 'nafnet'"
    ):
        networks.restorer(config)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (models.RestormerConfig, {"num_heads": (1, 2)}),
        (models.RestormerConfig, {"num_heads": (1,), "num_blocks": (1,)}),
        (models.NAFNetConfig, {"up_blocks": (1,)}),
    ],
)
def test_scales_that_do_not_fit_together_are_rejected(make, fault):
    with pytest.raises(ValueError, match="one entry for each scale"):
        make(**fault)
