"""What an evaluation shows: images of one scene side by side."""

from collections.abc import Mapping

import numpy as np

MAX_SIDE = 128  # pixels of each image shown, for the size of the event files


def side_by_side(
    images: Mapping[str, np.ndarray], is_real: np.ndarray
) -> dict[str, np.ndarray]:
    """The images of each row beside each other, in their order, cut to the centre.

    Args:
      images: By name, [N, H, W, 3] of one shape, in [0, 1] and clipped to it; may be
        empty.
      is_real: Of at least N rows, whether they are of the set and no filling.

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
