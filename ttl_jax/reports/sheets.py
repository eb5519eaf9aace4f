"""Pictures side by side, each under its label: what was, what became of it, what is."""

import os
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ttl_jax.inference import images

GAP = 4  # pixels between panels


def make_sheet(panels: Mapping[str, np.ndarray]) -> np.ndarray:
    """The panels from left to right, each under its label, on white.

    Args:
      panels: Label to image, uint8 [H, W, 3], all of one size.

    Returns:
      uint8 [label + H, num_panels * (W + GAP) - GAP, 3]; the label's height grows with
      the width, and one that is longer than its panel is cut.

    Raises:
      ValueError: There are no panels, their shapes differ, or they are not uint8 RGB.
    """
    shapes = {label: panel.shape for label, panel in panels.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"Expected panels of one shape, not {shapes}.")
    for label, panel in panels.items():
        if panel.dtype != np.uint8 or panel.ndim != 3 or panel.shape[2] != 3:
            raise ValueError(
                f"Expected uint8 [H, W, 3], but {label!r} is {panel.dtype} of shape "
                f"{panel.shape}."
            )
    columns = [np.concatenate(_labelled(*item)) for item in panels.items()]
    gap = np.full((len(columns[0]), GAP, 3), 255, np.uint8)
    joined = [part for column in columns for part in (column, gap)]
    return np.concatenate(joined[:-1], axis=1)


def write_sheet(path: str | os.PathLike[str], panels: Mapping[str, np.ndarray]) -> None:
    """Writes `make_sheet` of the panels as an image file."""
    images.write_image(path, make_sheet(panels))


def _labelled(label: str, panel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The strip with the label, as wide as the panel, and the panel."""
    width = panel.shape[1]
    size = min(max(width // 12, 10), 48)
    strip = Image.new("RGB", (width, size + size // 2), "white")
    font = ImageFont.load_default(size)
    ImageDraw.Draw(strip).text((2, size // 8), label, "black", font)
    return np.asarray(strip), panel
