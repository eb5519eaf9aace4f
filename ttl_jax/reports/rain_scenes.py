"""Which images of a set show one scene: they count once where intervals are made."""

import collections
import csv
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from ttl_jax.data import audit
from ttl_jax.reports.rain_sets import ImageSet, Measurement


def read_scenes(file: str | os.PathLike[str]) -> dict[str, str]:
    """Scenes of image files by their real paths.

    Args:
      file: CSV with the columns path, relative to the file's folder, and scene; others
        are passed over.

    Raises:
      ValueError: If it cannot be read, lacks a column or names nothing.
    """
    file = pathlib.Path(file)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
        if rows and {"path", "scene"} <= rows[0].keys():
            return {
                os.path.realpath(file.parent / row["path"]): row["scene"]
                for row in rows
                if row["path"] and row["scene"]
            }
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as CSV: {error}") from error
    raise ValueError(
        f"{file} must have the columns path and scene, and a row for each image."
    )


def find_scenes(
    image_set: ImageSet,
    measurements: Mapping[str, Measurement],
    named: Mapping[str, str] | None = None,
) -> np.ndarray:
    """A number for each image of a set, int [N]: equal where the scene is the same.

    It is the same where the pictures are near-duplicates; of pairs the clean sides are
    compared, as rain hides the picture. Two views of one scene, such as frames far
    apart, are not found to be one unless they are named so.

    Args:
      image_set: A set whose images were measured.
      measurements: As `rain_sets.measure_all` returns them.
      named: As `read_scenes` returns them, of either side; None for no names.
    """
    *_, shown = image_set.sides.values()
    measured = [measurements[photograph.name] for photograph in shown]
    fingerprints = audit.Fingerprints(
        np.stack([one.signs for one in measured]),
        np.stack([one.thumbnail for one in measured]),
    )
    matches = audit.find_matches(fingerprints)
    matches += _match_names(image_set, named or {})
    scenes = np.arange(len(measured))
    for members in audit.group(len(scenes), matches):
        scenes[members] = members[0]
    return scenes


def _match_names(
    image_set: ImageSet, named: Mapping[str, str]
) -> Iterator[audit.Match]:
    """Couples of images that are named as of one scene."""
    rows_of = collections.defaultdict(list)
    for side in image_set.sides.values():
        for row, photograph in enumerate(side):
            scene = named.get(os.path.realpath(photograph.name))
            if scene is not None:
                rows_of[scene].append(row)
    for rows in rows_of.values():
        for one, other in itertools.pairwise(rows):
            yield audit.Match(one, other, 0, 1.0, False)
