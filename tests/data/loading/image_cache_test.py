import concurrent.futures
import pickle
import threading

import numpy as np
import pytest

from ttl_jax.data.loading.image_cache import ImageCache
from ttl_jax.data.sources.photographs import DrawnPhotograph, Pair, Photograph


class Files:
    """Photographs of 10 x 10 pixels, 300 bytes, that count how often they are read."""

    def __init__(self):
        self.reads = []

    def make(self, name, num_bytes=1):
        def load():
            self.reads.append(name)
            return np.full((10, 10, 3), len(name), np.uint8)

        return Photograph(name, 10, 10, num_bytes, load)


@pytest.fixture
def files():
    return Files()


def test_each_image_is_decoded_once(files):
    cache = ImageCache(600)
    attached = [cache.attach(files.make(name)) for name in ("a", "bb")]
    for _ in range(3):
        images = [photograph.load() for photograph in attached]
        assert [image[0, 0, 0] for image in images] == [1, 2]
    assert files.reads == ["a", "bb"]
    assert cache.num_bytes == 600


@pytest.mark.parametrize(
    ("limit", "kept"), [(0, 0), (299, 0), (300, 1), (899, 2), (900, 3), (901, 3)]
)
def test_first_images_are_kept_and_the_limit_is_exact(files, limit, kept):
    cache = ImageCache(limit)
    attached = [cache.attach(files.make(name)) for name in ("a", "b", "c")]
    for _ in range(2):
        for photograph in attached:
            photograph.load()
    assert files.reads == ["a", "b", "c", *"abc"[kept:]]
    assert cache.num_bytes == 300 * kept


def test_both_sides_of_a_pair_count(files):
    cache = ImageCache(1000)
    pair = cache.attach(Pair(files.make("rainy"), files.make("clean")))
    assert [side[0, 0, 0] for side in pair.load()] == [5, 5]
    pair.load()
    assert files.reads == ["rainy", "clean"] and cache.num_bytes == 600


def test_a_photograph_without_a_file_is_not_cached(files):
    cache = ImageCache(1000)
    photograph = files.make("embedded", num_bytes=None)
    assert cache.attach(photograph) is photograph


def test_the_photograph_below_drawings_is_cached_once(files):
    def draw(image, rng):
        return image + rng.integers(100, dtype=np.uint8)

    cache = ImageCache(1000)
    base = files.make("base")
    drawn = [DrawnPhotograph.on(base, f"drawn#{i}", draw) for i in range(3)]
    expected = [photograph.load() for photograph in drawn]
    files.reads.clear()
    attached = [cache.attach(photograph) for photograph in drawn]
    pair = cache.attach(Pair(drawn[0], drawn[0]))
    for _ in range(2):
        for photograph, image in zip(attached, expected, strict=True):
            np.testing.assert_array_equal(photograph.load(), image)
        np.testing.assert_array_equal(pair.load()[1], expected[0])
    assert files.reads == ["base"] and cache.num_bytes == 300
    assert [photograph.name for photograph in attached] == [p.name for p in drawn]


def test_kept_images_cannot_be_changed(files):
    photograph = ImageCache(1000).attach(files.make("a"))
    photograph.load()
    with pytest.raises(ValueError, match="read-only"):
        photograph.load()[0, 0, 0] = 9


def test_threads_that_decode_the_same_image_count_it_once(files):
    barrier = threading.Barrier(4, timeout=10)

    def load():
        barrier.wait()  # all of them decode before the first one is done
        return np.zeros((10, 10, 3), np.uint8)

    cache = ImageCache(1000)
    photograph = cache.attach(Photograph("a", 10, 10, 1, load))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda _: photograph.load(), range(4)))
    assert all(image is images[0] for image in images)
    assert cache.num_bytes == 300


def test_a_failed_read_is_not_kept():
    def load():
        if not (failures := attempts.append(1) or len(attempts) - 1):
            raise OSError("gone")
        return np.full((1, 1, 3), failures, np.uint8)

    attempts = []
    photograph = ImageCache(1000).attach(Photograph("a", 1, 1, 1, load))
    with pytest.raises(OSError, match="gone"):
        photograph.load()
    assert photograph.load()[0, 0, 0] == 1


def test_a_pickled_cache_is_empty_and_has_the_same_limit(files):
    cache = ImageCache(300)
    cache.attach(files.make("a")).load()
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.num_bytes == 0
    attached = [copy.attach(files.make(name)) for name in ("a", "b", "a")]
    for photograph in attached:
        photograph.load()
    assert files.reads == ["a", "a", "b"]  # read again there, then kept; b is too much
