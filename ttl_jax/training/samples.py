"""Joins the images of an evaluation side by side, for each scene."""

from collections.abc import Mapping

import numpy as np

MAX_SIDE = 128  # pixels per image, to keep event files small


def side_by_side(
    images: Mapping[str, np.ndarray], is_real: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the images of each row side by side, cut to the centre.

    Args:
      images: Images [N, H, W, 3] of equal shape by name, clipped to [0, 1]; may be empty.
      is_real: For each of at least N rows, whether it belongs to the set or is padding.

    Returns:
      uint8 [h, k * w, 3] by "<names>/<row>", for example "rainy_restored_clean/0".
    """
    if not images:
        return {}
    joined = "_".join(images)
    shown = np.concatenate([_cut(rows) for rows in images.values()], axis=2)
    levels = np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    return {f"{joined}/{i}": row for i, row in enumerate(levels) if is_real[i]}


def _cut(rows: np.ndarray) -> np.ndarray:
    top, left = (max(side - MAX_SIDE, 0) // 2 for side in rows.shape[1:3])
    return rows[:, top : top + MAX_SIDE, left : left + MAX_SIDE]
