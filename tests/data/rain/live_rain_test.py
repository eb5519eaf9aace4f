import cloudpickle
import numpy as np
import pytest

from tests import pictures
from ttl_jax.data.rain import live_rain
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import ROLES

CLEAN = pictures.noise(40, 50, 3) // 2
SOURCES = (
    "rain:sample/test",
    "kinds:sample/test",
    "additive:sample/test",
    "streaks:sample/train on sample/test",
    "holes:sample/test",
    "smears:sample/test",
)


def test_physical_rain_is_lit_by_the_surroundings():
    dark, light = (
        live_rain.Physical().render(
            CLEAN, np.full_like(CLEAN, level), 300, np.random.default_rng(5)
        )
        for level in (20, 200)
    )
    assert light.mean() > dark.mean() + 1


def test_additive_rain_never_darkens():
    rng = np.random.default_rng(5)
    rainy = live_rain.Additive().render(CLEAN, CLEAN, 300, rng)
    assert np.all(rainy >= CLEAN) and np.any(rainy > CLEAN)


def test_holes_hide_a_share_of_the_pixels_behind_one_grey_and_leave_the_rest():
    shares, greys = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        holed = live_rain.Holes().render(CLEAN, CLEAN, 300, rng)
        hidden = np.any(holed != CLEAN, axis=-1)
        levels = np.unique(holed[hidden])
        assert len(levels) == 1
        shares.append(hidden.mean())
        greys.append(levels[0])
    assert min(shares) < 0.06 and 0.2 < max(shares) <= 0.26
    assert min(greys) < 50 and max(greys) > 200


def test_smears_only_brighten_and_pull_towards_one_grey():
    bright = np.minimum(CLEAN.astype(int) * 2, 255).astype(np.uint8)
    greys = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        smeared = live_rain.Smears().render(bright, bright, 300, rng).astype(float)
        change = smeared - bright
        assert change.min() >= 0 and change.max() > 2
        # change = opacity * (grey - clean), with one opacity for the three channels.
        spread = np.ptp(bright.astype(float), axis=-1)
        inside = change.min(axis=-1) > 0
        strong = inside & (np.ptp(change, axis=-1) > 8) & (spread > 20)
        opacity = np.ptp(change, axis=-1)[strong] / spread[strong]
        grey = bright.max(axis=-1)[strong] + change.min(axis=-1)[strong] / opacity
        if strong.sum() > 30:
            assert np.std(grey) < 25
            greys.append(np.median(grey))
    assert len(greys) >= 10 and 150 < min(greys) < 190 and 225 < max(greys) < 265


def test_smears_leave_the_background_between_them_as_it_is():
    grey = np.full((64, 96, 3), 80, np.uint8)
    kept = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        smeared = live_rain.Smears().render(grey, grey, 300, rng)
        kept.append(np.mean(smeared == grey))
    assert sum(share > 0.35 for share in kept) >= 25 and max(kept) > 0.7


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


def test_sources_may_be_nested_and_pickled():
    source = "streaks:additive:sample/train on sample/test"
    pair = source_names.open_pairs(source)[0]
    copy = cloudpickle.loads(cloudpickle.dumps(pair))
    np.testing.assert_array_equal(copy.rainy.load(), pair.rainy.load())


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("rain:", "'rain:' names nothing after the colon"),
        ("rain:sampel", "Unknown source 'sampel', .* did you mean 'sample'"),
        ("streaks:sample", "must name two sources, as in 'streaks:PAIRS on CLEAN'"),
        ("streaks:a on b on c", "with exactly one ' on ' between them"),
        ("rains:sample", "did you mean 'rain:sample'"),
    ],
)
def test_live_rain_of_unknown_sources_is_rejected(source, fault):
    with pytest.raises(ValueError, match=fault):
        source_names.open_pairs(source)


@pytest.mark.parametrize("role", ROLES)
def test_live_rain_has_only_pairs(role):
    with pytest.raises(
        ValueError, match=f"consists of pairs.*another source of {role}"
    ):
        source_names.open_photographs("rain:sample/test", role)


def test_streaks_of_several_banks_fall_on_the_same_photographs():
    banks = [f"streaks:{pairs} on sample/test" for pairs in ("sample/test", "sample")]
    assert len(source_names.open_pairs(banks)) == 2 * len(
        source_names.open_pairs(banks[:1])
    )
