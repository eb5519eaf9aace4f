"""Restoring whole images, padded to a few sizes so that few programs are compiled."""

from typing import Any

import jax
import numpy as np
from flax import nnx

from ttl_jax.inference import memory, pixels, programs
from ttl_jax.models.region import Region

_LEAST_STEP = 128  # pixels
_MOST_OF_FREE = 0.75  # of the memory: others take some meanwhile


class DoesNotFit(ValueError):
    """An image takes more memory than there is."""


class Whole:
    """An encoder and an image decoder that restore an image at once."""

    def __init__(self, encoder: nnx.Module, decoder: nnx.Module):
        self._parts = programs.Part.of(encoder), programs.Part.of(decoder)

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Restores an image; one program serves all sizes with the same `padded_side`s.

        Args:
          image: uint8, uint16 or float in [0, 1], [H, W, 3].

        Returns:
          An array of the same shape and type.

        Raises:
          DoesNotFit: If it takes more memory than there is.
          ValueError: If what was restored is not a number.
        """
        height, width = image.shape[:2]
        sides = padded_side(height), padded_side(width)
        region = Region(*(np.int32(edge) for edge in (0, 0, height, width)))
        program = _compiled(*self._parts, sides, region)
        _check_memory(program.memory_analysis(), image)
        padding = [(0, to - side) for side, to in zip((height, width), sides)]
        padded = np.pad(image, (*padding, (0, 0)), mode="edge")
        try:
            batch = pixels.to_unit_range(padded)[None]
            restored = np.asarray(program(*self._parts, batch, region))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise DoesNotFit(f"{_describe(image)} do not fit into memory") from error
        return pixels.from_unit_range(restored[0, :height, :width], image.dtype)


def padded_side(side: int) -> int:
    """The side that an image is padded to, in pixels.

    A multiple of 128, and from 1024 on of a quarter of the power of two below it. Photographs
    of 141 sizes from the web, most of them between 300 and 1000 pixels, take 32 programs
    and 19 % more pixels in all; with steps half as wide 41 and 15 %.
    """
    step = max(_LEAST_STEP, 2 ** (side.bit_length() - 1) // 4)
    return -(-side // step) * step


_programs: dict[Any, Any] = {}  # by structures, params' forms and sizes


def _compiled(encoder, decoder, sides: tuple[int, int], region: Region):
    """The program for images of this size, compiled if it is the first one."""
    leaves, structure = jax.tree.flatten((encoder, decoder))
    key = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves), sides
    if key not in _programs:
        image = jax.ShapeDtypeStruct((1, *sides, 3), np.float32)
        lowered = programs.restore.lower(encoder, decoder, image, region)
        _programs[key] = lowered.compile()
    return _programs[key]


def _check_memory(analysis, image: np.ndarray) -> None:
    """Refuses what this machine's memory cannot hold, before the kernel kills us.

    Other backends than the CPU say so themselves, by an exception.
    """
    free = memory.free_bytes()
    if jax.default_backend() != "cpu" or analysis is None or free is None:
        return
    needed = (
        analysis.temp_size_in_bytes
        + analysis.output_size_in_bytes
        + 2
        * analysis.argument_size_in_bytes  # the image, while it is padded and scaled
    )
    if needed > _MOST_OF_FREE * free:
        raise DoesNotFit(
            f"{_describe(image)} take {needed / 2**30:.1f} GiB of memory to restore, and "
            f"{free / 2**30:.1f} GiB are free"
        )


def _describe(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    return f"{width} x {height} pixels"
