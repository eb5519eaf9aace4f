"""Hard negatives: thin structures drawn on photographs."""

import numpy as np
import pytest

from tests import pictures
from ttl_jax.data.structures import bars, drawing, strokes

GREY = np.full((150, 200, 3), 128, np.uint8)


def layer_of(kind, seed, height=150, width=200):
    return drawing.KINDS[kind](height, width, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", drawing.KINDS)
def test_a_layer_holds_colour_times_coverage(kind):
    covered = []
    for seed in range(6):
        layer = layer_of(kind, seed)
        assert layer.shape == (4, 150, 200) and layer.dtype == np.float32
        assert np.all(np.isfinite(layer)) and layer.min() >= 0 and layer.max() <= 1
        assert np.all(layer[:3] <= layer[3] + 1 / 255)
        covered.append(layer[3].mean())
    assert 0.002 < np.mean(covered) < 0.95


@pytest.mark.parametrize("kind", drawing.KINDS)
def test_kinds_vary(kind):
    layers = [layer_of(kind, seed) for seed in range(4)]
    for i, layer in enumerate(layers):
        for other in layers[:i]:
            assert np.mean(np.abs(layer - other) > 0.02) > 0.005


def test_the_same_state_draws_the_same():
    drawn = [drawing.draw(GREY, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)
    other = drawing.draw(GREY, np.random.default_rng(4))
    assert np.any(drawn[0] != other)


def test_pixels_without_a_structure_are_unchanged(monkeypatch):
    photograph = pictures.texture(0, 150, 200)
    before = photograph.copy()
    photograph.flags.writeable = False

    def bar(height, width, rng):
        layer = np.zeros((4, height, width), np.float32)
        layer[:, 20:90, 60:63] = 1
        return layer

    monkeypatch.setattr(drawing, "KINDS", dict.fromkeys("abc", bar))
    for seed in range(20):  # sharp and not, with and without shadow
        drawn = drawing.draw(photograph, np.random.default_rng(seed))
        assert drawn[30:80, 61].min() > 200  # white, with grain and perhaps blurred
        far = np.ones((150, 200), bool)
        far[:112, 34:89] = False  # 12 pixels of shadow and its blur around the bar
        np.testing.assert_array_equal(drawn[far], photograph[far])
    np.testing.assert_array_equal(photograph, before)


def test_most_structures_leave_a_part_of_the_photograph():
    photograph = pictures.texture(0, 150, 200)
    unchanged = [
        np.mean(drawing.draw(photograph, np.random.default_rng(seed)) == photograph)
        for seed in range(40)
    ]
    assert np.median(unchanged) > 0.3 and np.min(unchanged) < 0.9


def test_bars_have_the_given_width():
    u = np.broadcast_to(np.arange(-40.0, 40.0), (8, 80)).astype(np.float32)
    for width in (0.7, 1.0, 1.5, 4.0):
        coverage, place, number = bars._bars(u, np.ones_like(u), 16, width)
        np.testing.assert_allclose(coverage.sum(axis=1), 5 * width, rtol=0.15)
        assert set(number[coverage > 0]) == {-2, -1, 0, 1, 2}
        assert np.all(place[:, 40] == 0)


def test_a_stroke_has_the_given_width():
    points = np.array([[[30.0, 5.0], [30.0, 20.0], [30.0, 35.0]]])
    widths, colors = np.full((1, 3), 3.0), np.ones((1, 3))
    coverage = strokes._strokes((40, 60), points, widths, colors)[3]
    np.testing.assert_allclose(coverage[10:30].sum(axis=1), 3, atol=0.3)
    assert coverage[10:30, 28:32].min() > 0 and not coverage[:, :27].any()


@pytest.mark.parametrize("shape", [(8, 8), (8, 300), (300, 8), (9, 2100)])
def test_small_and_long_photographs_are_drawn_on(shape):
    photograph = np.full((*shape, 3), 128, np.uint8)
    drawn = [
        drawing.draw(photograph, np.random.default_rng(seed)) for seed in range(10)
    ]
    assert all(image.shape == photograph.shape for image in drawn)
    assert any(np.any(image != photograph) for image in drawn)


@pytest.mark.parametrize(
    "image",
    [GREY[..., 0], GREY.astype(np.float32), GREY[..., :2], GREY[:7], GREY[:, :7]],
)
def test_other_arrays_than_photographs_are_rejected(image):
    with pytest.raises(ValueError, match="Expected a photograph|at least 8 pixels"):
        drawing.draw(image, np.random.default_rng(0))
