import cloudpickle
import numpy as np
import pytest

from tests import pictures
from ttl_jax.data.rain import live_rain, renderer, streak_bank
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import ROLES

CLEAN = pictures.noise(40, 50, 3) // 2
SURROUNDINGS = pictures.noise(30, 30, 3)
SOURCES = (
    "rain:sample/test",
    "additive:sample/test",
    "streaks:sample/train on sample/test",
)


def draw_parameters(rng, longer_side):
    intensity = renderer.INTENSITIES[rng.integers(3)]
    return renderer.draw_parameters(rng, intensity, longer_side=longer_side)


def test_physical_rain_is_lit_by_the_surroundings():
    rng = np.random.default_rng(5)
    expected = renderer.render(
        CLEAN,
        draw_parameters(rng, 300),
        rng,
        ambient=renderer.ambient_light(SURROUNDINGS),
    )
    rng = np.random.default_rng(5)
    rainy = live_rain.Physical().fall(CLEAN, SURROUNDINGS, 300, rng)
    np.testing.assert_array_equal(rainy, expected)


def test_additive_rain_never_darkens_and_is_that_of_the_control():
    rng = np.random.default_rng(5)
    expected = renderer.add(CLEAN, draw_parameters(rng, 300), rng)
    rng = np.random.default_rng(5)
    rainy = live_rain.Additive().fall(CLEAN, SURROUNDINGS, 300, rng)
    np.testing.assert_array_equal(rainy, expected)
    assert np.all(rainy >= CLEAN) and np.any(rainy > CLEAN)


def test_all_intensities_are_drawn_alike(monkeypatch):
    drawn = []

    def draw(rng, intensity, longer_side):
        drawn.append(intensity)

    monkeypatch.setattr(renderer, "draw_parameters", draw)
    monkeypatch.setattr(renderer, "add", lambda clean, parameters, rng: clean)
    rng = np.random.default_rng(0)
    for _ in range(600):
        live_rain.Additive().fall(CLEAN, SURROUNDINGS, 300, rng)
    assert set(drawn) == set(renderer.INTENSITIES)
    assert all(150 < drawn.count(intensity) < 250 for intensity in renderer.INTENSITIES)


def test_streaks_are_those_of_all_pairs_alike(monkeypatch):
    monkeypatch.setattr(streak_bank, "lay", lambda clean, layer, rng: layer)
    monkeypatch.setattr(streak_bank, "take_layer", lambda rainy, clean: rainy - clean)

    class Pair:
        def __init__(self, number):
            self.load = lambda: (number + 1, 1)

    streaks = live_rain.Streaks([Pair(number) for number in range(3)])
    rng = np.random.default_rng(0)
    drawn = [streaks.fall(CLEAN, SURROUNDINGS, 300, rng) for _ in range(600)]
    assert set(drawn) == {0, 1, 2}
    assert all(150 < drawn.count(number) < 250 for number in range(3))


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_of_live_rain_has_a_pair_per_photograph(source):
    pairs = source_names.open_pairs(source)
    rain = source.removesuffix("sample/test")
    assert [pair.name for pair in pairs] == [
        f"{rain}sample/china",
        f"{rain}sample/rocket",
    ]
    for pair, photograph in zip(
        pairs, source_names.open_photographs("sample/test", "clean"), strict=True
    ):
        assert (pair.width, pair.height) == (photograph.width, photograph.height)
        assert pair.clean.name == photograph.name
        rainy, clean = pair.load()
        np.testing.assert_array_equal(clean, photograph.load())
        assert rainy.shape == clean.shape and rainy.dtype == np.uint8
        assert np.any(rainy != clean)
        np.testing.assert_array_equal(pair.rainy.load(), rainy)  # always the same


def test_sources_may_be_nested_and_travel_to_other_processes():
    source = "streaks:additive:sample/train on sample/test"
    pair = source_names.open_pairs(source)[0]
    copy = cloudpickle.loads(cloudpickle.dumps(pair))
    np.testing.assert_array_equal(copy.rainy.load(), pair.rainy.load())


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("rain:", "Unknown source 'rain:'"),
        ("rain:sampel", "Unknown source 'sampel': .* did you mean 'sample'"),
        ("streaks:sample", "must name two sources, as 'streaks:PAIRS on CLEAN'"),
        ("streaks:a on b on c", "with ' on ' between them and nowhere else"),
        ("rains:sample", "did you mean 'rain:sample'"),
    ],
)
def test_live_rain_of_no_source_is_refused(source, fault):
    with pytest.raises(ValueError, match=fault):
        source_names.open_pairs(source)


@pytest.mark.parametrize("role", ROLES)
def test_live_rain_is_no_photograph(role):
    with pytest.raises(
        ValueError, match=f"renders pairs.*; as {role} photographs name"
    ):
        source_names.open_photographs("rain:sample/test", role)


def test_streaks_of_several_banks_fall_on_the_same_photographs():
    banks = [f"streaks:{pairs} on sample/test" for pairs in ("sample/test", "sample")]
    assert len(source_names.open_pairs(banks)) == 2 * len(
        source_names.open_pairs(banks[:1])
    )
