import dataclasses

import numpy as np
import pytest
import scipy.ndimage

from ttl_jax.data import rain, sources

PARAMETERS = rain.RainParameters(
    density=80,
    length=40,
    width=1.5,
    angle=10,
    angle_spread=0,
    brightness=0.9,
    opacity=0.2,
    num_layers=3,
    defocus=0.5,
    veil=0.1,
)


def vary(**changes):
    return dataclasses.replace(PARAMETERS, **changes)


def decode(image):
    """sRGB to linear light after IEC 61966-2-1, in float64."""
    x = image.astype(np.float64) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


@pytest.fixture
def photograph():
    """All levels of each channel, smooth, with a bright part."""
    y, x = np.mgrid[:192, :256]
    return np.stack([x, (x + y) % 256, 255 - x], axis=-1).astype(np.uint8)


def test_no_rain_and_no_veil_return_the_image_bit_exactly(photograph):
    rainy = rain.render(photograph, vary(density=0, veil=0), np.random.default_rng(0))
    np.testing.assert_array_equal(rainy, photograph)


def test_light_of_srgb_follows_the_standard_and_back():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(rain.srgb_to_linear(levels), decode(levels), rtol=1e-6)
    np.testing.assert_array_equal(
        rain.linear_to_srgb(rain.srgb_to_linear(levels)), levels
    )
    np.testing.assert_array_equal(rain.linear_to_srgb(np.float32([-1, 2])), [0, 255])


def test_a_pixel_is_composited_in_linear_light():
    # Ambient light 1 (the white rows), a pixel of level 64: light 0.0512695. Veil:
    # 0.0512695 + 0.1 * 0.9487305 = 0.1461425. Streak: 0.75 * 0.1461425 + 0.25 * 0.9
    # = 0.3346069. sRGB of it: 1.055 * 0.3346069 ** (1 / 2.4) - 0.055 = 0.613562 = 156 / 255.
    clean = np.full((30, 30, 3), 64, np.uint8)
    clean[:12] = 255
    alpha = np.full((30, 30), 0.25, np.float32)
    rainy = rain.composite(clean, alpha, PARAMETERS)
    np.testing.assert_array_equal(rainy[20, 20], [156, 156, 156])
    of_finished_pixels = 0.75 * (0.9 * 64 + 0.1 * 255) + 0.25 * 0.9 * 255
    assert round(of_finished_pixels) == 120


def test_light_added_is_what_alpha_and_radiance_predict(photograph):
    parameters = vary(density=200, veil=0.15)
    alpha = rain.cover(192, 256, parameters, np.random.default_rng(1))
    rainy = rain.render(photograph, parameters, np.random.default_rng(1))
    light = decode(photograph)
    ambient = rain.ambient_light(light)
    veiled = light * 0.85 + ambient * 0.15
    a = alpha.astype(np.float64)[..., None]
    predicted = np.mean(a * (0.9 * ambient - veiled) + 0.15 * (ambient - light))
    assert np.mean(decode(rainy) - light) == pytest.approx(predicted, rel=2e-3)
    assert predicted > 0.02


def test_ambient_light_is_the_brightest_tenth_less_most_of_its_colour():
    light = np.zeros((30, 30, 3))
    light[:12] = 0.8, 0.4, 0.3  # mean 0.5
    np.testing.assert_allclose(rain.ambient_light(light), [0.575, 0.475, 0.45])


def test_streaks_cover_their_opacity_times_width_times_length():
    parameters = vary(density=40)
    alpha = rain.cover(1024, 1024, parameters, np.random.default_rng(2))
    depth = 1.7 ** np.arange(3)
    share = depth**2 / np.sum(depth**2)  # of the streaks
    area = np.sum(share * 0.2 * (1.5 / depth) * (40 / depth))  # pixels, of a mean one
    covered = -np.log1p(-alpha.astype(np.float64)).mean()
    assert covered == pytest.approx(40 / 10_000 * area, rel=0.05)


def test_defocus_spreads_streaks_and_takes_nothing_away():
    sharp, blurred = (
        rain.cover(256, 256, vary(defocus=defocus), np.random.default_rng(3))
        for defocus in (0, 3)
    )
    total = [-np.log1p(-alpha.astype(np.float64)).sum() for alpha in (sharp, blurred)]
    assert total[1] == pytest.approx(total[0], rel=0.01)
    assert blurred.max() < 0.7 * sharp.max()


@pytest.mark.parametrize("angle", [-40, 0, 25])
def test_streaks_run_at_the_angle(angle):
    alpha = rain.cover(512, 512, vary(angle=angle), np.random.default_rng(4))
    smooth = scipy.ndimage.gaussian_filter(alpha, 1.5)
    dy, dx = np.gradient(smooth)
    # Main direction of the gradient by the structure tensor; streaks are across it,
    # and where they lean to the right, it points up to the right.
    across = 0.5 * np.arctan2(2 * np.sum(dx * dy), np.sum(dx * dx) - np.sum(dy * dy))
    assert -np.degrees(across) == pytest.approx(angle, abs=1.5)


def test_angles_spread_as_asked():
    def coherence(spread):
        alpha = rain.cover(
            256, 256, vary(angle_spread=spread), np.random.default_rng(5)
        )
        dy, dx = np.gradient(scipy.ndimage.gaussian_filter(alpha, 1.5))
        xx, yy, xy = np.sum(dx * dx), np.sum(dy * dy), np.sum(dx * dy)
        return np.hypot(xx - yy, 2 * xy) / (xx + yy)

    assert coherence(0) > coherence(5) > coherence(20)


def test_the_same_generator_state_gives_the_same_rain(photograph):
    first, again, other = (
        rain.render(photograph, PARAMETERS, np.random.default_rng(seed))
        for seed in (6, 6, 7)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_rain_reaches_the_edges_as_it_does_the_middle():
    covers = [
        rain.cover(64, 64, PARAMETERS, np.random.default_rng(seed))
        for seed in range(300)
    ]
    mean = np.mean(covers, axis=0)
    edge = np.concatenate([mean[0], mean[-1], mean[:, 0], mean[:, -1]]).mean()
    assert edge == pytest.approx(mean[16:-16, 16:-16].mean(), rel=0.1)


def test_parameters_stay_in_their_documented_ranges():
    documented = {
        "density": (0, 400),
        "length": (5, 120),
        "width": (0.5, 4),
        "angle": (-60, 60),
        "angle_spread": (0, 5),
        "brightness": (0.5, 1.2),
        "opacity": (0, 0.33),
        "num_layers": (1, 4),
        "defocus": (0, 3),
        "veil": (0, 0.4),
    }
    rng = np.random.default_rng(8)
    for intensity in rain.INTENSITIES:
        for _ in range(50):
            drawn = dataclasses.asdict(rain.draw_parameters(rng, intensity))
            assert drawn.keys() == documented.keys()
            for name, (low, high) in documented.items():
                assert low <= drawn[name] <= high, name


def test_an_unknown_intensity_is_refused():
    with pytest.raises(ValueError, match="light, medium, heavy, not 'drizzle'"):
        rain.draw_parameters(np.random.default_rng(0), "drizzle")


def test_heavier_rain_damages_photographs_more():
    psnr = []
    for intensity in rain.INTENSITIES:
        rng = np.random.default_rng(9)
        values = []
        for photograph in sources.open_photographs("sample", "clean"):
            clean = photograph.load()
            rainy = rain.render(clean, rain.draw_parameters(rng, intensity), rng)
            mse = np.mean((rainy.astype(np.float64) - clean) ** 2)
            values.append(10 * np.log10(255**2 / mse))
        psnr.append(np.mean(values))
    light, medium, heavy = psnr
    assert 28 > light > medium + 2 > heavy + 4 > 17
