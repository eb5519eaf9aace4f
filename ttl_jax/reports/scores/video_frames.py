"""Scores of video: its frames as images, and flicker between successive ones."""

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
            if path and video.is_video(path) and os.path.isfile(path)
            else path
            for number, path in enumerate(paths)
        ]


def _extract(path: Path, folder: pathlib.Path) -> pathlib.Path:
    video.check_packages()
    from ttl_jax.data.files import encoding
    from ttl_jax.inference.video import files

    folder.mkdir(parents=True)
    pixels = None
    for number, picture in enumerate(files.read(os.fspath(path))):
        found = picture.pixels()
        pixels = pixels if found is None else found  # damaged: the one before is shown
        if pixels is not None:
            encoding.write_image(folder / f"{number:06}.png", pixels)
    return folder


def measure_flicker(before: Example, after: Example) -> dict[str, float]:
    """Returns the flicker of each method between two frames, see `metrics.flicker`.

    The input's frames are aligned by optical flow. What cannot be aligned, as it moves by
    itself or is hidden, does not count. Without aligned pixels, or a change of the input,
    the result is empty; likewise for frames of different folders or sizes.
    """
    from ttl_jax.inference.video import temporal

    frames = {m: (before.restored[m], after.restored[m]) for m in after.restored}
    folders = {os.path.dirname(example.name) for example in (before, after)}
    rainy = frames[INPUT]
    if len(folders) > 1 or rainy[0].shape != rainy[1].shape:
        return {}
    positions, is_aligned = temporal.align(*rainy)
    with contextlib.suppress(ValueError):
        return {
            method: flicker.flicker(
                np.stack(pair),
                np.stack(rainy),
                positions=positions[None],
                still=is_aligned[None],
            )
            for method, pair in frames.items()
        }
    return {}
