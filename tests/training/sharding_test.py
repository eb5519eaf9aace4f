"""Batches on their way to the devices."""

import numpy as np

from ttl_jax.training import sharding


def test_batches_are_placed_so_many_ahead_and_come_in_their_order():
    taken = []

    def batches():
        for i in range(6):
            taken.append(i)
            yield {"image": np.full((8, 2), i, np.uint8)}

    placed = sharding.place_ahead(sharding.make_mesh(), batches(), num_ahead=2)
    for i in range(6):
        batch = next(placed)
        np.testing.assert_array_equal(batch["image"], np.full((8, 2), i))
        assert taken[-1] == min(i + 2, 5)
    assert not list(placed)


def test_names_stay_behind():
    batch = {"image": np.zeros((8, 2), np.uint8), "name": np.array(["a"] * 8)}
    assert set(sharding.place_batch(sharding.make_mesh(), batch)) == {"image"}
