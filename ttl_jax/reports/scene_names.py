"""Reads scenes of images from a CSV file; images of one scene are not independent."""

import os
from collections.abc import Mapping

import pandas as pd

from ttl_jax import user_paths
from ttl_jax.data.files import image_folders


class SceneNames:
    """Scenes of images, found by the names of the images.

    Args:
      scenes: Scene by path. A path applies to every image whose name is the path or ends
        with it. Suffixes are ignored.
    """

    def __init__(self, scenes: Mapping[str, str]):
        self._scenes = {
            image_folders.without_suffix(path): scene for path, scene in scenes.items()
        }

    def find(self, image: str) -> str | None:
        """Returns the scene of an image, or None if it is not listed."""
        parts = image_folders.without_suffix(image).split("/")
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        return next((self._scenes[end] for end in ends if end in self._scenes), None)


NONE = SceneNames({})


def read(file: str | os.PathLike[str]) -> SceneNames:
    """Reads a CSV file with the columns path and scene.

    Args:
      file: Path. Other columns, and rows without a path or scene, are ignored.

    Raises:
      ValueError: If the file cannot be read, lacks a column or has no rows, or gives one
        image several scenes.
    """
    file = user_paths.expand(file)
    try:
        table = pd.read_csv(
            file, dtype=str, encoding="utf-8-sig", keep_default_na=False, na_values=[""]
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as CSV: {error}") from error
    if table.empty or not {"path", "scene"} <= set(table):
        raise ValueError(
            f"{file} must have the columns path and scene, and a row for each image."
        )
    listed = table[["path", "scene"]].dropna()
    scenes: dict[str, str] = {}
    for path, scene in listed.itertuples(index=False):
        known = scenes.setdefault(image_folders.without_suffix(path), scene)
        if known != scene:
            raise ValueError(
                f"{file} gives {path} the scenes {known!r} and {scene!r} (suffixes are "
                "ignored); keep one of them."
            )
    return SceneNames(listed.set_index("path")["scene"].to_dict())
