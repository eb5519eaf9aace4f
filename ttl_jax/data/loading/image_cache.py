"""Keeps decoded images in memory, so that later epochs need not decode them again."""

import threading
from collections.abc import Callable

import numpy as np

from ttl_jax.data.sources.photographs import Item


class ImageCache:
    """Keeps the images that are read first, until a limit is reached.

    Images are never evicted: each epoch reads all images once in its own order, so an
    evicted image would be needed as soon as the one that replaces it.

    Each process has its own cache. A worker process starts with an empty one with the same
    limit and reads all images over time, so n workers keep up to n times the limit.

    Attributes:
      num_bytes: Size of all kept images, at most the limit.
    """

    def __init__(self, limit: int):
        """Args: limit: Size in bytes; 0 keeps nothing."""
        self.num_bytes = 0
        self._limit = limit
        self._images: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def __reduce__(self):
        return ImageCache, (self._limit,)

    def attach(self, item: Item) -> Item:
        """Returns the same photograph or pair with its files read through the cache.

        Images without a file are not cached: sample photographs are already in memory,
        and rendered ones differ each time.
        """
        return item.map_sides(lambda side: side.read_by(self._load))

    def _load(self, name: str, load: Callable[[], np.ndarray]) -> np.ndarray:
        image = self._images.get(name)
        if image is not None:
            return image
        image = load()  # outside the lock, so that threads decode in parallel
        with self._lock:
            if name in self._images:  # another thread was faster
                return self._images[name]
            if self.num_bytes + image.nbytes <= self._limit:
                image.flags.writeable = False  # all callers share it
                self._images[name] = image
                self.num_bytes += image.nbytes
        return image
