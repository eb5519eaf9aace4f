"""Networks of a config as factories for a `Stage`, and how stages use them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax

from ttl_jax import losses, models


def encoder(config) -> functools.partial:
    """Returns the factory of an encoder as `config.encoder` describes it."""
    return functools.partial(models.make_encoder, **config.encoder)


def image_decoder(config, decoder) -> functools.partial:
    """Returns the factory of an image decoder that fits the config's encoder.

    Args:
      config: The run's config.
      decoder: Its field `decoder` (D_dr) or `recon_decoder` (D_recon).
    """
    return functools.partial(
        models.make_image_decoder,
        width=config.encoder.width,
        stem_stride=config.encoder.stem_stride,
        **decoder,
    )


def classifier(config) -> functools.partial:
    """Returns the factory of D_recog, with the pools of `config.decoder`."""
    return functools.partial(
        models.make_classifier,
        width=config.encoder.width,
        pools=config.decoder.pools,
        pool_width=config.decoder.pool_width,
    )


def projection(config) -> functools.partial:
    """Returns the factory of a 1x1 projection of the config's features."""
    return functools.partial(models.make_projection, width=config.encoder.width)


def restore(
    modules: Mapping[str, Any], image: jax.Array, prefix: str = ""
) -> jax.Array:
    """Returns the decoder's output for an image [N, H, W, 3], of the same shape.

    Args:
      modules: Modules of a stage by name.
      image: Images in [0, 1].
      prefix: Beginning of the names of the encoder and the decoder.
    """
    features = modules[f"{prefix}encoder"](image)
    return modules[f"{prefix}decoder"](features, image)


def image_loss(config, restored: jax.Array, clean: jax.Array) -> jax.Array:
    """Returns Eq. 2 with the distance and the gradient weight of a config."""
    return losses.reconstruction(
        restored,
        clean,
        kind=config.image_loss,
        gradient_weight=config.gradient_weight,
    )
