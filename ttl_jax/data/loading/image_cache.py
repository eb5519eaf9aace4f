"""Decoded images kept in memory, so that later epochs need not decode them again."""

import dataclasses
import functools
import threading
from collections.abc import Callable

import numpy as np

from ttl_jax.data.sources.photographs import DrawnPhotograph, Pair, Photograph


class ImageCache:
    """Keeps the images that come first, until a limit is reached.

    They stay: epochs read all images once each, in orders of their own, so that whatever
    were thrown out for another one would be wanted just as soon.

    Of this process alone. Worker processes get an empty one of the same limit each, and
    in time all of them see every image: n workers keep up to n times the limit.

    Attributes:
      num_bytes: Of all images kept, at most the limit.
    """

    def __init__(self, limit: int):
        """Args: limit: In bytes; 0 keeps nothing."""
        self.num_bytes = 0
        self._limit = limit
        self._images: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def __reduce__(self):
        return ImageCache, (self._limit,)

    def attach(self, item: Photograph | Pair) -> Photograph | Pair:
        """The same photograph or pair, read through the cache.

        What is no file is left as it is: embedded photographs stay in memory by
        themselves, and rendered ones are another one each time. Photographs that
        something is drawn on are kept as they are below it, once for all drawings.
        """
        if isinstance(item, Pair):
            rainy, clean = self.attach(item.rainy), self.attach(item.clean)
            return dataclasses.replace(item, rainy=rainy, clean=clean)
        if isinstance(item, DrawnPhotograph):
            return item.with_base(self.attach(item.base))
        if item.num_bytes is None:
            return item
        load = functools.partial(self._load, item.name, item.load)
        return dataclasses.replace(item, load=load)

    def _load(self, name: str, load: Callable[[], np.ndarray]) -> np.ndarray:
        image = self._images.get(name)
        if image is not None:
            return image
        image = load()  # outside the lock: threads decode side by side
        with self._lock:
            if name in self._images:  # another thread was faster
                return self._images[name]
            if self.num_bytes + image.nbytes <= self._limit:
                image.flags.writeable = False  # it is shared between all who load it
                self._images[name] = image
                self.num_bytes += image.nbytes
        return image
