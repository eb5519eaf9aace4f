"""Placement of batches and of the state on the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

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


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((64, 32), P("data")),
        ((32, 64), P(None, "data")),
        ((3, 3, 32, 64), P(None, None, None, "data")),
        ((64, 64), P("data")),  # the first of equals
        ((4, 1023), P("data")),  # the longest does not divide by four
        ((1023, 3), P()),
        ((1020,), P()),  # small
        ((), P()),
    ],
)
def test_large_arrays_are_spread_along_their_longest_dividing_dimension(shape, spec):
    mesh = sharding.make_mesh()
    state = {"leaf": jax.ShapeDtypeStruct(shape, jnp.float32)}
    placed = sharding.place_state(mesh, state, fsdp=True)["leaf"]
    assert placed.spec == spec
    array = jax.device_put(np.zeros(shape, np.float32), placed)
    parts = 4 if spec != P() else 1
    assert array.addressable_shards[0].data.size * parts == array.size
    assert sharding.place_state(mesh, state, fsdp=False)["leaf"].spec == P()
