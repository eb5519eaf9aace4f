"""Colours under transparent pixels."""

import numpy as np
import pytest

from ttl_jax.data.files import decoding, transparency


def test_hidden_pixels_take_the_colour_of_the_nearest_visible_one():
    colour = np.arange(10, dtype=np.uint8).reshape(1, 10, 1).repeat(3, axis=2)
    alpha = np.array([[9, 0, 0, 0, 0, 0, 0, 0, 1, 255]])
    filled = transparency.fill_hidden(colour, alpha)
    assert filled[0, :, 0].tolist() == [0, 0, 0, 0, filled[0, 4, 0], 8, 8, 8, 8, 9]
    assert filled[0, 4, 0] in (0, 8)  # as far from either


def test_the_nearest_pixel_matches_exhaustive_search():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (12, 15, 1), dtype=np.uint8)
    alpha = (rng.random((12, 15, 1)) < 0.2).astype(np.uint8)
    visible = np.argwhere(alpha[..., 0] > 0)
    filled = transparency.fill_hidden(colour, alpha)
    for y, x in np.argwhere(alpha[..., 0] == 0):
        distances = ((visible - [y, x]) ** 2).sum(axis=1)
        nearest = visible[distances == distances.min()]
        assert filled[y, x, 0] in {colour[r, c, 0] for r, c in nearest}


@pytest.mark.parametrize("level", [0, 7])
def test_an_image_without_a_hidden_or_a_visible_pixel_is_returned(level):
    colour = np.ones((3, 4, 3), np.uint8)
    assert transparency.fill_hidden(colour, np.full((3, 4, 1), level)) is colour
    assert transparency.fill_hidden(colour, np.empty((3, 4, 0))) is colour


@pytest.mark.parametrize("num_channels", [2, 4])
def test_rgb8_does_not_depend_on_hidden_colours(num_channels):
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (9, 9, num_channels), dtype=np.uint8)
    image[3:6, 3:6, -1] = 0
    other = image.copy()
    other[3:6, 3:6, :-1] = 0
    np.testing.assert_array_equal(decoding.as_rgb8(image), decoding.as_rgb8(other))
