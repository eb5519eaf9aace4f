"""Restoring an image tile by tile, in memory that does not grow with it.

Attention over channels sums over all pixels of an image, so tiles that knew only of
themselves would differ from each other and from the whole. Here the sums over the whole
image reach every tile, in one of two ways:

`Tiles.restore_exactly` goes over all tiles block by block. What a block returns lies in a
scratch file, and the sums that the next one needs are added up on the way. The result is
that of the whole image. On the disk lie two sets of its features.

`Tiles.restore_frozen` takes the sums from the image brought to a small size, then each
tile through the whole network. The result is close to that of the whole image.
"""

import contextlib
import functools
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ttl_jax.inference import pixels
from ttl_jax.inference.networks import Part
from ttl_jax.models import layers
from ttl_jax.models.region import Region

_SIDE = 512  # of a tile, pixels of the image
_SMALL = 2**20  # pixels of the image that frozen sums are taken from

# First row and first column of a tile, in pixels of the features.
_Place = tuple[int, int]


class Tiles:
    """An encoder and an image decoder that restore tile by tile.

    Args:
      encoder: As `models.make_encoder` returns it.
      decoder: As `models.make_image_decoder` returns it.
      side: Of a tile, in pixels of the image; rounded up to what the networks need.

    Raises:
      ValueError: If the encoder looks at all pixels at once.
    """

    def __init__(self, encoder: nnx.Module, decoder: nnx.Module, *, side: int = _SIDE):
        if any(block.reach is None for block in encoder.blocks):
            raise ValueError("a network with dense attention restores no tiles")
        self._stride, self._width = encoder.stem_stride, encoder.width
        self._encoder, self._decoder = Part.of(encoder), Part.of(decoder)
        self._blocks = [Part.of(block) for block in encoder.blocks]
        self._norm = encoder.final_norm and Part.of(encoder.final_norm)

        # A tile, and what is around it, begin where windows of all kinds do. With its
        # own features it needs those that the sums of the following block look at.
        reaches = [block.reach for block in encoder.blocks]
        block_grid = math.lcm(*(block.grid for block in encoder.blocks))
        grid = math.lcm(block_grid, decoder.grid)
        reach = encoder.stem_reach + sum(reaches)
        self._embed_margin = encoder.stem_reach + max(reaches)
        self._block_margin = _round_up(2 * max(reaches), block_grid)
        self._decoder_margin = decoder.margin
        self._whole_margin = _round_up(reach + decoder.margin, grid)
        self._side = _round_up(-(-side // self._stride), grid)

    def restore_exactly(self, image: np.ndarray) -> np.ndarray:
        """Restores to what the whole image is restored to.

        Args:
          image: uint8, uint16 or float in [0, 1], [H, W, 3].

        Returns:
          An array of the same shape and type.

        Raises:
          ValueError: If what was restored is not a number.
          OSError: If the folder for temporary files has no room for the features.
        """
        size = self._size_of(image)
        with _scratch(*size, self._width) as x, _scratch(*size, self._width) as other:
            sums = self._fill(x, functools.partial(self._embed, image))
            for block, following in itertools.zip_longest(
                self._blocks, self._blocks[1:]
            ):
                advance = functools.partial(self._advance, x, sums, block, following)
                sums = self._fill(other, advance)
                x, other = other, x
            restored = np.empty(image.shape, image.dtype)
            self._fill(restored, functools.partial(self._decode, image, x))
        return restored

    def restore_frozen(self, image: np.ndarray) -> np.ndarray:
        """Restores with sums over the image in a small size.

        Args, result and errors are those of `restore_exactly`, but for the disk's.
        """
        factor = math.ceil(math.sqrt(math.prod(image.shape[:2]) / _SMALL))
        sums = _sums_over(self._encoder, pixels.shrink(image, factor)[None])
        restored = np.empty(image.shape, image.dtype)
        self._fill(restored, functools.partial(self._restore, image, sums))
        return restored

    def _fill(
        self, target: np.ndarray, compute: Callable[[_Place], tuple[np.ndarray, Any]]
    ) -> Any:
        """Fills an image, or its features, with what `compute` makes of each tile.

        Returns:
          What else it makes, added up.
        """
        factor = self._stride if target.shape[-1] == 3 else 1
        side, total = self._side * factor, None
        height, width = target.shape[:2]
        for place in itertools.product(range(0, height, side), range(0, width, side)):
            top, left = place
            core, sums = compute((top // factor, left // factor))
            part = target[top : top + side, left : left + side]
            part[...] = core[: part.shape[0], : part.shape[1]]
            total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        return total

    # What is made of a tile: its pixels, and the sums over them.

    def _embed(self, image, place: _Place):
        margin = self._embed_margin
        window, region = self._read_image(image, place, margin)
        core, sums = _embed(
            self._encoder, self._blocks[0], window, region, margin=margin
        )
        return np.asarray(core)[0], sums

    def _advance(self, x, sums, block: Part, following: Part | None, place: _Place):
        margin = self._block_margin
        window, region = self._read(x, place, margin)
        core, sums = _advance(
            block, following, self._norm, window, region, sums, margin=margin
        )
        return np.asarray(core)[0], sums

    def _decode(self, image, x, place: _Place):
        margin = self._decoder_margin
        features, _ = self._read(x, place, margin)
        window, region = self._read_image(image, place, margin)
        core = _decode(
            self._decoder, features, window, region, margin=margin * self._stride
        )
        return pixels.from_unit_range(np.asarray(core)[0], image.dtype), None

    def _restore(self, image, sums, place: _Place):
        margin = self._whole_margin
        window, region = self._read_image(image, place, margin)
        core = _restore(
            self._encoder,
            self._decoder,
            window,
            region,
            sums,
            margin=margin * self._stride,
        )
        return pixels.from_unit_range(np.asarray(core)[0], image.dtype), None

    def _read_image(self, image, place: _Place, margin: int):
        """A tile of the image with a margin, and where the image is in that."""
        window, region = self._read(image, place, margin, self._stride)
        return pixels.to_unit_range(window), region

    def _read(self, array, place: _Place, margin: int, factor: int = 1):
        """The same of an array with `factor` pixels for each of the features, in a row."""
        top, left = ((edge - margin) * factor for edge in place)
        side = (self._side + 2 * margin) * factor
        height, width = array.shape[:2]
        window = pixels.read_square(array, top, left, side)
        return window[None], Region(-top, -left, height - top, width - left)

    def _size_of(self, image: np.ndarray) -> tuple[int, int]:
        """Height and width of the features."""
        height, width = image.shape[:2]
        return -(-height // self._stride), -(-width // self._stride)


@functools.partial(jax.jit, static_argnames="margin")
def _embed(encoder: Part, block: Part, image, region: Region, *, margin: int):
    encoder = encoder.build()
    x = encoder.embed(image, region)
    region = region.coarse((encoder.stem_stride, encoder.stem_stride))
    sums = block.build().sums(x, region, margin)
    return layers.cut_margin(x, margin), sums


@functools.partial(jax.jit, static_argnames="margin")
def _advance(
    block: Part,
    following: Part | None,
    norm: Part | None,
    x,
    region: Region,
    sums,
    *,
    margin: int,
):
    x = block.build()(x, region, sums)
    sums = following and following.build().sums(x, region, margin)
    if following is None and norm is not None:
        x = norm.build()(x)
    return layers.cut_margin(x, margin), sums


@functools.partial(jax.jit, static_argnames="margin")
def _decode(decoder: Part, features, image, region: Region, *, margin: int):
    restored = decoder.build()(features, image, region)
    return layers.cut_margin(restored, margin)


@functools.partial(jax.jit, static_argnames="margin")
def _restore(encoder: Part, decoder: Part, image, region: Region, sums, *, margin: int):
    features = encoder.build()(image, region, sums)
    restored = decoder.build()(features, image, region)
    return layers.cut_margin(restored, margin)


@jax.jit
def _sums_over(encoder: Part, image):
    """The sums of each block, over an image."""
    encoder = encoder.build()
    x, found = encoder.embed(image), []
    for block in encoder.blocks:
        found.append(block.sums(x))
        x = block(x, sums=found[-1])
    return found


@contextlib.contextmanager
def _scratch(height: int, width: int, num_channels: int) -> Iterator[np.ndarray]:
    """An array in a file without a name, which is gone whatever happens."""
    shape = height, width, num_channels
    num_bytes = 4 * math.prod(shape)
    with tempfile.TemporaryFile() as file:
        try:
            # A disk that fills up later would end the process with SIGBUS.
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            raise OSError(
                error.errno,
                f"the features of the image take twice {num_bytes / 2**30:.1f} GiB, "
                f"which {tempfile.gettempdir()} has no room for ({error.strerror}); set "
                "TMPDIR to a folder of another disk",
            ) from error
        yield np.memmap(file, np.float32, "r+", shape=shape)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
