"""Bytes that networks must move through memory: the floor of a memory-bound device.

They are counted from a written list of passes, not from a compiled program. A pass is
one convolution, matrix product or sum over pixels: it reads its inputs from memory once
and writes its result once. What works on each pixel's own channels, as norms,
activations, gates, scales and residual sums do, happens within the pass that reads, as
do paddings and rearrangements. The backward pass of a pass reads its inputs and the
gradient of its result once, and writes the gradient of its inputs.

Left out, so that it is a floor: weights and maps without pixels (but see
`WEIGHT_ACCESSES`), the image that a residual is added to, losses.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# How often an update touches each weight, all in float32.
WEIGHT_ACCESSES = {
    "forward pass": 1,
    "backward pass": 1,
    "gradient, written": 1,
    "norm of the gradient": 1,
    "optimizer, reading gradient, weight and two moments": 4,
    "optimizer, writing weight and two moments": 3,
    "moving average, read and written": 2,
}


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass over the pixels, in numbers per pixel of the image.

    Attributes:
      layer: What it computes.
      reads: Its inputs.
      writes: Its result.
      adds: What is summed with its result. The gradient is that of the sum; where it
        meets what flows back from elsewhere, it is read once more.
      is_first: Whether it reads the image, which needs no gradient.
    """

    layer: str
    reads: float
    writes: float
    adds: float = 0.0
    is_first: bool = False

    @property
    def forward(self) -> float:
        return self.reads + self.writes + self.adds

    @property
    def backward(self) -> float:
        """For the gradients of weights and inputs."""
        return self.forward if self.is_first else self.forward + self.reads

    @property
    def backward_to_inputs(self) -> float:
        """For the gradients of the inputs alone; what norms keep is left out."""
        return 0.0 if self.is_first else self.forward


@dataclasses.dataclass(frozen=True)
class Network:
    """The passes of a network; its methods count numbers per pixel of the image.

    Attributes:
      passes: All, in order.
      again: Those that the backward pass repeats to keep less in memory.
    """

    passes: Sequence[Pass]
    again: Sequence[Pass] = ()

    def inference(self) -> float:
        """Of the forward pass."""
        return sum(each.forward for each in self.passes)

    def update(self) -> float:
        """Of forward and backward pass."""
        backward = sum(each.backward for each in self.passes)
        return self.inference() + backward + sum(each.forward for each in self.again)

    def passed_through(self) -> float:
        """Of forward and backward pass where the weights are frozen."""
        backward = sum(each.backward_to_inputs for each in self.passes)
        return self.inference() + backward


def describe(description: Mapping[str, Any], stem_stride: int) -> Network:
    """Returns the passes of a network.

    Args:
      description: Its factory's name, as `factory`, and the factory's arguments: what
        `Stage.describe_module` returns.
      stem_stride: Of the encoder whose features the network makes or reads.
    """
    arguments = {"stem_stride": stem_stride, **description}
    return _NETWORKS[arguments.pop("factory")](**arguments)


def _at_stride(stride: int) -> Callable[..., Pass]:
    """A function that makes a pass from numbers per pixel of features at that stride."""

    def make(layer: str, reads, writes, adds=0, **kwargs) -> Pass:
        per_pixel = (n / stride**2 for n in (reads, writes, adds))
        return Pass(layer, *per_pixel, **kwargs)

    return make


def _encoder(
    *,
    stem_stride: int,
    width: int,
    num_blocks: int,
    final_norm: bool,
    global_branch: str,
    dense_pool: int,
    local_expansion: int,
    feed_forward_ratio: int,
    remat: bool,
    **_,
) -> Network:
    make, c = _at_stride(stem_stride), width
    branch, summand = _GLOBAL_BRANCHES[global_branch](make, c, dense_pool)
    hidden = feed_forward_ratio * c
    block = [
        *branch,
        *_local_branch(make, c, local_expansion, adds=c + summand),
        make("feed-forward: norm, expand", c, 2 * hidden),
        make("feed-forward: gate, project, sum", 2 * hidden, c, c),
    ]
    passes = [
        make("stem", 3 * stem_stride**2, c, is_first=True),
        make("spatial attention: mean and maximum", c, 2),
        make("spatial attention: conv", 2, 1),
        make("spatial attention: product", c + 1, c),
        *num_blocks * block,
        *([make("final norm", c, c)] if final_norm else []),
    ]
    # The last result of a block is kept as the next one's input.
    return Network(passes, again=num_blocks * block[:-1] if remat else ())


def _channel_attention(make, c: int, pool: int) -> tuple[list[Pass], float]:
    del pool
    passes = [
        make("attention: norm, query, key, value", c, 3 * c),
        make("attention: depthwise conv", 3 * c, 3 * c),
        make("attention: products and lengths of query, key", 2 * c, 0),
        make("attention: sums of values", c, c),
        make("attention: project", c, c),
    ]
    return passes, c


def _window_attention(make, c: int, pool: int) -> tuple[list[Pass], float]:
    del pool
    passes = [
        make("attention: norm, query, key, value", c, 3 * c),
        make("attention: sums of values in windows", 3 * c, c),
        make("attention: project", c, c),
    ]
    return passes, c


def _dense_attention(make, c: int, pool: int) -> tuple[list[Pass], float]:
    coarse = c / pool**2
    passes = [
        make("attention: norm, pool", c, coarse),
        make("attention: query, key, value", coarse, 3 * coarse),
        make("attention: sums of values", 3 * coarse, coarse),
        make("attention: project", coarse, coarse),
    ]
    return passes, coarse


# The passes of the branch, and the size of its result, which the block adds.
_GLOBAL_BRANCHES = {
    "channel": _channel_attention,
    "window": _window_attention,
    "dense": _dense_attention,
}


def _local_branch(make, c: int, expansion: int, adds: float) -> list[Pass]:
    return [
        make("local: depthwise conv", c, c),
        make("local: norm, expand", c, expansion * c),
        make("local: GELU, project, sum", expansion * c, c, adds),
    ]


def _pyramid_pooling(make, c: int, pools, pool_width: int) -> list[Pass]:
    coarse = sum(1 / pool**2 for pool in pools)  # pixels of all pools, over all
    return [
        make("SPP: pools", c, coarse * c),
        make("SPP: convs of the pools", coarse * c, coarse * pool_width),
        make("SPP: conv of all", c + coarse * pool_width, c),
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


def _classifier(
    *, stem_stride: int, width: int, pools: Sequence[int], pool_width: int
) -> Network:
    make = _at_stride(stem_stride)
    passes = _pyramid_pooling(make, width, pools, pool_width)
    return Network([*passes, make("mean", width, 0)])


def _projection(*, stem_stride: int, width: int) -> Network:
    return Network([_at_stride(stem_stride)("projection", width, width)])


_NETWORKS = {
    "make_encoder": _encoder,
    "make_image_decoder": _image_decoder,
    "make_classifier": _classifier,
    "make_projection": _projection,
}
