import numpy as np
import pytest

from tests import pictures
from ttl_jax.data.rain import renderer, streak_bank


@pytest.fixture
def pair():
    clean = pictures.noise(40, 50, 3) // 2
    layer = np.random.default_rng(1).integers(0, 100, (40, 50, 1), np.uint8)
    return clean + layer, clean, layer


def test_a_layer_is_what_rain_added(pair):
    rainy, clean, added = pair
    layer = streak_bank.take_layer(rainy, clean)
    assert layer.shape == (40, 50, 3) and layer.dtype == np.float32
    np.testing.assert_allclose(layer, (added / 255).repeat(3, axis=2), atol=1e-6)


def test_darker_pixels_are_ignored(pair):
    rainy, clean, _ = pair
    np.testing.assert_array_equal(streak_bank.take_layer(clean, rainy), 0)


def test_an_added_layer_never_darkens_and_keeps_its_total(pair):
    rainy, clean, _ = pair
    layer = streak_bank.take_layer(rainy, clean)
    black = np.zeros((600, 700, 3), np.uint8)
    strengths = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        laid = streak_bank.lay(clean, layer, rng)
        assert laid.shape == clean.shape and np.all(laid >= clean)
        laid = streak_bank.lay(black, layer, np.random.default_rng(seed))
        strengths.append(laid.mean() / 255 / layer.mean())
    # Any part of the repeated layer is as bright as its mean times the strength.
    assert 0.69 < min(strengths) < 0.75 and 1.25 < max(strengths) < 1.31


@pytest.mark.parametrize("factor", [0.5, 0.73, 1, 1.4])
def test_scaling_a_layer_keeps_its_mean(pair, factor):
    layer = streak_bank.take_layer(*pair[:2])
    scaled = streak_bank.scale(layer, factor)
    assert scaled.shape == (round(40 * factor), round(50 * factor), 3)
    assert scaled.min() >= 0 and scaled.max() <= layer.max()
    assert scaled.mean() == pytest.approx(layer.mean(), rel=0.03)


def test_a_layer_repeats_without_end():
    layer = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    tiled = np.tile(layer, (4, 5, 1))
    np.testing.assert_array_equal(streak_bank.wrap(layer, 1, 0, 5, 7), tiled[1:6, :7])


def test_layers_and_photographs_of_any_size_fit():
    rng = np.random.default_rng(2)
    for layer_size in ((1, 1), (3, 200), (64, 64)):
        layer = rng.random((*layer_size, 3), np.float32)
        for size in ((1, 1), (7, 5), (301, 33)):
            clean = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
            laid = streak_bank.lay(clean, layer, rng)
            assert laid.shape == clean.shape and laid.dtype == np.uint8
            assert np.all(laid >= clean)


def test_the_same_generator_state_adds_the_same_layer(pair):
    layer = streak_bank.take_layer(*pair[:2])
    first, again, other = (
        streak_bank.lay(pair[1], layer, np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_the_layer_of_rendered_rain_keeps_its_direction(pair):
    """Streaks keep their direction when they are added to another photograph."""
    rng = np.random.default_rng(5)
    parameters = renderer.draw_parameters(rng, "heavy")
    layer = streak_bank.take_layer(
        renderer.add(np.full((128, 128, 3), 40, np.uint8), parameters, rng),
        np.full((128, 128, 3), 40, np.uint8),
    )
    laid = streak_bank.lay(np.full((128, 128, 3), 90, np.uint8), layer, rng)
    down, right = np.gradient(laid[..., 0].astype(float))
    assert np.mean(right**2) > 2 * np.mean(down**2)
