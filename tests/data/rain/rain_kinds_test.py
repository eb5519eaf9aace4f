"""Kinds of rain: each looks as its name says, by properties of the pixels."""

import dataclasses

import numpy as np
import pytest

from ttl_jax.data.rain import camera, rain_kinds, renderer

GREY = np.full((160, 200, 3), 60, np.uint8)


def render(kind, clean=GREY, count=8, **changes):
    """Renderings of a kind without noise and compression, float [count, H, W]."""
    images = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        drawn = rain_kinds.draw_parameters(rng, kind, longer_side=481)
        drawn = dataclasses.replace(drawn, camera=camera.NEUTRAL, **changes)
        ambient = np.full(3, 0.4)
        image = renderer.render(clean, drawn, rng, ambient=ambient)
        images.append(image.mean(axis=-1))
    return np.array(images, float)


def similarity(images, *, down):
    """Correlation of the pixels with those a few rows further down."""
    images = images - images.mean(axis=(1, 2), keepdims=True)
    upper, lower = images[:, :-down].ravel(), images[:, down:].ravel()
    return np.corrcoef(upper, lower)[0, 1]


@pytest.mark.parametrize("kind", rain_kinds.KINDS)
@pytest.mark.parametrize("longer_side", [1, 481, 4000, 30_000])
def test_draws_differ_and_stay_within_the_renderer_s_bounds(kind, longer_side):
    rng = np.random.default_rng(0)
    drawn = [
        rain_kinds.draw_parameters(rng, kind, longer_side=longer_side)
        for _ in range(50)
    ]
    assert len({one.rain_rate for one in drawn}) == 50
    for name, (low, high) in renderer._BOUNDS.items():
        assert all(low <= getattr(one, name) <= high for one in drawn), name


def test_grain_is_short_and_dashes_are_long():
    assert similarity(render("grain"), down=8) < 0.3
    assert similarity(render("dashes"), down=8) > 0.3


def test_soft_rain_has_lower_frequencies_than_drops():
    def steepness(images):
        return np.abs(np.diff(images, axis=2)).mean() / images.std()

    assert steepness(render("soft")) < 0.5 * steepness(render("drops"))


def test_a_veil_hides_contrast_that_drops_leave():
    clean = GREY.copy()
    clean[:, 100:] = 120

    def contrast(kind):
        images = render(kind, clean)
        return np.median(images[:, :, 100:]) - np.median(images[:, :, :100])

    assert contrast("veil") < 0.7 * contrast("drops")


def test_lit_rain_shows_around_a_lamp_and_hardly_in_the_dark():
    clean = np.full((160, 200, 3), 10, np.uint8)
    clean[60:100, 10:50] = 255
    added = render("lit", clean, lamplight=1.0, veil=0.0) - clean.mean(axis=-1)
    near, far = added[:, 20:50, 10:50], added[:, 20:50, 150:190]
    assert near.mean() > 3
    assert far.mean() < 0.1 * near.mean()


def test_all_kinds_are_drawn_equally_often():
    rng = np.random.default_rng(0)
    drawn = [rain_kinds.draw_kind(rng) for _ in range(6000)]
    counts = [drawn.count(kind) for kind in rain_kinds.KINDS]
    assert min(counts) > 880 and max(counts) < 1120  # 1000 +- 4 deviations


def test_an_unknown_kind_is_rejected():
    with pytest.raises(ValueError, match=r"drops, .*, not 'hail'"):
        rain_kinds.draw_parameters(np.random.default_rng(0), "hail")
