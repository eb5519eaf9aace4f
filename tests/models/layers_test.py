"""Layers and global branches against NumPy in float64, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from tests import random_networks
from tests.models import reference
from ttl_jax import models
from ttl_jax.models import attention, layers
from ttl_jax.weights import flat_params


def noise(*shape, seed=1):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


def check_against(make, expected_of, shape, **kwargs):
    """Compares values with the reference and gradients with finite differences."""
    _, params = random_networks.make(make)
    graph, _ = flat_params.split_factory(make)
    x = np.float64(noise(*shape))
    expected = expected_of(x, params, **kwargs)
    with jax.enable_x64(True):

        @jax.jit
        def apply(params, x):
            return flat_params.merge_module(graph, params)(x)

        params = {name: jnp.asarray(value) for name, value in params.items()}
        np.testing.assert_allclose(apply(params, x), expected, rtol=1e-5, atol=1e-6)
        check_grads(apply, (params, jnp.asarray(x)), order=1, modes=["rev"])


@pytest.mark.parametrize(
    ("make", "expected_of", "shape"),
    [
        (layers.SpatialAttention, reference.spatial_attention, (2, 9, 5, 6)),
        (
            partial(layers.LocalBranch, 4, kernel_size=3),
            reference.local_branch,
            (2, 9, 5, 4),
        ),
        (
            partial(layers.LayerNorm, 5),
            lambda x, p: reference.layer_norm(x, p["scale"], p["bias"]),
            (2, 3, 7, 5),
        ),
        (partial(layers.FeedForward, 4), reference.feed_forward, (2, 3, 5, 4)),
        (
            partial(attention.ChannelAttention, 8, head_width=4),
            reference.channel_attention,
            (2, 5, 6, 8),
        ),
    ],
)
def test_layer_matches_numpy(make, expected_of, shape):
    check_against(make, expected_of, shape)


def test_conv_to_few_matches_numpy_and_keeps_the_better_type():
    make = partial(layers.ConvToFew, 4, 3)

    def expected(x, params):
        return reference.conv(x, params["kernel"], params["bias"])

    check_against(make, expected, (2, 5, 3, 4))
    module, _ = random_networks.make(make)
    assert module(jnp.ones((1, 4, 4, 4), jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize("size", [(6, 9), (1, 3), (8, 8)])
def test_spp_matches_numpy_also_smaller_than_its_pools(size):
    make = partial(layers.SpatialPyramidPooling, 3, pools=(8, 4, 2))
    check_against(make, reference.spp, (2, *size, 3), pools=(8, 4, 2))


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(6, 9), (2, 3)])
def test_window_attention_matches_numpy(shift, size):
    make = partial(attention.WindowAttention, 6, head_width=3, window=4, shift=shift)
    shape = (2, *size, 6)
    check_against(
        make, reference.window_attention, shape, window=4, shift=shift, heads=2
    )


@pytest.mark.parametrize("size", [(6, 9), (2, 3)])
def test_dense_attention_matches_numpy(size):
    make = partial(attention.DenseAttention, 6, head_width=3, pool=4)
    check_against(make, reference.dense_attention, (2, *size, 6), pool=4, heads=2)


def test_channel_attention_is_permutation_equivariant_except_for_its_convolution():
    module, params = random_networks.make(
        partial(attention.ChannelAttention, 4, head_width=4)
    )
    # With the depthwise kernel cut to its centre, permuted pixels give permuted results.
    kernel = np.zeros((3, 3, 12), np.float32)
    kernel[1, 1] = params["depthwise.kernel"][1, 1]
    module.depthwise.kernel[...] = jnp.asarray(kernel)
    x, order = noise(1, 4, 4, 4), np.random.default_rng(0).permutation(16)

    def permuted(x):
        return np.reshape(x, (1, 16, 4))[:, order].reshape(1, 4, 4, 4)

    apply = jax.jit(module)
    np.testing.assert_allclose(apply(permuted(x)), permuted(apply(x)), atol=1e-5)


def test_unknown_global_branch_names_the_choices():
    with pytest.raises(ValueError, match="'dense'"):
        models.make_encoder(global_branch="full", rngs=nnx.Rngs(0))


def test_head_width_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of head_width=5"):
        attention.ChannelAttention(8, head_width=5, rngs=nnx.Rngs(0))


def test_pixel_shuffle_inverts_pixel_unshuffle():
    x = noise(2, 6, 4, 3)
    unshuffled = layers.pixel_unshuffle(x, 2)
    np.testing.assert_array_equal(unshuffled, reference.pixel_unshuffle(np.array(x), 2))
    np.testing.assert_array_equal(layers.pixel_shuffle(unshuffled, 2), x)
