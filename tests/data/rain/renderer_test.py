import dataclasses

import numpy as np
import pytest
import scipy.integrate
import scipy.ndimage
import scipy.stats

from tests import pictures
from tests.data.rain.camera_test import decode
from ttl_jax.data.rain import renderer
from ttl_jax.data.sources import source_names

PARAMETERS = renderer.RainParameters(
    rain_rate=60,
    wind=0,
    gust=0,
    roll=0,
    exposure=1 / 150,
    focal_length=1400,
    aperture=4,
    focus=8,
    near=2,
    distance=9,
    brightness=1.4,
    veil=0.1,
)
# All drops are drawn one by one, in focus, and few enough to be distinguished.
THIN_SLAB = dataclasses.replace(
    PARAMETERS, focal_length=3000, aperture=0, near=2, distance=2.02, rain_rate=10
)


def vary(parameters=PARAMETERS, **changes):
    return dataclasses.replace(parameters, **changes)


def hidden(parameters, seed, side=512):
    """Returns the share of light that drops block, summed over drops, float64 [side, side]."""
    alpha = renderer.cover(side, side, parameters, np.random.default_rng(seed))
    return -np.log1p(-alpha.astype(np.float64))


def marshall_palmer(diameter, rain_rate):
    return 8000 * np.exp(-4.1 * rain_rate**-0.21 * diameter)


def atlas(diameter):
    """Fall speed of Atlas, Srivastava and Sekhon, 1973."""
    return 9.65 - 10.3 * np.exp(-0.6 * diameter)


def silhouettes(rain_rate):
    """Share of light that the drops of a metre hide."""
    return scipy.integrate.quad(
        lambda d: np.pi / 4 * (d / 1000) ** 2 * marshall_palmer(d, rain_rate), 0.5, 6
    )[0]


@pytest.fixture
def photograph():
    """All levels of each channel, smooth, with a bright part."""
    y, x = np.mgrid[:192, :256]
    return np.stack([x, (x + y) % 256, 255 - x], axis=-1).astype(np.uint8)


# Light


def test_no_rain_and_no_veil_through_a_neutral_camera_return_the_image(photograph):
    dry = vary(rain_rate=0, veil=0)
    rainy = renderer.render(photograph, dry, np.random.default_rng(0))
    np.testing.assert_array_equal(rainy, photograph)
    assert not np.shares_memory(rainy, photograph)


def test_a_pixel_is_composited_in_linear_light():
    # Ambient light 1, a pixel of level 64: light 0.0512695. Veil:
    # 0.0512695 + 0.1 * 0.9487305 = 0.1461425. Streak: 0.75 * 0.1461425 + 0.25 * 1.4
    # = 0.4596069. sRGB of it: 1.055 * 0.4596069 ** (1 / 2.4) - 0.055 = 0.7082 = 180.6 / 255.
    clean = np.full((9, 9, 3), 64, np.uint8)
    alpha = np.full((9, 9), 0.25, np.float32)
    rainy = renderer.composite(
        clean, alpha, PARAMETERS, np.random.default_rng(0), np.ones(3)
    )
    np.testing.assert_array_equal(rainy[4, 4], [181] * 3)
    of_finished_pixels = 0.75 * (0.9 * 64 + 0.1 * 255) + 0.25 * 1.4 * 255
    assert round(of_finished_pixels) == 152


@pytest.mark.parametrize("rain_rate", [5, 200])
def test_drops_hide_the_sum_of_their_silhouettes(rain_rate):
    """Near ones and far ones together, whatever exposure, defocus and wind."""
    for seed, changes in enumerate(
        (
            {},
            {"near": 4.5, "distance": 4.6},
            {"exposure": 1 / 30, "aperture": 12, "wind": 3, "gust": 1, "roll": 20},
        )
    ):
        parameters = vary(rain_rate=rain_rate, **changes)
        way = parameters.distance - parameters.near
        means = [hidden(parameters, (seed, i), 256).mean() for i in range(24)]
        error = 4 * np.std(means) / np.sqrt(len(means))
        expected = silhouettes(rain_rate) * way
        assert np.mean(means) == pytest.approx(expected, abs=error)
        assert error < 0.25 * expected


def test_light_added_is_what_drops_and_ambient_light_predict(photograph):
    # Not so bright that it would clip.
    clean, parameters = photograph // 2, vary(brightness=0.8)
    rainy = renderer.render(
        clean, parameters, np.random.default_rng(1), ambient=np.full(3, 0.7)
    )
    alpha = renderer.cover(192, 256, parameters, np.random.default_rng(1))
    light, alpha = decode(clean), alpha.astype(np.float64)[..., None]
    veiled = light + 0.1 * (0.7 - light)
    predicted = veiled + alpha * (0.8 * 0.7 - veiled)
    assert np.mean(decode(rainy)) == pytest.approx(np.mean(predicted), rel=1e-3)
    assert np.mean(predicted - light) > 0.05


def test_ambient_light_is_the_brightest_tenth_less_most_of_its_color():
    image = np.zeros((30, 30, 3), np.uint8)
    image[:12] = 230, 170, 149  # light 0.7913, 0.4020, 0.3005; mean 0.4979
    expected = 0.25 * decode(image[0, 0]) + 0.75 * decode(image[0, 0]).mean()
    np.testing.assert_allclose(renderer.ambient_light(image), expected, rtol=1e-5)


def test_a_crop_in_the_light_of_its_photograph_is_as_bright(photograph):
    crop, rng = photograph[:64, :64], np.random.default_rng
    whole = renderer.ambient_light(photograph)
    veiled = vary(rain_rate=0, veil=1)
    np.testing.assert_array_equal(
        renderer.render(crop, veiled, rng(0), ambient=whole),
        renderer.render(photograph, veiled, rng(0))[:64, :64],
    )
    assert np.any(renderer.ambient_light(crop) != whole)


# Drops


def measure_streaks(seed):
    """Area and length, in pixels, of each streak of a thin slab."""
    image = hidden(THIN_SLAB, seed, 900)
    labels = scipy.ndimage.label(image > 2e-4, np.ones((3, 3)))[0]
    for part, place in enumerate(scipy.ndimage.find_objects(labels), 1):
        rows, columns = place
        if min(rows.start, columns.start) == 0 or max(rows.stop, columns.stop) == 900:
            continue
        streak = np.where(labels[place] == part, image[place], 0)
        along = streak.sum(axis=1)
        y = np.arange(len(along)) - np.average(np.arange(len(along)), weights=along)
        yield streak.sum(), np.sqrt(12 * np.average(y**2, weights=along))


def test_streaks_in_the_photograph_have_the_published_sizes_and_speeds():
    streaks = [streak for seed in range(60) for streak in measure_streaks(seed)]
    area, length = np.array(streaks).T
    scale = 3000 / 2.01  # pixels per metre
    diameter = np.sqrt(4 / np.pi * area) / scale * 1000
    speed = length / scale / THIN_SLAB.exposure
    assert len(area) > 200
    # All but the few streaks that cross another.
    assert np.mean(np.abs(speed / atlas(diameter) - 1) < 0.01) > 0.97
    # Longer streaks lie across the edge more often.
    inside = diameter[(diameter > 0.6) & (diameter < 2)]
    slope = 4.1 * 10**-0.21

    def share_below(d):
        low, high = np.exp(-slope * 0.6), np.exp(-slope * 2)
        return (low - np.exp(-slope * d)) / (low - high)

    assert scipy.stats.kstest(inside, share_below).pvalue > 0.05


def test_out_of_focus_streaks_spread_and_lose_nothing():
    sharp, blurred = (
        hidden(vary(THIN_SLAB, aperture=aperture), 3) for aperture in (0, 12)
    )
    # The circle of confusion is 12 mm * 3000 / 1000 * (1 / 2 - 1 / 8) = 13.5 pixels.
    assert blurred.max() < 0.4 * sharp.max()

    def width(image):
        spectrum = np.abs(np.fft.rfft(image, axis=1)).mean(axis=0)
        return np.argmax(spectrum < spectrum[1] / 2)

    assert width(blurred) < width(sharp) / 3
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=0.1)


# Direction


def direction(image):
    """Tilt of the streaks, in degrees, by the structure tensor, and its coherence."""
    dy, dx = (
        scipy.ndimage.gaussian_filter(image, 2, order) for order in ((1, 0), (0, 1))
    )
    xx, yy, xy = np.sum(dx * dx), np.sum(dy * dy), np.sum(dx * dy)
    # Streaks are across the gradient; where they fall to the right, it points up right.
    tilt = -np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
    return tilt, np.hypot(xx - yy, 2 * xy) / (xx + yy)


# Drops are drawn one by one if near is 2, and mostly as fields if it is 5.
@pytest.mark.parametrize(
    ("wind", "roll", "near"),
    [(0, 0, 2), (0, -30, 5), (4, 0, 2), (4, 0, 5), (-3, -8, 2)],
)
def test_streaks_have_the_direction_of_wind_fall_and_roll(wind, roll, near):
    parameters = vary(wind=wind, roll=roll, exposure=1 / 60, near=near)
    tilts = [direction(hidden(parameters, seed))[0] for seed in range(3)]
    # Drops that hide most stand out: those of about 2.5 mm.
    slowest, fastest = (np.degrees(np.arctan(wind / atlas(d))) for d in (1.8, 3.2))
    low, high = sorted((slowest + roll, fastest + roll))
    assert low - 1 < np.mean(tilts) < high + 1


def test_gusts_spread_the_directions():
    coherence = [
        direction(hidden(vary(THIN_SLAB, distance=3, gust=gust), 4))[1]
        for gust in (0, 1, 3)
    ]
    assert coherence[0] > coherence[1] + 0.03 > coherence[2] + 0.13


# Sizes, chance and faults


def test_rain_reaches_the_edges_as_it_does_the_middle():
    parameters = vary(wind=3, exposure=1 / 60)
    mean = np.mean([hidden(parameters, seed, 64) for seed in range(400)], axis=0)
    middle = mean[16:-16, 16:-16].mean()
    for edge in (mean[:4], mean[-4:], mean[:, :4], mean[:, -4:]):
        assert edge.mean() == pytest.approx(middle, rel=0.08)


@pytest.mark.parametrize("side", [24, 400])
def test_the_geometry_does_not_depend_on_the_size_of_the_crop(side):
    """The variation of neighbours depends on density, length, width and strength."""
    repeats = 40_000 // side**2 + 12

    def variation(image):
        return np.array([image.mean(), image.var(), np.mean(np.diff(image) ** 2)])

    found, expected = (
        np.mean([variation(hidden(PARAMETERS, (s, i), s)) for i in range(n)], axis=0)
        for s, n in ((side, repeats), (128, 40))
    )
    # The variance within a small crop lacks what changes from crop to crop.
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=0.12)
    assert found[1] == pytest.approx(expected[1], rel=0.25)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (53, 2), (101, 67)])
def test_rain_is_rendered_on_odd_and_tiny_sizes(size):
    clean = pictures.noise(*size, 3)
    for intensity in renderer.INTENSITIES:
        rng = np.random.default_rng(5)
        parameters = renderer.draw_parameters(rng, intensity)
        for rainy in (
            renderer.render(clean, parameters, rng),
            renderer.add(clean, parameters, rng),
        ):
            assert rainy.shape == clean.shape and rainy.dtype == np.uint8


def test_a_grey_photograph_stays_grey():
    clean = pictures.noise(64, 64, 1).repeat(3, axis=2)
    rainy = renderer.render(clean, PARAMETERS, np.random.default_rng(6))
    assert np.all(rainy == rainy[..., :1]) and np.any(rainy != clean)


def test_the_same_generator_state_gives_the_same_rain(photograph):
    for apply in (renderer.render, renderer.add):
        first, again, other = (
            apply(
                photograph,
                renderer.draw_parameters(rng := np.random.default_rng(seed), "heavy"),
                rng,
            )
            for seed in (6, 6, 7)
        )
        np.testing.assert_array_equal(first, again)
        assert np.any(first != other)


@pytest.mark.parametrize(
    "clean",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_other_arrays_than_photographs_are_rejected(clean):
    for apply in (renderer.render, renderer.add):
        with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], not"):
            apply(clean, PARAMETERS, np.random.default_rng(0))


def test_invalid_ambient_light_is_rejected(photograph):
    for ambient in ([0.5], [0.5, 0.5, 200], [0.5, np.nan, 0.5]):
        with pytest.raises(ValueError, match=r"\[3\] in \[0, 1\], not"):
            renderer.render(photograph, PARAMETERS, None, ambient=np.array(ambient))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rain_rate": -1}, "rain_rate is -1; expected 0 to 500"),
        ({"exposure": 0}, "exposure is 0; expected 0.0001 to 1"),
        ({"veil": float("nan")}, "veil is nan"),
        ({"distance": 1}, "distance is 1; expected near, 2, or more"),
        ({"exposure": 1, "near": 0.1}, "extend over .* pixels.*; raise near"),
    ],
)
def test_invalid_parameters_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        vary(**changes)


def test_an_unknown_intensity_is_rejected():
    with pytest.raises(ValueError, match="light, medium, heavy, not 'drizzle'"):
        renderer.draw_parameters(np.random.default_rng(0), "drizzle")


# Draws


@pytest.mark.parametrize("intensity", renderer.INTENSITIES)
@pytest.mark.parametrize("longer_side", [1, 1000, 30_000])
def test_draws_differ_and_stay_within_the_renderer_s_bounds(intensity, longer_side):
    rng = np.random.default_rng(8)
    drawn = [
        renderer.draw_parameters(rng, intensity, longer_side=longer_side)
        for _ in range(100)
    ]
    assert len({one.rain_rate for one in drawn}) == 100
    for name, (low, high) in renderer._BOUNDS.items():
        assert all(low <= getattr(one, name) <= high for one in drawn), name


def test_heavier_rain_damages_photographs_more_and_added_rain_less():
    psnr = {}
    for intensity in renderer.INTENSITIES:
        rng = np.random.default_rng(9)
        for photograph in source_names.open_photographs("sample", "clean"):
            clean = photograph.load()[:256, :256]
            for _ in range(4):
                parameters = renderer.draw_parameters(rng, intensity)
                for apply in (renderer.render, renderer.add):
                    rainy = apply(clean, parameters, rng).astype(np.float64)
                    decibels = 10 * np.log10(255**2 / np.mean((rainy - clean) ** 2))
                    psnr.setdefault((apply, intensity), []).append(decibels)
    rendered, added = (
        [np.mean(psnr[apply, intensity]) for intensity in renderer.INTENSITIES]
        for apply in (renderer.render, renderer.add)
    )
    light, medium, heavy = rendered
    assert 32 > light > medium + 2 > heavy + 4 > 18
    assert all(np.array(added) > np.array(rendered) + 2)
