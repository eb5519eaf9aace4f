"""Networks of task transfer learning: encoders, decoders and their factories.

Images are float [N, H, W, 3], RGB in [0, 1]; features [N, h, w, C]. The name of a factory
and its keyword arguments describe a network completely; checkpoints store them.
"""

from flax import nnx

from ttl_jax.models.aglf_vit import AGLFEncoder, EncoderConfig
from ttl_jax.models.decoders import ImageDecoder, OutputDecoder, RainClassifier
from ttl_jax.models.layers import Pointwise
from ttl_jax.models.nafnet import NAFNetConfig, NAFNetEncoder
from ttl_jax.models.restormer import RestormerConfig, RestormerEncoder

__all__ = [
    "FACTORIES",
    "AGLFEncoder",
    "EncoderConfig",
    "ImageDecoder",
    "NAFNetConfig",
    "NAFNetEncoder",
    "OutputDecoder",
    "RainClassifier",
    "RestoringEncoder",
    "RestormerConfig",
    "RestormerEncoder",
    "make_classifier",
    "make_encoder",
    "make_image_decoder",
    "make_nafnet",
    "make_output_decoder",
    "make_projection",
    "make_restormer",
]

# Encoders that the stage derain trains; all have `width`, `stem_stride`, `grid` and
# `num_features_held`.
RestoringEncoder = AGLFEncoder | RestormerEncoder | NAFNetEncoder


def make_encoder(*, rngs: nnx.Rngs, **fields) -> AGLFEncoder:
    """Returns an encoder from fields of `EncoderConfig`: E_recog, E_recon or E_stu."""
    return AGLFEncoder(EncoderConfig(**fields), rngs=rngs)


def make_image_decoder(*, rngs: nnx.Rngs, **kwargs) -> ImageDecoder:
    """Returns an image decoder: D_recon or D_dr of Fig. 3."""
    return ImageDecoder(**kwargs, rngs=rngs)


def make_restormer(*, rngs: nnx.Rngs, **fields) -> RestormerEncoder:
    """Returns a Restormer without its last convolution, from `RestormerConfig`'s fields."""
    return RestormerEncoder(RestormerConfig(**fields), rngs=rngs)


def make_nafnet(*, rngs: nnx.Rngs, **fields) -> NAFNetEncoder:
    """Returns a NAFNet without its last convolution, from `NAFNetConfig`'s fields."""
    return NAFNetEncoder(NAFNetConfig(**fields), rngs=rngs)


def make_output_decoder(*, rngs: nnx.Rngs, **kwargs) -> OutputDecoder:
    """Returns the last convolution of `make_restormer` and `make_nafnet`."""
    return OutputDecoder(**kwargs, rngs=rngs)


def make_classifier(*, rngs: nnx.Rngs, **kwargs) -> RainClassifier:
    """Returns the rain classifier D_recog of Fig. 3."""
    return RainClassifier(**kwargs, rngs=rngs)


def make_projection(*, width: int, rngs: nnx.Rngs) -> nnx.Module:
    """Returns a 1x1 projection of features, from `width` to `width` channels."""
    return Pointwise(width, width, rngs=rngs)


# Factories by the name that checkpoints store.
FACTORIES = {
    make.__name__: make
    for make in (
        make_encoder, make_image_decoder, make_classifier, make_projection,
        make_restormer, make_nafnet, make_output_decoder,
    )
}  # fmt: skip
