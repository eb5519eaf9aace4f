"""Digests and checksums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttl_jax.training import sharding
from ttl_jax.weights import fingerprints


def test_digest_depends_on_values_names_shapes_and_types():
    params = {"a.kernel": jnp.ones((2, 3)), "a.bias": jnp.zeros(3)}
    digests = {
        fingerprints.digest(params),
        fingerprints.digest({**params, "a.bias": params["a.bias"] + 1e-7}),
        fingerprints.digest({"b.kernel": params["a.kernel"], "a.bias": jnp.zeros(3)}),
        fingerprints.digest({**params, "a.kernel": jnp.ones((3, 2))}),
        fingerprints.digest({**params, "a.bias": jnp.zeros(3, jnp.int32)}),
    }
    assert len(digests) == 5
    assert fingerprints.digest(dict(reversed(params.items()))) in digests


@pytest.mark.parametrize("shape", [(), (4, 3, 128)])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, jnp.bfloat16])
def test_checksums_of_sharded_arrays_match_the_definition(shape, dtype):
    rng = np.random.default_rng(0)
    array = rng.integers(-99, 99, shape).astype(dtype)
    expected = sum((2 * i + 1) * byte for i, byte in enumerate(array.tobytes()))
    assert fingerprints._sum_bytes(array) == expected % 2**32
    placement = sharding.place_state(sharding.make_mesh(), array, fsdp=True)
    spread = jax.device_put(array, placement)
    assert int(jax.jit(fingerprints._sum_bytes_spread)(spread)) == expected % 2**32


def test_each_bit_and_name_changes_the_checksum_of_sharded_arrays():
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    tree = {"a": values, "b": np.zeros(2, np.int32)}
    saved = fingerprints._spread_checksum(tree)
    fingerprints.verify_checksum(dict(reversed(tree.items())), saved)
    others = [{"a": values, "c": tree["b"]}]
    for i in range(values.nbytes * 8):
        bits = np.frombuffer(values.tobytes(), np.uint8).copy()
        bits[i // 8] ^= 1 << i % 8
        others.append(tree | {"a": bits.view(np.float32).reshape(values.shape)})
    for other in others:
        with pytest.raises(ValueError, match="differ from those that were saved"):
            fingerprints.verify_checksum(other, saved)
