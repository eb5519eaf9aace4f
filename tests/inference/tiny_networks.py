"""Small networks that restore, with random weights of a sensible size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ttl_jax import models
from ttl_jax.weights import flat_params


def make(stem_stride=2, **encoder_fields):
    """An encoder and an image decoder."""
    encoder = models.make_encoder(
        width=8,
        num_blocks=2,
        head_width=4,
        window=4,
        local_kernel=5,
        stem_stride=stem_stride,
        rngs=nnx.Rngs(0),
        **encoder_fields,
    )
    decoder = models.make_image_decoder(
        width=8, pools=(8, 4), stem_stride=stem_stride, rngs=nnx.Rngs(1)
    )
    return [_shake(module, seed) for seed, module in enumerate((encoder, decoder))]


PEERS = {
    "restormer": functools.partial(
        models.make_restormer,
        num_blocks=(1, 1),
        num_refinement_blocks=1,
        num_heads=(1, 2),
    ),
    "nafnet": functools.partial(
        models.make_nafnet, down_blocks=(1,), middle_blocks=1, up_blocks=(1,)
    ),
}


def make_peer(name):
    """An encoder of `PEERS` and its decoder."""
    encoder = PEERS[name](width=4, rngs=nnx.Rngs(0))
    decoder = models.make_output_decoder(width=encoder.width, rngs=nnx.Rngs(1))
    return [_shake(module, seed) for seed, module in enumerate((encoder, decoder))]


def restore(encoder, decoder, image):
    """Returns the restored whole image [H, W, 3] in [0, 1], from the networks' definition."""
    return np.clip(apply(encoder, decoder, image), 0, 1)


def apply(encoder, decoder, image):
    """The same, not clipped."""
    (encoder, of_encoder), (decoder, of_decoder) = map(nnx.split, (encoder, decoder))
    states = of_encoder, of_decoder
    return np.asarray(_apply(encoder, decoder, states, jnp.asarray(image[None]))[0])


@functools.partial(jax.jit, static_argnums=(0, 1))  # compiled once for each shape
def _apply(encoder, decoder, states, batch):
    encoder, decoder = nnx.merge(encoder, states[0]), nnx.merge(decoder, states[1])
    return decoder(encoder(batch), batch)


def _shake(module, seed):
    """Changes params so that no leaf is zero or one."""
    graph, params = flat_params.split_module(module)
    keys = jax.random.split(jax.random.key(seed), len(params))
    params = {
        name: value + 0.1 * jax.random.normal(key, value.shape)
        for key, (name, value) in zip(keys, params.items())
    }
    return flat_params.merge_module(graph, params)
