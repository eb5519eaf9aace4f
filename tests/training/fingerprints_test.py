"""Digests and checksums."""

import jax.numpy as jnp

from ttl_jax.training import fingerprints


def test_digest_tells_values_names_shapes_and_types():
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
