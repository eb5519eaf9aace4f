"""Layers and global branches against NumPy in float64, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
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
    ("shape", "kernel_shape"),
    [
        ((2, 5, 7, 3), (3, 5)),
        ((1, 33, 4, 2), (7, 7)),  # two strips
        ((1, 33, 4, 2), (3, 5)),
        ((2, 1, 1, 3), (7, 7)),
    ],
)
def test_depthwise_conv_equals_grouped_lax_conv(shape, kernel_shape):
    x, weight = noise(*shape), noise(*shape, seed=2)
    kernel = noise(*kernel_shape, shape[-1])

    def grouped(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel[:, :, None],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=shape[-1],
        )

    def weighted(conv):
        return lambda x, kernel: jnp.sum(conv(x, kernel) * weight)

    ours, theirs = (
        jax.jit(jax.value_and_grad(weighted(conv), (0, 1)))(x, kernel)
        for conv in (layers.depthwise_conv, grouped)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        ours,
        theirs,
    )


def test_depthwise_conv_off_the_cpu_equals_the_cpu_form():
    # Both forms are chosen by platform; here the other platforms' one runs on the CPU.
    x, grad, kernel = noise(2, 40, 9, 4), noise(2, 40, 9, 4, seed=2), noise(5, 3, 4)
    for arguments, ours, theirs in (
        ((x, kernel), layers._grouped_conv, layers._shifted_sum),
        ((x, kernel, grad), layers._grouped_conv_grads, layers._shifted_sum_grads),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
            *(jax.jit(form)(*arguments) for form in (ours, theirs)),
        )


def test_depthwise_conv_refuses_an_even_kernel():
    with pytest.raises(ValueError, match="must be odd"):
        layers.depthwise_conv(jnp.ones((1, 4, 4, 1)), jnp.ones((2, 3, 1)))


def test_depthwise_conv_keeps_bfloat16_and_sums_kernel_gradients_in_float32(key):
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    kernel = jnp.ones((1, 1, 1), jnp.bfloat16)
    out, vjp = jax.vjp(jax.jit(layers.depthwise_conv), x, kernel)
    assert out.dtype == jnp.bfloat16
    # A sum of 4096 ones in bfloat16 would stop at 256.
    assert float(vjp(jnp.ones_like(out))[1].squeeze()) == 64 * 64


@pytest.mark.parametrize(
    ("make", "expected_of", "shape"),
    [
        (layers.SpatialAttention, reference.spatial_attention, (2, 9, 5, 6)),
        (
            partial(layers.LocalBranch, 4, kernel_size=3),
            reference.local_branch,
            (2, 9, 5, 4),
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
