"""Networks of task transfer learning: encoders, decoders and their factories.

Images are float [N, H, W, 3], RGB in [0, 1]; features [N, h, w, C]. A factory's keyword
arguments describe a network completely: checkpoints store them, with the factory's name.
"""

from flax import nnx

from ttl_jax.models.aglf_vit import AGLFEncoder, EncoderConfig
from ttl_jax.models.decoders import ImageDecoder, RainClassifier
from ttl_jax.models.layers import Pointwise

__all__ = [
    "FACTORIES",
    "AGLFEncoder",
    "EncoderConfig",
    "ImageDecoder",
    "RainClassifier",
    "make_classifier",
    "make_encoder",
    "make_image_decoder",
    "make_projection",
]


def make_encoder(*, rngs: nnx.Rngs, **fields) -> AGLFEncoder:
    """Returns an encoder from fields of `EncoderConfig`: E_recog, E_recon or E_stu."""
    return AGLFEncoder(EncoderConfig(**fields), rngs=rngs)


def make_image_decoder(*, rngs: nnx.Rngs, **kwargs) -> ImageDecoder:
    """Returns an image decoder: D_recon or D_dr of Fig. 3."""
    return ImageDecoder(**kwargs, rngs=rngs)


def make_classifier(*, rngs: nnx.Rngs, **kwargs) -> RainClassifier:
    """Returns the rain classifier D_recog of Fig. 3."""
    return RainClassifier(**kwargs, rngs=rngs)


def make_projection(*, width: int, rngs: nnx.Rngs) -> nnx.Module:
    """Returns a 1x1 projection of features, from `width` to `width` channels."""
    return Pointwise(width, width, rngs=rngs)


# Factories by the name that checkpoints store.
FACTORIES = {
    make.__name__: make
    for make in (make_encoder, make_image_decoder, make_classifier, make_projection)
}
