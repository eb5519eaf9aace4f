import collections

import numpy as np
import pytest

from ttl_jax.data.files import images
from ttl_jax.data.loading import datasets, transforms
from ttl_jax.data.loading.listings import Listing
from ttl_jax.data.rain import live_rain
from ttl_jax.data.sources.photographs import LivePair, Pair, Photograph


def make_photograph(name, height=96, width=128, seed=None):
    def load():
        rng = np.random.default_rng(sum(name.encode()) if seed is None else seed)
        return rng.integers(0, 256, (height, width, 3), np.uint8)

    return Photograph(name, width, height, None, load)


def draw_views(count):
    rng = np.random.default_rng(0)
    return [
        transforms.draw_view(rng, mirror=True, quarter_turns=True) for _ in range(count)
    ]


@pytest.fixture
def numbers():
    return {"clean": Listing("clean", {"a": [0, 1], "b": [2, 3, 4]})}


def test_each_epoch_holds_everything_once_in_another_order(numbers):
    order = datasets.draw_order(numbers, seed=0)
    epochs = [tuple(order[5 * e + i] for i in range(5)) for e in range(600)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    counts = collections.Counter(epochs)
    assert len(counts) > 115  # of 120
    assert max(counts.values()) < 20  # 5 on average


def mix(weights, sizes, seed=0, field="clean"):
    """Elements (source, number), drawn by weight."""
    by_source = {
        str(source): [(source, number) for number in range(size)]
        for source, size in enumerate(sizes)
    }
    return datasets.draw_order({field: Listing(field, by_source, weights)}, seed)


@pytest.mark.parametrize("weights", [(), (0.5, 0.5)])
def test_the_order_is_a_function_of_seed_and_index(weights):
    def at(indices, seed=0):
        order = mix(weights, (10, 20), seed)
        return [order[i] for i in indices]

    forward = at(range(100))
    assert at(reversed(range(100))) == forward[::-1]
    assert at(range(100), seed=1) != forward
    assert at([10**15, 5]) == [at([10**15])[0], forward[5]]


def test_over_the_epochs_every_couple_is_drawn():
    rainy = [make_photograph(f"r{i}") for i in range(4)]
    clean = [make_photograph(f"c{i}") for i in range(3)]
    listings = {
        "rainy": Listing("rainy", {"a": rainy}),
        "clean": Listing("clean", {"b": clean}),
    }
    order = datasets.draw_order(listings, seed=0)
    drawn = collections.Counter(
        tuple(datasets.KINDS["couples"].names_of(order[i])) for i in range(12 * 200)
    )
    assert len(drawn) == 12
    assert sum(n for (r, _), n in drawn.items() if r == "r0") == 600
    assert sum(n for (_, c), n in drawn.items() if c == "c0") == 800
    assert max(drawn.values()) < 1.4 * min(drawn.values())


def test_sources_are_drawn_by_weight_whatever_their_size():
    sizes = (3, 500, 7)
    order = mix((0.7, 0.2, 0.1), sizes)
    drawn = [order[i] for i in range(10_000)]
    sources = collections.Counter(source for source, _ in drawn)
    assert sources == {0: 7000, 1: 2000, 2: 1000}
    # In any stretch about as often: 200 draws deviate by 6.5 (one standard deviation).
    for start in range(0, 10_000, 200):
        assert abs([s for s, _ in drawn[start : start + 200]].count(0) - 140) < 33
    # Within its source a photograph comes as often as the others.
    counts = collections.Counter(drawn)
    for source, size in enumerate(sizes):
        of_source = [counts[source, number] for number in range(size)]
        assert max(of_source) - min(of_source) <= 1  # epochs follow without a gap


def test_weights_that_do_not_divide_are_kept_to_the_next_element():
    order = mix((1 / 3, 1 / 3, 1 / 3), (2, 2, 2))
    sources = collections.Counter(order[i][0] for i in range(10_000))
    assert sorted(sources.values()) == [3333, 3333, 3334]


def test_sources_of_couples_are_drawn_in_all_combinations():
    listings = {
        field: Listing(
            field, {s: [make_photograph(s + field)] for s in "ab"}, (0.5, 0.5)
        )
        for field in ("rainy", "clean")
    }
    order = datasets.draw_order(listings, seed=0)
    met = collections.Counter(
        tuple(datasets.KINDS["couples"].names_of(order[i])) for i in range(2000)
    )
    assert len(met) == 4 and min(met.values()) > 430 and max(met.values()) < 570


class Snow(live_rain.Rain):
    """Rain that records its arguments and draws a number."""

    def __init__(self):
        self.given = []

    def render(self, clean, surroundings, longer_side, rng):
        self.given.append(
            (clean.copy(), surroundings, longer_side, rng.integers(2**60))
        )
        return np.full_like(clean, 255)


def make_live_pair(height=96, width=128):
    clean = make_photograph("clean", height, width)
    rainy = Photograph("snow:clean", width, height, None, None)  # is not to be read
    return LivePair(rainy, clean, Snow())


def test_live_rain_sees_the_whole_photograph_in_the_colors_of_the_crop():
    pair = make_live_pair(300, 500)
    view = transforms.View(channels=(2, 0, 1), gamma=1.7)
    datasets.make_pair_rows(pair, 16, view)
    surroundings = pair.rain.given[0][1]
    assert 5_000 < surroundings[..., 0].size < 20_000
    whole = view.tint(pair.clean.load())
    np.testing.assert_allclose(
        surroundings.mean(axis=(0, 1)), whole.mean(axis=(0, 1)), rtol=0.03
    )


def test_live_rain_differs_between_views_and_is_fixed_in_evaluation():
    pair = make_live_pair()
    for view in [*draw_views(20), *draw_views(20), *[transforms.CENTRE] * 3]:
        datasets.make_pair_rows(pair, 16, view)
    numbers = [given[-1] for given in pair.rain.given]
    assert len(set(numbers[:20])) == 20 and numbers[20:40] == numbers[:20]
    assert len(set(numbers[40:])) == 1 and numbers[40] not in numbers[:20]


def test_both_sides_of_a_pair_show_the_same_place():
    clean = make_photograph("clean")
    rainy = Photograph("rainy", 128, 96, None, lambda: 255 - clean.load())
    for size in (32, 150):
        for view in draw_views(20):
            rows = datasets.make_pair_rows(Pair(rainy, clean), size, view)
            assert rows["rainy"].shape == (1, size, size, 3)
            np.testing.assert_array_equal(rows["rainy"], 255 - rows["clean"])


def test_a_zoomed_pair_covers_the_pixels_of_its_files_by_the_zoom():
    # Brightness rises by one from row to row.
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8)[:, None, None], (96, 128, 3))
    side = Photograph("ramp", 128, 96, None, lambda: ramp)
    for zoom in (0.5, 1, 2):
        view = transforms.View(zoom=zoom)
        rows = datasets.make_pair_rows(Pair(side, side), 32, view)
        np.testing.assert_array_equal(rows["rainy"], rows["clean"])
        covered = np.ptp(rows["clean"].astype(float))
        np.testing.assert_allclose(covered, 31 / zoom, atol=1)


def test_a_photograph_in_both_classes_gives_equal_rows():
    photograph = make_photograph("a")
    couple = datasets.Couple(photograph, photograph)
    for size in (32, 90, 150):
        for view in draw_views(20):
            rows = datasets.make_couple_rows(couple, size, view)
            np.testing.assert_array_equal(rows["image"][0], rows["image"][1])
            assert list(rows["label"]) == [1, 0]


def test_padding_does_not_separate_small_rainy_from_large_clean_photographs(
    monkeypatch,
):
    # Rainy photographs are the small ones here, as they are in real collections. How
    # much of a crop is padding shows in its distinct rows and columns.
    monkeypatch.setattr(images, "jpeg", lambda image, quality: image)
    listings = {
        "rainy": [make_photograph(f"r{i}", 50 + 10 * i, 120) for i in range(6)],
        "clean": [make_photograph(f"c{i}", 200, 150 + 50 * i) for i in range(6)],
    }
    listings = {
        field: Listing(field, {"a": items}) for field, items in listings.items()
    }
    order = datasets.draw_order(listings, seed=0)
    extents = []
    for i, view in enumerate(draw_views(60)):
        rainy, clean = datasets.make_couple_rows(order[i], 64, view)["image"]
        assert count_distinct(rainy) == count_distinct(clean)
        extents.append(count_distinct(rainy)[0])
    assert min(extents) < 40 and max(extents) == 64


def count_distinct(image):
    """Returns the numbers of distinct rows and of distinct columns of an image."""
    return len(np.unique(image, axis=0)), np.unique(image, axis=1).shape[1]


def test_matched_couples_hold_every_photograph():
    rainy = [make_photograph(f"r{i}") for i in range(5)]
    clean = [make_photograph(f"c{i}") for i in range(2)]
    couples = datasets.match_couples(rainy, clean)
    assert [datasets.KINDS["couples"].names_of(couple) for couple in couples] == [
        [f"r{i}", f"c{i % 2}"] for i in range(5)
    ]
