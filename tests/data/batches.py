"""Helpers to compare batches."""

import itertools

import numpy as np

from ttl_jax.data.loading import pipeline


def take(config, start, count, process_index=0, process_count=1):
    data = pipeline.open_training_data(config, process_index, process_count)
    return list(itertools.islice(data.batches(start), count))


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def names_of(config, start, count):
    """Returns the names of the images of batches, each with the name of its row."""
    data = pipeline.open_training_data(config)
    return [np.array(data.names(step)) for step in range(start, start + count)]


def join(shares):
    """Returns global batches from those of each process."""
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shares, strict=True)
    ]
