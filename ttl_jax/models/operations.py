"""Convolutions and a norm that have forms of their own on CPUs, where XLA's are slow.

All gradients are written out, and are tested against those of the plain forms.
"""

import functools
from collections.abc import Sequence

import einops
import jax
import jax.numpy as jnp
from jax import lax

# Rows per strip of the depthwise convolution on CPUs, at most. The loop over at least two
# strips keeps XLA from fusing the sum of shifts into each consumer, which would compute it
# again.
_STRIP_ROWS = 32


@jax.custom_vjp
def depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of each channel with its own kernel, zero-padded to equal size.

    On CPUs this is a sum of shifted products, 10 to 40 times as fast as XLA's grouped
    convolution. On other backends it is `lax.conv_general_dilated`.

    Args:
      x: Features [N, H, W, C].
      kernel: Odd-sized kernels [kh, kw, C], applied without flipping.

    Returns:
      Array [N, H, W, C].

    Raises:
      ValueError: If a side of the kernel is even.
    """
    check_odd(kernel.shape[:2])
    return lax.platform_dependent(x, kernel, cpu=_shifted_sum, default=_grouped_conv)


def check_odd(sides: Sequence[int]) -> None:
    """Checks the sides of a kernel.

    Raises:
      ValueError: If one is even.
    """
    if any(side % 2 == 0 for side in sides):
        raise ValueError(f"The sides of this kernel must be odd; got {sides}.")


def _depthwise_conv_fwd(x, kernel):
    return depthwise_conv(x, kernel), (x, kernel)


def _depthwise_conv_bwd(residuals, grad):
    return lax.platform_dependent(
        *residuals, grad, cpu=_shifted_sum_grads, default=_grouped_conv_grads
    )


depthwise_conv.defvjp(_depthwise_conv_fwd, _depthwise_conv_bwd)


def _grouped_conv(x, kernel):
    return lax.conv_general_dilated(
        x, kernel[:, :, None, :].astype(x.dtype), (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1],
    )  # fmt: skip


def _grouped_conv_grads(x, kernel, grad):
    # For the gradient with respect to a 7x7 kernel, cuDNN runs channel by channel and takes
    # 6 times as long as these sums.
    kernel_grad = _tap_sums(_pad_for(kernel, x), kernel, grad)
    x_grad = _grouped_conv(grad, kernel[::-1, ::-1])
    return x_grad, kernel_grad.astype(kernel.dtype)


def _tap_sums(padded, kernel, grad):
    """Returns the gradient with respect to the kernel, summed over the rows of `grad`."""
    _, h, w, _ = grad.shape
    kh, kw, _ = kernel.shape
    dtype = jnp.promote_types(grad.dtype, jnp.float32)
    padded = padded.astype(dtype)
    sums = [
        jnp.sum(padded[:, dy : dy + h, dx : dx + w] * grad, axis=(0, 1, 2))
        for dy in range(kh)
        for dx in range(kw)
    ]
    return jnp.stack(sums).reshape(kernel.shape)


def _pad_for(kernel, x, extra_rows=0):
    top, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    return jnp.pad(x, ((0, 0), (top, top + extra_rows), (left, left), (0, 0)))


def _shifted_sum(x, kernel):
    n, h, w, c = x.shape
    kh, kw, _ = kernel.shape
    rows = min(_STRIP_ROWS, -(-h // 2))
    num_strips = -(-h // rows)
    padded = _pad_for(kernel, x, num_strips * rows - h)
    taps = kernel.astype(x.dtype)[:, :, None, None, None]  # kh kw 1 1 1 c

    def add_strip(i, out):
        # Slices of a common slice would take twice as long: XLA copies that one first.
        total = sum(
            lax.dynamic_slice(padded, (0, i * rows + dy, dx, 0), (n, rows, w, c))
            * taps[dy, dx]
            for dy in range(kh)
            for dx in range(kw)
        )
        return lax.dynamic_update_slice_in_dim(out, total, i * rows, axis=1)

    # Every row is overwritten. XLA would allocate zeros for all layers at once, since they
    # depend on no input: 2.6 KB per pixel in `small` instead of 1.0.
    out = jnp.pad(x, ((0, 0), (0, num_strips * rows - h), (0, 0), (0, 0)))
    return lax.fori_loop(0, num_strips, add_strip, out)[:, :h]


def _shifted_sum_grads(x, kernel, grad):
    """Sums over rows, then over images and columns.

    A sum for each column keeps XLA's vectors full; with columns and channels as one axis,
    they are full for any number of channels.
    """
    n, h, w, c = grad.shape
    kh, kw, _ = kernel.shape
    padded = _pad_for(kernel, x).reshape(n, h + kh - 1, -1)
    row_grads = grad.reshape(n, h, w * c)
    dtype = jnp.promote_types(x.dtype, jnp.float32)

    def add_row(y, sums):
        rows = lax.dynamic_slice_in_dim(padded, y, kh, axis=1).astype(dtype)
        row_grad = lax.dynamic_slice_in_dim(row_grads, y, 1, axis=1)
        return [
            total + rows[:, :, dx * c : (dx + w) * c] * row_grad
            for dx, total in enumerate(sums)
        ]

    zeros = [jnp.zeros((n, kh, w * c), dtype)] * kw
    sums = lax.fori_loop(0, h, add_row, zeros, unroll=4)  # reads the sums less often
    sums = [total.reshape(n, kh, w, c).sum(axis=(0, 2)) for total in sums]
    kernel_grad = jnp.stack(sums, axis=1).astype(kernel.dtype)
    return _shifted_sum(grad, kernel[::-1, ::-1]), kernel_grad


@jax.custom_vjp
def conv_to_few(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution to a few channels, zero-padded to equal size.

    On CPUs, the gradients are two products with the patches of the output's gradient. For
    few output channels, XLA's gradients take up to ten times as long.

    Args:
      x: Features [N, H, W, C].
      kernel: Odd-sized kernels [kh, kw, C, D], applied without flipping.

    Returns:
      Array [N, H, W, D].
    """
    return _conv(x, kernel)


def _conv(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _conv_grads(x, kernel, grad):
    return jax.vjp(_conv, x, kernel)[1](grad)


def _conv_grads_by_patches(x, kernel, grad):
    _, h, w, _ = x.shape
    kh, kw, num_inputs, num_outputs = kernel.shape
    padded = _pad_for(kernel, grad)
    shifted = [
        padded[:, dy : dy + h, dx : dx + w]
        for dy in reversed(range(kh))
        for dx in reversed(range(kw))
    ]
    patches = jnp.concatenate(shifted, axis=-1).reshape(-1, kh * kw * num_outputs)
    weights = einops.rearrange(kernel, "kh kw i o -> (kh kw o) i")
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    kernel_grad = jnp.einsum(
        "pk,pi->ki", patches, x.reshape(-1, num_inputs), preferred_element_type=dtype
    ).reshape(kh, kw, num_outputs, num_inputs)
    kernel_grad = kernel_grad.swapaxes(-1, -2).astype(kernel.dtype)
    return (patches @ weights).reshape(x.shape), kernel_grad


conv_to_few.defvjp(
    lambda x, kernel: (_conv(x, kernel), (x, kernel)),
    lambda residuals, grad: lax.platform_dependent(
        *residuals, grad, cpu=_conv_grads_by_patches, default=_conv_grads
    ),
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> jax.Array:
    """Normalizes the channels of each pixel (Ba et al., Layer Normalization, 2016).

    On CPUs, the means are products with a column of ones. XLA sums the last axis without
    vector instructions, which takes up to four times as long.

    Args:
      x: Features [N, H, W, C].
      scale: [C].
      bias: [C].
      epsilon: Added to the variances.

    Returns:
      Array [N, H, W, C] of the type of x, computed in float32 or better.
    """
    normalized, _ = _normalize(x, epsilon)
    y = normalized * scale[None, None, None] + bias[None, None, None]
    return y.astype(x.dtype)


def _normalize(x, epsilon):
    """Returns features of mean 0 and variance 1, and the factor that gave the variance."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = x - _mean_over_channels(x)
    factor = lax.rsqrt(_mean_over_channels(jnp.square(centred)) + epsilon)
    return centred * factor, factor


def _layer_norm_bwd(epsilon, residuals, grad):
    x, scale, _ = residuals
    normalized, factor = _normalize(x, epsilon)
    grad = grad.astype(normalized.dtype)
    inner = grad * scale[None, None, None]
    along = _mean_over_channels(inner * normalized)
    x_grad = factor * (inner - _mean_over_channels(inner) - normalized * along)
    axes = (0, 1, 2)
    grads = x_grad, (grad * normalized).sum(axes), grad.sum(axes)
    return tuple(grad.astype(of.dtype) for grad, of in zip(grads, residuals))


layer_norm.defvjp(
    lambda x, scale, bias, epsilon: (
        layer_norm(x, scale, bias, epsilon),
        (x, scale, bias),
    ),
    _layer_norm_bwd,
)


def _mean_over_channels(x):
    """Returns the mean of each pixel, [N, H, W, C] to [N, H, W, 1]."""
    return lax.platform_dependent(x, cpu=_mean_by_product, default=_mean_by_sum)


def _mean_by_product(x):
    column = jnp.full((x.shape[-1], 1), 1 / x.shape[-1], x.dtype)
    return (x.reshape(-1, x.shape[-1]) @ column).reshape(*x.shape[:-1], 1)


def _mean_by_sum(x):
    return x.mean(axis=-1, keepdims=True)
