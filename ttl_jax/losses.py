"""Losses of task transfer learning, Eqs. 1-5.

Images are float [N, H, W, 3] in [0, 1], features float [N, h, w, C]; every loss is a
scalar to minimise.

Note: the paper prints unsquared norms and calls them "MSE loss". The mean of the
squares over all elements is the default here; the unsquared norm is one of `DISTANCES`.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax


def _l2(a, b):
    squares = jnp.sum(jnp.square(a - b), axis=tuple(range(1, a.ndim)))
    # The norm has no gradient at zero; the smallest normal number gives it a finite one.
    return jnp.mean(jnp.sqrt(squares + jnp.finfo(squares.dtype).tiny))


DISTANCES = {
    # Mean over all elements of the squared difference.
    "mse": lambda a, b: jnp.mean(jnp.square(a - b)),
    # Mean over samples of the Euclidean norm, as Eqs. 1-4 are printed.
    "l2": _l2,
    # Mean absolute difference.
    "l1": lambda a, b: jnp.mean(jnp.abs(a - b)),
    # Mean of sqrt(d² + 1e-6), Charbonnier et al. 1994.
    "charbonnier": lambda a, b: jnp.mean(jnp.sqrt(jnp.square(a - b) + 1e-6)),
}


def check_kind(kind: str, field: str) -> None:
    """Checks the name of a distance before training starts.

    Args:
      kind: Name to check.
      field: Name of the config field, for the error message.

    Raises:
      ValueError: If the kind is not a key of `DISTANCES`.
    """
    if kind not in DISTANCES:
        raise ValueError(f"{field}={kind!r}; choose one of {sorted(DISTANCES)}.")


def distance(a: jax.Array, b: jax.Array, kind: str = "mse") -> jax.Array:
    """Returns the distance of two arrays of equal shape, a scalar.

    Args:
      a: Array [N, ...].
      b: Array of the same shape.
      kind: A key of `DISTANCES`.

    Raises:
      ValueError: If the kind is unknown or the shapes differ.
    """
    _check_shapes(a, b)
    check_kind(kind, "kind")
    return DISTANCES[kind](a, b)


def _check_shapes(a: jax.Array, b: jax.Array) -> None:
    # Without this check, one array could be broadcast silently.
    if a.shape != b.shape:
        raise ValueError(f"got shapes {a.shape} and {b.shape}; they must be equal.")


def recognition(scores: jax.Array, labels: jax.Array, kind: str = "mse") -> jax.Array:
    """Returns the loss of the rain classifier, Eq. 1.

    Note: the paper writes "0/1 standing for rainy/rain-free"; here 1 stands for rainy. Eq. 1
    is symmetric in the two labels.

    Args:
      scores: Output of D_recog [N], unbounded.
      labels: 1 for rainy, 0 for rain-free [N].
      kind: A key of `DISTANCES`, or "cross_entropy", which takes the scores as logits.

    Raises:
      ValueError: If the kind is unknown or the shapes differ.
    """
    if kind == "cross_entropy":
        _check_shapes(scores, labels)
        return jnp.mean(optax.losses.sigmoid_binary_cross_entropy(scores, labels))
    return distance(scores, labels, kind)


def classification(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Returns the mean cross-entropy of logits [N, K] with classes [N], integers."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(
        logits, classes
    ).mean()


def sobel_gradients(images: jax.Array) -> jax.Array:
    """Returns horizontal and vertical Sobel gradients, [N, H, W, C] to [N, H, W, 2C].

    Note: the paper says "horizontal and vertical gradients". The kernels are divided by
    8, so that a ramp of slope 1 per pixel has gradient 1; borders are reflected.
    """
    h, w = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")

    def smoothed(*places):
        first, middle, last = (padded[:, y : y + h, x : x + w] for y, x in places)
        return first + 2 * middle + last

    horizontal = smoothed((0, 2), (1, 2), (2, 2)) - smoothed((0, 0), (1, 0), (2, 0))
    vertical = smoothed((2, 0), (2, 1), (2, 2)) - smoothed((0, 0), (0, 1), (0, 2))
    return jnp.concatenate([horizontal, vertical], axis=-1) / 8


def reconstruction(
    restored: jax.Array,
    clean: jax.Array,
    *,
    kind: str = "mse",
    gradient_weight: float = 1.0,
) -> jax.Array:
    """Returns the distance of images plus the distance of their gradients, Eq. 2.

    Args:
      restored: Output of D_recon or D_dr [N, H, W, 3].
      clean: Ground truth of the same shape.
      kind: A key of `DISTANCES`, used for both terms.
      gradient_weight: Weight of the second term.

    Raises:
      ValueError: If the kind is unknown or the shapes differ.
    """
    gradients = distance(sobel_gradients(restored), sobel_gradients(clean), kind)
    return distance(restored, clean, kind) + gradient_weight * gradients


def distillation(
    student: Mapping[str, jax.Array],
    teachers: Mapping[str, jax.Array],
    *,
    kind: str = "mse",
) -> dict[str, jax.Array]:
    """Returns the terms of Eq. 3 or Eq. 4, a scalar per teacher; the loss is their sum.

    Args:
      student: Arrays by teacher. For Eq. 3, the student's features E_stu(I), or their
        projection for that teacher. For Eq. 4, what the teacher's decoder computes from
        them.
      teachers: Arrays of the same shapes by teacher. For Eq. 3, E_recog(I) and E_recon(I).
        For Eq. 4, the outputs of the teachers' decoders.
      kind: A key of `DISTANCES`.

    Raises:
      ValueError: If the kind is unknown or the shapes differ.
    """
    return {name: distance(student[name], teachers[name], kind) for name in teachers}


def direct_floor(teachers: Mapping[str, jax.Array]) -> jax.Array:
    """Returns the smallest possible value of Eq. 3 with the distance "mse", a scalar.

    One student cannot equal several teachers; the best student is their mean. With two
    teachers the floor is half the mean squared distance between them.

    Args:
      teachers: Features by teacher, of equal shape.
    """
    stacked = jnp.stack([teachers[name] for name in sorted(teachers)])
    spread = stacked - stacked.mean(axis=0, keepdims=True)
    return len(teachers) * jnp.mean(jnp.square(spread))
