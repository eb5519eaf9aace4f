import numpy as np
import pytest
import scipy.fft

from ttl_jax.data.rain import streaks


def make(**fields):
    names = ("y", "x", "down", "right", "area", "blur", "dashes")
    fields = {"dashes": 0} | fields
    return streaks.Streaks(*(np.atleast_1d(float(fields[name])) for name in names))


def draw(canvas, drawn):
    return scipy.fft.irfft2(streaks.draw_streaks(canvas, drawn), canvas)


def moments(image):
    """Sum, middle (y, x) and covariance of an image taken as a distribution."""
    y, x = np.indices(image.shape)
    total = image.sum()
    middle = np.array([(image * y).sum(), (image * x).sum()]) / total
    offsets = np.stack([y - middle[0], x - middle[1]]).reshape(2, -1)
    return total, middle, (offsets * image.reshape(-1)) @ offsets.T / total


# Blurs that need no rounding: 0.5 * 1.5 ** n.
@pytest.mark.parametrize("blur", [0.5, 1.125, 2.53125])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (30, 0), (25.3, -11.8), (4, 30)])
def test_a_streak_has_its_area_place_length_direction_and_blur(down, right, blur):
    image = draw(
        (96, 91), make(y=48.3, x=44.6, down=down, right=right, area=2.5, blur=blur)
    )
    total, middle, covariance = moments(image)
    assert total == pytest.approx(2.5, rel=1e-4)
    np.testing.assert_allclose(middle, [48.3, 44.6], atol=0.02)
    # A line of length L has the variance L ** 2 / 12 along it; spreading a point over
    # four pixels adds 1 / 4 at most.
    way = np.array([down, right])
    excess = covariance - (np.outer(way, way) / 12 + blur**2 * np.eye(2))
    assert np.all(np.abs(excess) < 0.03 * np.abs(np.outer(way, way)) / 12 + 0.27)
    assert image.min() > -1e-4 * image.max()


def test_a_streak_is_as_strong_at_its_ends_as_in_the_middle():
    image = draw((96, 32), make(y=48, x=15.5, down=60, right=0, area=60, blur=0.75))
    np.testing.assert_allclose(image[22:75].sum(axis=1), 1, atol=0.03)
    assert image[:15].sum() == pytest.approx(0, abs=0.01)


def test_dashes_swell_and_fade_along_a_streak_and_keep_its_light():
    streak = {"y": 63.5, "x": 15.5, "down": 100, "right": 0, "area": 100, "blur": 0.75}
    image = draw((128, 32), make(**streak, dashes=4))
    assert image.sum() == pytest.approx(100, rel=1e-3)
    along = (np.arange(18, 110) - 63.5) / 100
    expected = 1 + np.cos(2 * np.pi * 4 * along)
    np.testing.assert_allclose(image[18:110].sum(axis=1), expected, atol=0.06)


@pytest.mark.parametrize("dashes", [0.3, 0.5, 1.7])
def test_a_fraction_of_a_dash_keeps_the_light_of_a_streak(dashes):
    streak = {"y": 63.5, "x": 15.5, "down": 100, "right": 0, "area": 7, "blur": 0.75}
    assert draw((128, 32), make(**streak, dashes=dashes)).sum() == pytest.approx(
        7, rel=1e-3
    )


def test_only_streaks_that_reach_the_canvas_are_kept():
    rng = np.random.default_rng(0)
    y, x, down, right = rng.uniform(-60, 90, (4, 300))
    ones = np.ones(300)
    drawn = streaks.Streaks(y, x, down, right, ones, ones / 2, 0 * ones)
    kept = drawn.reaching((30, 40))
    assert 0 < len(kept.y) < 300
    np.testing.assert_allclose(draw((30, 40), kept), draw((30, 40), drawn), atol=1e-5)


def test_a_field_has_the_mean_and_the_variance_of_its_streaks():
    canvas, field = (512, 500), {"mean": 0.2, "variance": 0.02, "blur": 0.5}
    rng = np.random.default_rng(1)
    spectrum = streaks.draw_field(canvas, streaks.Field(**field, down=9, right=4), rng)
    image = scipy.fft.irfft2(spectrum, canvas)
    assert image.mean() == pytest.approx(0.2, rel=0.01)
    # Blur spreads the variance over pixels, whose correlations add up to it.
    sums = image.reshape(8, 64, 5, 100).sum(axis=(1, 3))
    assert sums.var() / 6400 == pytest.approx(0.02, rel=0.5)
    # Streaks drawn one by one, anywhere between the pixels, blur as the field does.
    squares = [
        np.sum(draw((32, 32), make(y=y, x=x, down=9, right=4, area=1, blur=0.5)) ** 2)
        for y, x in rng.uniform(15, 16, (100, 2))
    ]
    assert image.var() == pytest.approx(0.02 * np.mean(squares), rel=0.1)
