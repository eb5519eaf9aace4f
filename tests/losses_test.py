"""Eqs. 1-5 against NumPy, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ttl_jax import losses


@pytest.fixture
def images(key):
    a, b = jax.random.uniform(key, (2, 3, 8, 6, 3))
    return a, b


def in_numpy(kind, a, b):
    d = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    if kind == "l2":
        return np.mean([np.linalg.norm(sample) for sample in d])
    return {
        "mse": np.mean(d**2),
        "l1": np.mean(np.abs(d)),
        "charbonnier": np.mean(np.sqrt(d**2 + 1e-6)),
    }[kind]


def sobel_in_numpy(images):
    """Horizontal and vertical; SciPy's "mirror" is jnp.pad's "reflect"."""
    images = np.asarray(images, np.float64)
    gradients = []
    for along, across in ((2, 1), (1, 2)):
        step = ndimage.correlate1d(images, [-1, 0, 1], axis=along, mode="mirror")
        smooth = ndimage.correlate1d(step, [1, 2, 1], axis=across, mode="mirror")
        gradients.append(smooth / 8)
    return gradients


@pytest.mark.parametrize("kind", losses.DISTANCES)
def test_distance_matches_numpy(images, kind):
    np.testing.assert_allclose(
        losses.distance(*images, kind), in_numpy(kind, *images), rtol=1e-5
    )


@pytest.mark.parametrize("kind", losses.DISTANCES)
def test_distance_and_gradient_are_finite_at_the_target(images, kind):
    image = images[0]
    value, grad = jax.value_and_grad(losses.distance)(image, image, kind)
    assert value < 2e-3
    assert np.isfinite(grad).all()


def test_sobel_gradients_match_scipy(images):
    expected = np.concatenate(sobel_in_numpy(images[0]), axis=-1)
    np.testing.assert_allclose(losses.sobel_gradients(images[0]), expected, atol=1e-6)


def test_sobel_gradient_of_a_ramp_is_its_slope():
    y, x = jnp.mgrid[0:5, 0:7]
    ramp = (0.25 * x + 0.5 * y)[None, :, :, None]
    inner = losses.sobel_gradients(ramp)[0, 1:-1, 1:-1]
    np.testing.assert_allclose(inner[..., 0], 0.25, rtol=1e-6)
    np.testing.assert_allclose(inner[..., 1], 0.5, rtol=1e-6)


@pytest.mark.parametrize("kind", losses.DISTANCES)
@pytest.mark.parametrize("gradient_weight", [0.0, 1.0, 0.3])
def test_reconstruction_matches_eq_2_in_numpy(images, kind, gradient_weight):
    restored, clean = images
    gradients = [
        np.concatenate(sobel_in_numpy(image), axis=-1) for image in (restored, clean)
    ]
    expected = in_numpy(kind, restored, clean)
    expected += gradient_weight * in_numpy(kind, *gradients)
    ours = losses.reconstruction(
        restored, clean, kind=kind, gradient_weight=gradient_weight
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_recognition_matches_eq_1_in_numpy():
    scores, labels = jnp.array([0.2, -1.5, 3.0]), jnp.array([0.0, 1.0, 1.0])
    expected = np.mean([0.2**2, 2.5**2, 2.0**2])
    np.testing.assert_allclose(losses.recognition(scores, labels), expected, rtol=1e-6)


def test_recognition_by_cross_entropy_takes_scores_as_logits():
    scores, labels = jnp.array([0.2, -1.5]), jnp.array([0.0, 1.0])
    probability = 1 / (1 + np.exp(-np.array(scores)))
    expected = -np.mean([np.log(1 - probability[0]), np.log(probability[1])])
    ours = losses.recognition(scores, labels, "cross_entropy")
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_distillation_has_one_term_per_teacher(images):
    a, b = images
    terms = losses.distillation({"recog": a, "recon": b}, {"recog": b, "recon": b})
    np.testing.assert_allclose(terms["recog"], in_numpy("mse", a, b), rtol=1e-5)
    assert terms["recon"] == 0


def test_no_feature_goes_below_the_direct_floor(images, key):
    teachers = dict(zip(("recog", "recon"), images))

    def eq3(features):
        student = dict.fromkeys(teachers, features)
        return sum(losses.distillation(student, teachers).values())

    floor = losses.direct_floor(teachers)
    distance = np.mean((np.asarray(images[0]) - np.asarray(images[1])) ** 2)
    np.testing.assert_allclose(floor, distance / 2, rtol=1e-5)
    mean = (images[0] + images[1]) / 2
    np.testing.assert_allclose(eq3(mean), floor, rtol=1e-5)
    for scale in (1e-3, 1e-1):
        noise = scale * jax.random.normal(key, mean.shape)
        assert eq3(mean + noise) > floor


def test_direct_floor_of_one_teacher_is_zero(images):
    assert losses.direct_floor({"recog": images[0]}) == 0


def test_distance_refuses_shapes_that_differ(images):
    with pytest.raises(ValueError, match="must be equal"):
        losses.distance(images[0], images[1][:1])


def test_distance_names_the_choices():
    with pytest.raises(ValueError, match="charbonnier"):
        losses.distance(jnp.ones(2), jnp.ones(2), "huber")
