"""The networks that a config describes, as factories for a `Stage`, and their use."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ttl_jax import losses, models, suggestions

_PATCH = 16  # pixels
ARCHITECTURES = ("aglf_vit", "restormer", "nafnet")


def restorer(config) -> dict[str, functools.partial]:
    """Returns the factories of an encoder and a decoder that remove rain.

    Raises:
      ValueError: If `config.architecture` is unknown.
    """
    make, sizes = functools.partial, dict(config.encoder)
    match config.architecture:
        case "aglf_vit":
            first, last = encoder(config), image_decoder(config, config.decoder)
        case "restormer":
            first = make(models.make_restormer, **sizes)
            width = 2 * sizes["width"]
            last = make(models.make_output_decoder, width=width, use_bias=False)
        case "nafnet":
            first = make(models.make_nafnet, **sizes)
            last = make(models.make_output_decoder, width=sizes["width"])
        case unknown:
            hint = suggestions.known_and_hint(unknown, ARCHITECTURES)
            raise ValueError(f"config.architecture={unknown!r}; choose one of {hint}")
    return {"encoder": first, "decoder": last}


def encoder(config) -> functools.partial:
    """Returns the factory of the encoder that `config.encoder` describes."""
    return functools.partial(models.make_encoder, **config.encoder)


def image_decoder(config, decoder) -> functools.partial:
    """Returns the factory of an image decoder that fits the config's encoder.

    Args:
      decoder: Its field `decoder` (D_dr) or `recon_decoder` (D_recon).
    """
    sizes = {name: config.encoder[name] for name in ("width", "stem_stride")}
    return functools.partial(models.make_image_decoder, **sizes, **decoder)


def classifier(config) -> functools.partial:
    """Returns the factory of D_recog, with the pools of `config.decoder`."""
    sizes = {name: config.decoder[name] for name in ("pools", "pool_width")}
    sizes["width"] = config.encoder.width
    if config.get("num_classes", 1) > 1:
        sizes["num_classes"] = config.num_classes
    return functools.partial(models.make_classifier, **sizes)


def recognizer(config) -> dict[str, functools.partial]:
    """Returns the factories of an encoder and a classifier."""
    return {"encoder": encoder(config), "decoder": classifier(config)}


def projection(config) -> functools.partial:
    """Returns the factory of a 1x1 projection of the config's features."""
    return functools.partial(models.make_projection, width=config.encoder.width)


def restore(modules: Mapping[str, Any], image: jax.Array, prefix="") -> jax.Array:
    """Returns the decoder's output for images [N, H, W, 3] in [0, 1]; same shape, unclipped.

    Args:
      prefix: First part of the names of the encoder and the decoder in `modules`.
    """
    features = modules[f"{prefix}encoder"](image)
    return modules[f"{prefix}decoder"](features, image)


def mask_patches(images: jax.Array, share: float, key: jax.Array) -> jax.Array:
    """Returns images in which a share of the patches of 16 x 16 pixels is grey (0.5).

    As in MaskDCPT (arXiv 2510.13282), the network must then also fill in these patches.

    Args:
      images: Array [N, H, W, C].
      share: Share of patches, on average.
    """
    if not share:
        return images
    count, height, width, _ = images.shape
    grid = (count, -(-height // _PATCH), -(-width // _PATCH), 1)
    masked = jax.random.bernoulli(key, share, grid)
    masked = jnp.repeat(jnp.repeat(masked, _PATCH, axis=1), _PATCH, axis=2)
    return jnp.where(masked[:, :height, :width], 0.5, images)


def image_loss(config, restored: jax.Array, clean: jax.Array) -> jax.Array:
    """Returns Eq. 2 with the distance and the gradient weight of a config."""
    kind, weight = config.image_loss, config.gradient_weight
    return losses.reconstruction(restored, clean, kind=kind, gradient_weight=weight)
