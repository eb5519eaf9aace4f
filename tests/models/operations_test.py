"""Convolutions and the norm against XLA's own forms: values, gradients, types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.models.layers_test import noise
from ttl_jax.models import operations


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
        for conv in (operations.depthwise_conv, grouped)
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
        ((x, kernel), operations._grouped_conv, operations._shifted_sum),
        (
            (x, kernel, grad),
            operations._grouped_conv_grads,
            operations._shifted_sum_grads,
        ),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
            *(jax.jit(form)(*arguments) for form in (ours, theirs)),
        )


def test_depthwise_conv_refuses_an_even_kernel():
    with pytest.raises(ValueError, match="must be odd"):
        operations.depthwise_conv(jnp.ones((1, 4, 4, 1)), jnp.ones((2, 3, 1)))


def test_depthwise_conv_keeps_bfloat16_and_sums_kernel_gradients_in_float32(key):
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    kernel = jnp.ones((1, 1, 1), jnp.bfloat16)
    out, vjp = jax.vjp(jax.jit(operations.depthwise_conv), x, kernel)
    assert out.dtype == jnp.bfloat16
    # A sum of 4096 ones in bfloat16 would stop at 256.
    assert float(vjp(jnp.ones_like(out))[1].squeeze()) == 64 * 64


@pytest.mark.parametrize(
    ("shape", "kernel_shape"),
    [
        ((2, 5, 7, 4), (3, 3, 4, 3)),
        ((1, 9, 2, 3), (5, 3, 3, 1)),
        ((2, 1, 1, 2), (7, 7, 2, 4)),
    ],
)
def test_conv_to_few_equals_lax_conv_with_its_gradients(shape, kernel_shape):
    x, kernel = noise(*shape), noise(*kernel_shape, seed=2)
    weight = noise(*shape[:3], kernel_shape[-1], seed=3)

    def plain(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=numbers
        )

    ours, theirs = (
        jax.jit(jax.value_and_grad(lambda *a, f=f: jnp.sum(f(*a) * weight), (0, 1)))
        for f in (operations.conv_to_few, plain)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        ours(x, kernel),
        theirs(x, kernel),
    )


def test_conv_to_few_sums_kernel_gradients_of_bfloat16_in_float32():
    x, kernel = (
        jnp.ones((1, 64, 64, 2), jnp.bfloat16),
        jnp.ones((1, 1, 2, 1), jnp.bfloat16),
    )
    out, vjp = jax.vjp(jax.jit(operations.conv_to_few), x, kernel)
    x_grad, kernel_grad = vjp(jnp.ones_like(out))
    assert {out.dtype, x_grad.dtype, kernel_grad.dtype} == {jnp.dtype(jnp.bfloat16)}
    assert np.all(np.float32(kernel_grad) == 64 * 64)


def test_means_over_channels_have_the_same_values_in_the_form_of_other_platforms():
    x = noise(2, 3, 5, 48) + 3
    np.testing.assert_allclose(
        jax.jit(operations._mean_by_product)(x), x.mean(-1, keepdims=True), rtol=1e-6
    )
    np.testing.assert_allclose(
        jax.jit(operations._mean_by_sum)(x), x.mean(-1, keepdims=True), rtol=1e-6
    )


def test_layer_norm_of_bfloat16_is_that_of_float32_rounded_once():
    x, scale, bias = noise(1, 4, 4, 16) + 50, noise(16, seed=2), noise(16, seed=3)
    low = [jnp.asarray(part, jnp.bfloat16) for part in (x, scale, bias)]
    out = operations.layer_norm(*low, 1e-6)
    exact = operations.layer_norm(*(part.astype(jnp.float32) for part in low), 1e-6)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))


def test_layer_norm_keeps_small_differences_beside_a_large_mean():
    x = np.float32(1e4) + noise(1, 2, 2, 32)
    ones, zeros = np.ones(32, np.float32), np.zeros(32, np.float32)
    out = operations.layer_norm(x, ones, zeros, 1e-6)
    exact = np.float64(x) - np.float64(x).mean(-1, keepdims=True)
    exact /= exact.std(-1, keepdims=True)
    np.testing.assert_allclose(out, exact, atol=2e-3)
