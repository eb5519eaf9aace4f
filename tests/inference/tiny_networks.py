"""Small networks that restore, with random weights of a sensible size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests import random_networks
from ttl_jax import models


def make(stem_stride=2, **encoder_fields):
    """An encoder and an image decoder."""
    encoder = functools.partial(
        models.make_encoder,
        width=8,
        num_blocks=1,
        head_width=4,
        window=4,
        local_kernel=5,
        stem_stride=stem_stride,
        **encoder_fields,
    )
    decoder = functools.partial(
        models.make_image_decoder, width=8, pools=(8, 4), stem_stride=stem_stride
    )
    return [draw(encoder, 0), draw(decoder, 1)]


def draw(factory, seed):
    """A module whose random params change an image by some levels."""
    return random_networks.make(factory, seed=seed, scale=0.15)[0]


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
    encoder = draw(functools.partial(PEERS[name], width=4), 0)
    decoder = functools.partial(models.make_output_decoder, width=encoder.width)
    return [encoder, draw(decoder, 1)]


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
