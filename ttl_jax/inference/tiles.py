"""Restoring an image tile by tile, in memory that grows by the image alone.

Attention over channels sums over all pixels of an image, so tiles that knew only of
themselves would differ from each other and from the whole. Here the sums over the whole
image reach every tile, in one of two ways:

`Tiles.restore_exactly` goes over all tiles block by block. What a block returns lies in a
scratch file, and the sums that the next one needs are added up on the way. The result is
that of the whole image. On the disk lie two sets of its features.

`Tiles.restore_frozen` takes the sums over some crops of the image, then each tile through
the whole network. The result is close to that of the whole image, and needs no disk.
"""

import contextlib
import errno
import functools
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ttl_jax.inference import memory, pixels, programs
from ttl_jax.inference.programs import Part
from ttl_jax.models.region import Region

_SIDE = 512  # of a tile, pixels of the image

# Crops that frozen sums are taken from: per side of the image, and their own side in
# pixels. The image brought to their size would do worse: rain has a scale.
_NUM_CROPS, _CROP = 6, 128


class _Tile(NamedTuple):
    """A rectangle of the features; the last ones reach over the end of the image.

    Attributes:
      top: First row.
      left: First column.
      height: In pixels of the features.
      width: Likewise.
    """

    top: int
    left: int
    height: int
    width: int


class Tiles:
    """An encoder and an image decoder that restore tile by tile.

    Args:
      encoder: As `models.make_encoder` returns it; one that `has_tiles`.
      decoder: As `models.make_image_decoder` returns it.
      side: Of a tile at most, in pixels of the image; but as many at least as the
        windows of all kinds take to begin together again. An image is divided evenly.
    """

    def __init__(self, encoder: nnx.Module, decoder: nnx.Module, *, side: int = _SIDE):
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
        self._grid, self._side = grid, max(side // self._stride // grid, 1) * grid

    def restore_exactly(self, image: np.ndarray) -> np.ndarray:
        """Restores to what the whole image is restored to.

        Args:
          image: uint8, uint16 or float in [0, 1], [H, W, 3].

        Returns:
          An array of the same shape and type.

        Raises:
          ValueError: If what was restored is not a number.
          OSError: If the disk has no room for the features, see
            `memory.scratch_folder`.
        """
        size = [-(-side // self._stride) for side in image.shape[:2]]
        with _scratch(*size, self._width) as x, _scratch(*size, self._width) as other:
            sums = self._fill(x, functools.partial(self._embed, image))
            for block, following in itertools.pairwise(self._blocks):
                advance = functools.partial(self._advance, block, following, x, sums)
                sums = self._fill(other, advance)
                x, other = other, x
            self._fill(other, functools.partial(self._finish, x, sums))
            return self._fill_image(image, functools.partial(self._decode, other))

    def restore_frozen(self, image: np.ndarray) -> np.ndarray:
        """Restores with sums over crops that lie all over the image.

        Args, result and errors are those of `restore_exactly`, but for the disk's.
        """
        sums = programs.sums_over(self._encoder, _sample(image))
        return self._fill_image(image, functools.partial(self._restore, sums))

    def _fill(self, target: np.ndarray, compute: Callable[[_Tile], Any]) -> Any:
        """Fills in features, tile by tile.

        Args:
          target: Of the whole image.
          compute: From a tile to its features and the sums over them.

        Returns:
          The total of the sums.
        """
        total = None
        for tile, part in self._tiles(target):
            features, sums = compute(tile)
            part[...] = np.asarray(features)[0, : part.shape[0], : part.shape[1]]
            total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        return total

    def _fill_image(
        self, image: np.ndarray, compute: Callable[[_Tile, np.ndarray], jax.Array]
    ) -> np.ndarray:
        """The image that `compute` makes of each tile and the image."""
        restored = np.empty(image.shape, image.dtype)
        for tile, part in self._tiles(restored, self._stride):
            values = np.asarray(compute(tile, image))[0]
            part[...] = pixels.from_unit_range(
                values[: part.shape[0], : part.shape[1]], image.dtype
            )
        return restored

    def _tiles(
        self, target: np.ndarray, factor: int = 1
    ) -> Iterator[tuple[_Tile, np.ndarray]]:
        """The tiles, and their parts of an array with `factor` pixels for one in a row."""
        sides = [-(-side // factor) for side in target.shape[:2]]
        height, width = (self._divide(side) for side in sides)
        places = range(0, sides[0], height), range(0, sides[1], width)
        for top, left in itertools.product(*places):
            rows = slice(top * factor, (top + height) * factor)
            columns = slice(left * factor, (left + width) * factor)
            yield _Tile(top, left, height, width), target[rows, columns]

    def _divide(self, side: int) -> int:
        """The side of a tile, of as few as there can be along one of the features."""
        num_tiles = -(-side // self._side)
        return _round_up(-(-side // num_tiles), self._grid)

    def _embed(self, image, tile: _Tile):
        margin = self._embed_margin
        window, region = self._read_image(image, tile, margin)
        return programs.embed(
            self._encoder, self._blocks[0], window, region, margin=margin
        )

    def _advance(self, block: Part, following: Part, x, sums, tile: _Tile):
        margin = self._block_margin
        window, region = self._read(x, tile, margin)
        return programs.advance(block, following, window, region, sums, margin=margin)

    def _finish(self, x, sums, tile: _Tile):
        margin = self._block_margin
        window, region = self._read(x, tile, margin)
        last = self._blocks[-1]
        return programs.finish(
            last, self._norm, window, region, sums, margin=margin
        ), None

    def _decode(self, x, tile: _Tile, image):
        margin = self._decoder_margin
        window, region = self._read_image(image, tile, margin)
        features, _ = self._read(x, tile, margin)
        return programs.decode(
            self._decoder, window, region, features, margin=margin * self._stride
        )

    def _restore(self, sums, tile: _Tile, image):
        margin = self._whole_margin
        window, region = self._read_image(image, tile, margin)
        return programs.restore(
            self._encoder,
            self._decoder,
            window,
            region,
            sums,
            margin=margin * self._stride,
        )

    def _read_image(self, image, tile: _Tile, margin: int):
        """A tile of the image with a margin, and where the image is in that."""
        window, region = self._read(image, tile, margin, self._stride)
        return pixels.to_unit_range(window), region

    def _read(self, array, tile: _Tile, margin: int, factor: int = 1):
        """The same of an array with `factor` pixels for each of the features, in a row."""
        top, left = ((edge - margin) * factor for edge in tile[:2])
        sides = ((side + 2 * margin) * factor for side in tile[2:])
        window = pixels.read_rectangle(array, top, left, *sides)
        height, width = array.shape[:2]
        return window[None], Region(-top, -left, height - top, width - left)


def _sample(image: np.ndarray) -> np.ndarray:
    """Crops spread evenly, [N, h, w, 3] in [0, 1]."""
    sides = [min(_CROP, side) for side in image.shape[:2]]
    places = [
        np.linspace(0, whole - side, _NUM_CROPS).astype(int)
        for whole, side in zip(image.shape[:2], sides)
    ]
    crops = [
        image[top : top + sides[0], left : left + sides[1]]
        for top, left in itertools.product(*places)
    ]
    return pixels.to_unit_range(np.stack(crops))


@contextlib.contextmanager
def _scratch(height: int, width: int, num_channels: int) -> Iterator[np.ndarray]:
    """An array in a file without a name, which is gone whatever happens."""
    shape = height, width, num_channels
    num_bytes = 4 * math.prod(shape)
    folder = memory.scratch_folder()
    if not memory.has_room(folder, num_bytes):
        raise OSError(
            errno.ENOSPC,
            f"{folder} has no room for twice {num_bytes / 2**30:.1f} GiB, the features of "
            "the image; set TMPDIR to a folder of another disk, or take frozen sums "
            "(--tile=frozen)",
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(num_bytes)
        if hasattr(
            os, "posix_fallocate"
        ):  # else a disk that fills up ends us by SIGBUS
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        yield np.memmap(file, np.float32, "r+", shape=shape)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
