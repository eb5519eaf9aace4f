"""The networks of a config, as the factories a `Stage` takes."""

import functools

from ttl_jax import models


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
    """Returns the factory of D_recog, whose SPP is that of `config.decoder`."""
    return functools.partial(
        models.make_classifier,
        width=config.encoder.width,
        pools=config.decoder.pools,
        pool_width=config.decoder.pool_width,
    )


def projection(config) -> functools.partial:
    """Returns the factory of a 1x1 projection of the config's features."""
    return functools.partial(models.make_projection, width=config.encoder.width)
