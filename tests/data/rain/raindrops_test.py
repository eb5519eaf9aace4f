import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from ttl_jax.data.rain import raindrops

# Gunn and Kinzer, J. Meteorology 6, 1949, Table 2: diameter in mm, speed in m/s.
GUNN_KINZER = {
    0.5: 2.06, 0.6: 2.47, 0.8: 3.27, 1.0: 4.03, 1.4: 5.17, 2.0: 6.49, 2.6: 7.57,
    3.0: 8.06, 3.6: 8.60, 4.0: 8.83, 4.6: 9.03, 5.0: 9.09, 5.8: 9.17,
}  # fmt: skip


def per_diameter(diameter, rain_rate):
    """Drops per m3 and mm of Marshall and Palmer, 1948, Eqs. 1 and 3."""
    return 8000 * np.exp(-4.1 * rain_rate**-0.21 * diameter)


def integrate(function, rain_rate, low=0.5, high=6):
    return scipy.integrate.quad(
        lambda d: function(d) * per_diameter(d, rain_rate), low, high
    )[0]


def test_drops_fall_as_fast_as_gunn_and_kinzer_measured():
    diameters, speeds = np.array(list(GUNN_KINZER.items())).T
    np.testing.assert_allclose(raindrops.fall_speed(diameters), speeds, atol=0.2)


@pytest.mark.parametrize("rain_rate", [1, 30, 200])
def test_moments_are_integrals_of_marshall_and_palmer(rain_rate):
    for order in range(6):
        expected = integrate(lambda d, n=order: d**n, rain_rate)
        assert raindrops.moment(rain_rate, order) == pytest.approx(expected, rel=1e-6)
    silhouettes = integrate(lambda d: np.pi * (d / 2000) ** 2, rain_rate)  # m2 per m3
    assert raindrops.extinction(rain_rate) == pytest.approx(silhouettes, rel=1e-6)


@pytest.mark.parametrize("rain_rate", [5, 30, 150])
def test_the_drops_give_the_rain_rate_of_their_distribution(rain_rate):
    # Volume in mm3 times speed in m/s per m3 is 1e-6 mm/s of water. Sizes, numbers and
    # speeds stem from three papers, so it agrees to a fifth at best.
    water = integrate(
        lambda d: np.pi / 6 * d**3 * raindrops.fall_speed(d) * 1e-6 * 3600, rain_rate
    )
    assert water == pytest.approx(rain_rate, rel=0.2)


def test_drawn_diameters_are_distributed_as_marshall_and_palmer_found():
    drawn = raindrops.draw_diameters(np.random.default_rng(0), 4000, 20)
    total = integrate(np.ones_like, 20)

    def share_below(diameter):
        return np.array([integrate(np.ones_like, 20, high=d) / total for d in diameter])

    assert scipy.stats.kstest(drawn, share_below).pvalue > 0.05
    assert 0.5 <= drawn.min() < drawn.max() <= 6


def test_without_rain_there_are_no_drops():
    assert raindrops.moment(0, 0) == raindrops.extinction(0) == 0
