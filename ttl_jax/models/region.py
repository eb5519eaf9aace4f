"""Which part of an array is the image; what lies around it is padding.

A network given a region restores the image in it as if there were nothing around: each
layer that looks at neighbours or sums over pixels first clears what is padding. So one
program serves images of many sizes, and tiles know where the image ends.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Region(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right` of an array, ends not included.

    The edges are whole numbers or int scalars, of pixels; they may lie outside the array.
    """

    top: int | jax.Array
    left: int | jax.Array
    bottom: int | jax.Array
    right: int | jax.Array

    def mask(self, height: int, width: int) -> jax.Array:
        """True for pixels of the image, [1, height, width, 1]."""
        rows, columns = jnp.arange(height), jnp.arange(width)
        rows = (self.top <= rows) & (rows < self.bottom)
        columns = (self.left <= columns) & (columns < self.right)
        return rows[None, :, None, None] & columns[None, None, :, None]

    def coarse(self, factor: tuple[int, int]) -> "Region":
        """The same where each `factor` rows and columns have become one.

        Args:
          factor: Rows and columns; the top and left edges are multiples of them.
        """
        (rows, columns), (top, left, bottom, right) = factor, self
        return Region(
            top // rows, left // columns, -(-bottom // rows), -(-right // columns)
        )


def clear_padding(x: jax.Array, region: Region | None) -> jax.Array:
    """Zeros outside the region, [N, H, W, C]; without one, all is image."""
    return x if region is None else jnp.where(region.mask(*x.shape[1:3]), x, 0)
