"""Bytes that networks must move through memory: a lower bound for their time.

The bytes are counted over a list of passes, not in a compiled program. A pass is one
convolution, matrix product or sum over pixels. It reads its inputs from memory once and
writes its result once. Pixelwise operations (norms, activations, gates, scales, sums of two
results), paddings and rearrangements belong to the pass that reads them. The gradient of a
pass reads its inputs and the gradient of its result once, and writes the gradient of its
inputs.

Only channel attention is supported, which all presets have. These bytes are not
counted: weights (but see `WEIGHT_ACCESSES`), maps per cell or per image, the image to
which a residual is added, and losses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ttl_jax import models

# Accesses of each float32 weight in an update.
WEIGHT_ACCESSES = {
    "forward pass": 1,
    "backward pass": 1,
    "gradient, written": 1,
    "norm of the gradient": 1,
    "optimizer, reading gradient, weight and two moments": 4,
    "optimizer, writing weight and two moments": 3,
    "moving average, read and written": 2,
}


class Pass(NamedTuple):
    """One pass over the pixels; amounts are array elements per pixel of the image.

    Attributes:
      layer: Name of the computation.
      reads: Elements of its inputs.
      writes: Elements of its result.
      adds: Elements added to its result; the backward pass reads their gradient too.
      is_first: Whether it reads the image, which needs no gradient.
    """

    layer: str
    reads: float
    writes: float
    adds: float = 0.0
    is_first: bool = False

    def forward(self) -> float:
        """Returns the elements that the forward pass moves."""
        return self.reads + self.writes + self.adds

    def backward(self, *, is_frozen: bool = False) -> float:
        """Returns the elements moved for gradients of inputs and, if not frozen, weights."""
        if is_frozen:
            return 0.0 if self.is_first else self.forward()
        return self.forward() + (0.0 if self.is_first else self.reads)


class Network(NamedTuple):
    """Passes of a network; methods return array elements per pixel of the image.

    Attributes:
      passes: All passes in order.
      again: Passes that the backward pass repeats to save memory.
    """

    passes: Sequence[Pass]
    again: Sequence[Pass] = ()

    def inference(self) -> float:
        """Returns the elements that the forward pass moves."""
        return sum(each.forward() for each in self.passes)

    def update(self) -> float:
        """Returns the elements that forward and backward pass move."""
        backward = sum(each.backward() for each in self.passes)
        return self.inference() + backward + sum(each.forward() for each in self.again)

    def passed_through(self) -> float:
        """Returns the same if the weights are frozen and only gradients of inputs are needed."""
        backward = sum(each.backward(is_frozen=True) for each in self.passes)
        return self.inference() + backward


def describe(
    description: Mapping[str, Any], stem_stride: int, image_side: int
) -> Network:
    """Returns the passes of a network.

    Args:
      description: Factory and arguments, from `Stage.describe_module`.
      stem_stride: Stride of the encoder that makes the features.
      image_side: Longer side of the images, in pixels; local sums depend on it.

    Raises:
      ValueError: If the factory is unknown.
    """
    arguments = dict(description)
    make, width = _at_stride(stem_stride), arguments["width"]
    match arguments.pop("factory"):
        case "make_encoder":
            return _encoder(models.EncoderConfig(**arguments), image_side)
        case "make_image_decoder":
            return _image_decoder(**{"stem_stride": stem_stride, **arguments})
        case "make_classifier":
            return Network(
                [*_pyramid_pooling(make, **arguments), make("mean", width, 0)]
            )
        case "make_projection":
            return Network([make("projection", width, width)])
    raise ValueError(f"The passes of {description['factory']} are unknown.")


def _at_stride(stride: int) -> Callable[..., Pass]:
    """Returns a function that makes passes from elements per pixel of the features."""

    def make(layer: str, reads, writes, adds=0, **kwargs) -> Pass:
        reads, writes, adds = (n / stride**2 for n in (reads, writes, adds))
        return Pass(layer, reads, writes, adds, **kwargs)

    return make


def _encoder(config: models.EncoderConfig, image_side: int) -> Network:
    make, c = _at_stride(config.stem_stride), config.width
    hidden = config.feed_forward_ratio * c
    block = [
        *_channel_attention(make, config, image_side),
        *_local_branch(make, c, config.local_expansion, adds=2 * c),
        make("feed-forward: norm, expand", c, 2 * hidden),
        make("feed-forward: gate, project, sum", 2 * hidden, c, c),
    ]
    passes = [
        make("stem", 3 * config.stem_stride**2, c, is_first=True),
        make("spatial attention: mean and maximum", c, 2),
        make("spatial attention: conv", 2, 1),
        make("spatial attention: product", c + 1, c),
        *config.num_blocks * block,
        *([make("final norm", c, c)] if config.final_norm else []),
    ]
    # The last result of a block is kept as the input of the next one.
    again = config.num_blocks * block[:-1] if config.remat else ()
    return Network(passes, again)


def _channel_attention(
    make, config: models.EncoderConfig, image_side: int
) -> list[Pass]:
    c, cell = config.width, config.attention_cell
    sums = [
        make("attention: norm, query, key, value", c, 3 * c),
        make("attention: depthwise conv", 3 * c, 3 * c),
        make("attention: products and lengths of query, key", 2 * c, 0),
    ]
    if not cell or image_side <= (2 * config.attention_radius + 1) * cell:
        # The sums run over the whole image.
        return [
            *sums,
            make("attention: sums of values", c, c),
            make("attention: project", c, c),
        ]
    # Each row of pixels has a map [head width, head width] per head at each cell centre.
    # Two maps are applied to each pixel; the next pass mixes their results.
    rows = c * config.head_width / (cell // config.stem_stride)
    return [
        *sums,
        make("attention: maps of the rows", 0, rows),
        make("attention: sums of values by the left maps", c + rows, c),
        make("attention: sums of values by the right maps", c + rows, c),
        make("attention: mix, project", 2 * c, c),
    ]


def _local_branch(make, c: int, expansion: int, adds: float) -> list[Pass]:
    return [
        make("local: depthwise conv", c, c),
        make("local: norm, expand", c, expansion * c),
        make("local: GELU, project, sum", expansion * c, c, adds),
    ]


def _pyramid_pooling(
    make, width: int, pools: Sequence[int], pool_width: int
) -> list[Pass]:
    coarse = sum(1 / pool**2 for pool in pools)  # pixels of all pools, over all
    return [
        make("SPP: pools", width, coarse * width),
        make("SPP: convs of the pools", coarse * width, coarse * pool_width),
        make("SPP: conv of all", width + coarse * pool_width, width),
    ]


def _image_decoder(
    *,
    stem_stride: int,
    width: int,
    pools: Sequence[int],
    pool_width: int,
    skip_width: int,
    local_expansion: int,
    **_,
) -> Network:
    make = _at_stride(1)
    c = width // stem_stride**2 + skip_width
    passes = _pyramid_pooling(_at_stride(stem_stride), width, pools, pool_width)
    if skip_width:
        passes.append(make("skip", 3, skip_width, is_first=True))
    if stem_stride > 1 or skip_width:
        passes += _local_branch(make, c, local_expansion, adds=c)
    return Network([*passes, make("to image", c, 3)])
