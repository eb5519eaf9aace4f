"""Scenes that a file names: images of one scene tell the same twice."""

import csv
import os
from collections.abc import Mapping

from ttl_jax import user_paths
from ttl_jax.data.files import image_folders


class SceneNames:
    """Scenes of images by their names.

    Args:
      scenes: Scene by path. A path names the images whose name it is, or ends with it,
        whatever their suffix.
    """

    def __init__(self, scenes: Mapping[str, str]):
        self._scenes = {
            image_folders.without_suffix(path): scene for path, scene in scenes.items()
        }

    def find(self, image: str) -> str | None:
        """The scene of an image; None if none is told."""
        parts = image_folders.without_suffix(image).split("/")
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        return next((self._scenes[end] for end in ends if end in self._scenes), None)


NONE = SceneNames({})


def read(file: str | os.PathLike[str]) -> SceneNames:
    """The scenes that a CSV file with the columns path and scene tells.

    Args:
      file: Other columns are passed over, and rows without a path or scene.

    Raises:
      ValueError: If it cannot be read, lacks a column or names nothing.
    """
    file = user_paths.expand(file)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as CSV: {error}") from error
    if not rows or not {"path", "scene"} <= rows[0].keys():
        raise ValueError(
            f"{file} must have the columns path and scene, and a row for each image."
        )
    return SceneNames(
        {row["path"]: row["scene"] for row in rows if row["path"] and row["scene"]}
    )
