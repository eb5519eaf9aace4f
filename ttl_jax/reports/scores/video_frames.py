"""Scores of video: its frames as images, and flicker between successive ones."""

import collections
import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ttl_jax.inference import video
from ttl_jax.metrics import flicker
from ttl_jax.reports.examples import INPUT, Example

Path = str | os.PathLike[str]


def is_video(path: Any) -> bool:
    """Returns whether a path is that of a video file; False for a folder or None."""
    return bool(path) and video.is_video(path) and os.path.isfile(path)


@contextlib.contextmanager
def extracted(paths: Sequence[Any]) -> Iterator[list[Any]]:
    """Context with the frames of videos as PNG, in folders that are deleted in the end.

    Args:
      paths: Paths of videos; folders and None stay as they are.

    Raises:
      ValueError: If a video cannot be read, or the packages for video are missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield [
            _extract(path, pathlib.Path(folder, str(number), pathlib.Path(path).stem))
            if is_video(path)
            else path
            for number, path in enumerate(paths)
        ]


def _extract(path: Path, folder: pathlib.Path) -> pathlib.Path:
    video.check_packages()
    from ttl_jax.data.files import encoding
    from ttl_jax.inference.video import reading

    folder.mkdir(parents=True)
    pixels = None
    for number, picture in enumerate(reading.read(os.fspath(path))):
        found = picture.pixels()
        pixels = pixels if found is None else found  # damaged: the one before is shown
        if pixels is not None:
            encoding.write_image(folder / f"{number:06}.png", pixels)
    return folder


def measure_changes(before: Example, after: Example) -> dict[str, float]:
    """Returns the change of each method between two frames, see `metrics.flicker.change`.

    The input's frames are aligned by optical flow. Pixels that cannot be aligned do not
    count: they move by themselves, or are hidden. All methods include the same pixels,
    so that their changes can be divided. The result is empty for frames of different
    folders or sizes.
    """
    from ttl_jax.inference.video import temporal

    frames = {m: (before.restored[m], after.restored[m]) for m in after.restored}
    rainy = frames[INPUT]
    if folder_of(before.name) != folder_of(after.name):
        return {}
    if rainy[0].shape != rainy[1].shape:
        return {}
    positions, is_aligned = temporal.align(*rainy)
    return {
        method: flicker.change(
            np.stack(pair), positions=positions[None], still=is_aligned[None]
        )
        for method, pair in frames.items()
    }


def add_flicker(rows: Sequence[dict[str, Any]]) -> None:
    """Sets the flicker of each row of a set to that of its folder.

    Changes are summed over the folder before they are divided, as in
    `metrics.flicker.flicker`. If the input does not change, there is no value.

    Args:
      rows: Rows with the keys "image" and "method", and "change_to_next" if the change to
        the next frame was measured (`measure_changes`).
    """
    sums = collections.defaultdict(float)
    for row in rows:
        sums[folder_of(row["image"]), row["method"]] += row.get("change_to_next", 0.0)
    for row in rows:
        folder = folder_of(row["image"])
        if of_input := sums[folder, INPUT]:
            row["flicker"] = sums[folder, row["method"]] / of_input


def folder_of(name: str) -> str:
    """Returns the folder of a frame, which holds all frames of its video."""
    return os.path.dirname(name)
