"""Layers and global branches against NumPy in float64, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.test_util import check_grads

from tests.models import reference
from ttl_jax import models
from ttl_jax.models import attention, layers
from ttl_jax.weights import flat_params


def randomized(module, key):
    """The module with all params drawn anew, so that biases and norms take part."""
    graph, params = flat_params.split_module(module)
    keys = jax.random.split(key, len(params))
    params = {
        name: value + 0.3 * jax.random.normal(k, value.shape)
        for k, (name, value) in zip(keys, params.items())
    }
    module = flat_params.merge_module(graph, params)
    return module, {name: np.asarray(v, np.float64) for name, v in params.items()}


def check_against(module, key, expected_of, shape, **kwargs):
    """Compares values with the reference and gradients with finite differences."""
    module, params = randomized(module, key)
    x = jax.random.normal(jax.random.fold_in(key, 1), shape)
    expected = expected_of(np.asarray(x, np.float64), params, **kwargs)
    np.testing.assert_allclose(jax.jit(module)(x), expected, rtol=2e-4, atol=2e-5)
    with jax.enable_x64(True):
        graph, params = flat_params.split_module(module)
        params = {name: jnp.asarray(v, jnp.float64) for name, v in params.items()}

        @jax.jit
        def apply(params, x):
            return flat_params.merge_module(graph, params)(x)

        check_grads(
            apply, (params, jnp.asarray(x, jnp.float64)), order=1, modes=["rev"]
        )


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 33, 4, 2), (2, 1, 1, 3)])
@pytest.mark.parametrize("kernel_shape", [(7, 7), (3, 5)])
def test_depthwise_conv_equals_grouped_lax_conv(key, shape, kernel_shape):
    x = jax.random.normal(key, shape)
    kernel = jax.random.normal(key, (*kernel_shape, shape[-1]))
    weight = jax.random.normal(jax.random.fold_in(key, 1), shape)

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

    ours = jax.value_and_grad(weighted(layers.depthwise_conv), (0, 1))(x, kernel)
    theirs = jax.value_and_grad(weighted(grouped), (0, 1))(x, kernel)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        ours,
        theirs,
    )


def test_depthwise_conv_off_the_cpu_equals_the_cpu_form(key):
    # Both forms are chosen by platform; here the other platforms' one runs on the CPU.
    x = jax.random.normal(key, (2, 40, 9, 4))
    kernel = jax.random.normal(key, (7, 7, 4))
    grad = jax.random.normal(jax.random.fold_in(key, 1), x.shape)
    np.testing.assert_allclose(
        layers._grouped_conv(x, kernel), layers._shifted_sum(x, kernel), atol=1e-4
    )
    for ours, theirs in zip(
        layers._grouped_conv_grads(x, kernel, grad),
        layers._shifted_sum_grads(x, kernel, grad),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_depthwise_conv_refuses_an_even_kernel():
    with pytest.raises(ValueError, match="odd sides"):
        layers.depthwise_conv(jnp.ones((1, 4, 4, 1)), jnp.ones((2, 3, 1)))


def test_depthwise_conv_keeps_bfloat16_and_sums_kernel_gradients_in_float32(key):
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    kernel = jnp.ones((1, 1, 1), jnp.bfloat16)
    out, vjp = jax.vjp(layers.depthwise_conv, x, kernel)
    assert out.dtype == jnp.bfloat16
    # A sum of 4096 ones in bfloat16 would stop at 256.
    assert float(vjp(jnp.ones_like(out))[1].squeeze()) == 64 * 64


def test_spatial_attention_matches_numpy(key):
    module = layers.SpatialAttention(rngs=nnx.Rngs(0))
    check_against(module, key, reference.spatial_attention, (2, 9, 5, 6))


def test_local_branch_matches_numpy(key):
    module = layers.LocalBranch(4, rngs=nnx.Rngs(0))
    check_against(module, key, reference.local_branch, (2, 9, 5, 4))


def test_feed_forward_matches_numpy(key):
    module = layers.FeedForward(4, rngs=nnx.Rngs(0))
    check_against(module, key, reference.feed_forward, (2, 3, 5, 4))


@pytest.mark.parametrize("size", [(6, 9), (1, 3), (8, 8)])
def test_spp_matches_numpy_also_smaller_than_its_pools(key, size):
    module = layers.SpatialPyramidPooling(3, pools=(8, 4, 2), rngs=nnx.Rngs(0))
    check_against(module, key, reference.spp, (2, *size, 3), pools=(8, 4, 2))


def test_channel_attention_matches_numpy(key):
    module = attention.ChannelAttention(8, head_width=4, rngs=nnx.Rngs(0))
    check_against(module, key, reference.channel_attention, (2, 5, 6, 8))


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(6, 9), (2, 3)])
def test_window_attention_matches_numpy(key, shift, size):
    module = attention.WindowAttention(
        6, head_width=3, window=4, shift=shift, rngs=nnx.Rngs(0)
    )
    check_against(
        module,
        key,
        reference.window_attention,
        (2, *size, 6),
        window=4,
        shift=shift,
        heads=2,
    )


@pytest.mark.parametrize("size", [(6, 9), (2, 3)])
def test_dense_attention_matches_numpy(key, size):
    module = attention.DenseAttention(6, head_width=3, pool=4, rngs=nnx.Rngs(0))
    check_against(
        module, key, reference.dense_attention, (2, *size, 6), pool=4, heads=2
    )


def test_channel_attention_ignores_where_pixels_are_but_for_its_convolution(key):
    module = attention.ChannelAttention(4, head_width=4, rngs=nnx.Rngs(0))
    # With the depthwise kernel cut to its centre, permuted pixels give permuted results.
    kernel = module.depthwise.kernel[...]
    module.depthwise.kernel[...] = jnp.zeros_like(kernel).at[1, 1].set(kernel[1, 1])
    x = jax.random.normal(key, (1, 4, 4, 4))
    order = jax.random.permutation(key, 16)

    def permuted(x):
        return x.reshape(1, 16, 4)[:, order].reshape(1, 4, 4, 4)

    np.testing.assert_allclose(module(permuted(x)), permuted(module(x)), atol=1e-5)


def test_unknown_global_branch_names_the_choices():
    with pytest.raises(ValueError, match="'dense'"):
        models.make_encoder(global_branch="full", rngs=nnx.Rngs(0))


def test_head_width_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of head_width=5"):
        attention.ChannelAttention(8, head_width=5, rngs=nnx.Rngs(0))


def test_pixel_shuffle_inverts_pixel_unshuffle(key):
    x = jax.random.normal(key, (2, 6, 4, 3))
    unshuffled = layers.pixel_unshuffle(x, 2)
    np.testing.assert_array_equal(unshuffled, reference.pixel_unshuffle(np.array(x), 2))
    np.testing.assert_array_equal(layers.pixel_shuffle(unshuffled, 2), x)
