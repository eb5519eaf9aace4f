"""Batches for training: shuffled, augmented, without end."""

import math
from collections.abc import Generator, Mapping

import numpy as np
from absl import logging

from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.loading import datasets, transforms
from ttl_jax.data.loading.crop_sizes import CropSizes
from ttl_jax.data.loading.image_cache import ImageCache
from ttl_jax.data.loading.listings import Listing
from ttl_jax.data.loading.reading import Reading, Share

_MAX_ATTEMPTS = 10  # to find a photograph that can be read
_AUGMENTATIONS = (
    "mirror", "quarter_turns", "color_jitter", "resave_pairs", "whole_share"
)  # fmt: skip


class TrainingData:
    """Shuffled, augmented batches without end.

    Besides the fields that `datasets` lists, batches hold "replaced", float32 [B]: 1 for
    the rows of an element that replaces one that could not be read. The replacement is
    another pure function of (seed, index), so a missing file does not end a run.

    Attributes:
      epoch_steps: Updates that draw as many elements as there are photographs (in the
        longer one of two lists), at least 1. Without weights that is a pass over all of
        them; with weights some are drawn several times in it and others not.
      listing: Lines that identify the training data; the line of a file is "<field>
        <name> <bytes, or embedded, or rendered>".
      faults: Sentences about files that could not be read since the start. Those of
        worker processes are only in the log.
    """

    def __init__(
        self,
        config,
        kind: datasets.Kind,
        listings: Mapping[str, Listing],
        crop_sizes: CropSizes,
        share: Share,
    ):
        self._kind, self._crop_sizes, self._share = kind, crop_sizes, share
        # Fields of a config take too long to read for each element.
        self._seed = config.seed
        self._augmentation = {name: config[name] for name in _AUGMENTATIONS}
        self._reading = Reading.of(config, config.num_workers)
        longest = max(len(listing) for listing in listings.values())
        self.epoch_steps = math.ceil(longest / share.batch_elements)
        self.listing = [
            line for listing in listings.values() for line in listing.describe()
        ]
        self.faults: dict[str, object] = {}
        # Evaluation reads a few images, rarely, and needs no cache.
        cache = ImageCache(int(config.cache_gib * 2**30))
        cached = {
            field: listing.adapt(lambda items: [cache.attach(item) for item in items])
            for field, listing in listings.items()
        }
        self._order = datasets.draw_order(cached, config.seed)

    def batches(self, start_step: int) -> Generator[datasets.Rows]:
        """This process's rows of global batch start_step and all that follow."""
        # Before each process takes its batches, the index counts elements of all.
        elements = self._order.map_with_index(lambda *indexed: indexed).random_map(
            self._make_rows, seed=datasets.fold(self._seed, "views")
        )
        return self._reading.read(self._share.take(elements)[start_step:])

    def names(self, step: int) -> list[str]:
        """Names of the images of a global batch, of all processes, without reading.

        Of replaced elements it is the name of the one that could not be read.
        """
        first = step * self._share.batch_elements
        return [
            name
            for index in range(first, first + self._share.batch_elements)
            for name in self._kind.names_of(self._order[index])
        ]

    def _make_rows(self, indexed, rng: np.random.Generator) -> datasets.Rows:
        index, element = indexed
        step = index // self._share.batch_elements
        size = self._crop_sizes.at(step, self._seed)
        view = transforms.draw_view(rng, **self._augmentation)
        faults = []
        for attempt in range(_MAX_ATTEMPTS):
            if attempt > 0:
                element = self._order[self._draw_other(index, attempt)]
            try:
                rows = self._kind.make_rows(element, size, view)
            except ImageError as error:
                faults.append(str(error))
                self._report(faults[-1])
                continue
            replaced = np.full(self._kind.rows_per_element, attempt > 0, np.float32)
            return {**rows, "replaced": replaced}
        raise ValueError(
            f"{_MAX_ATTEMPTS} photographs one after the other cannot be read any more: "
            f"{' '.join(dict.fromkeys(faults))} Restore the files and start again."
        )

    def _draw_other(self, index: int, attempt: int) -> int:
        """Index of the element that replaces one that cannot be read."""
        seed = datasets.fold(self._seed, "replacements")
        return int(np.random.default_rng((seed, index, attempt)).integers(2**40))

    def _report(self, fault: str) -> None:
        """Logs each fault once."""
        mark = object()  # of the thread that comes first
        if self.faults.setdefault(fault, mark) is mark:
            logging.warning("Replaced by another photograph: %s", fault)
