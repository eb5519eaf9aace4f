"""Batches for evaluation: centre crops of a fixed set."""

import math
from collections.abc import Generator, Sequence

import grain
import numpy as np
from absl import logging

from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.loading import crop_sizes, datasets, transforms
from ttl_jax.data.loading.reading import Reading, Share


class EvaluationData:
    """Centre crops of a fixed set of elements; `len` is their number.

    Besides the fields that `datasets` lists, batches hold "mask", float32 [B]: 1 for rows
    of the set, 0 for rows that fill the last batch or replace what could not be read.
    """

    def __init__(self, config, kind: datasets.Kind, elements: Sequence, share: Share):
        self._kind, self._elements, self._share = kind, elements, share
        self._size = config.crop_size + 2 * crop_sizes.find_margin(config)
        # Workers would take longer to start than the few batches take to read.
        self._reading = Reading.of(config, num_workers=0)

    def __len__(self) -> int:
        return len(self._elements)

    def batches(self) -> Generator[datasets.Rows]:
        """This process's rows of each batch, the same at every call."""
        size = self._share.batch_elements
        padded = math.ceil(len(self) / size) * size
        rows = grain.MapDataset.range(padded).map(self._make_rows)
        return self._reading.read(self._share.take(rows))

    def _make_rows(self, index: int) -> datasets.Rows:
        for place in range(index, index + len(self)):
            element = self._elements[place % len(self)]
            try:
                rows = self._kind.make_rows(element, self._size, transforms.CENTRE)
            except ImageError as error:
                logging.warning("Left out of the evaluation: %s", error)
                continue
            is_of_set = place == index < len(self)
            mask = np.full(self._kind.rows_per_element, is_of_set, np.float32)
            return {**rows, "mask": mask}
        raise ValueError("No image of the evaluation can be read any more.")
