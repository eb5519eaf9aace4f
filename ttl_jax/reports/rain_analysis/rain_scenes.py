"""Which images of a set show one scene: they count once where intervals are made."""

import collections
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from ttl_jax.data.sets import audit
from ttl_jax.reports.rain_analysis.rain_sets import ImageSet, Measurement
from ttl_jax.reports.scores import scene_names
from ttl_jax.reports.scores.scene_names import SceneNames


def find_scenes(
    image_set: ImageSet,
    measurements: Mapping[str, Measurement],
    named: SceneNames = scene_names.NONE,
) -> np.ndarray:
    """A number for each image of a set, int [N]: equal where the scene is the same.

    It is the same where the pictures are near-duplicates; of pairs the clean sides are
    compared, as rain hides the picture. Two views of one scene, such as frames far
    apart, are not found to be one unless they are named so.

    Args:
      image_set: A set whose images were measured.
      measurements: As `rain_sets.measure_all` returns them.
      named: Scenes that are named, of either side.
    """
    *_, shown = image_set.sides.values()
    measured = [measurements[photograph.name] for photograph in shown]
    fingerprints = audit.Fingerprints(
        np.stack([one.signs for one in measured]),
        np.stack([one.thumbnail for one in measured]),
    )
    matches = audit.find_matches(fingerprints)
    matches += _match_names(image_set, named)
    scenes = np.arange(len(measured))
    for members in audit.group(len(scenes), matches):
        scenes[members] = members[0]
    return scenes


def _match_names(image_set: ImageSet, named: SceneNames) -> Iterator[audit.Match]:
    """Couples of images that are named as of one scene."""
    rows_of = collections.defaultdict(list)
    for side in image_set.sides.values():
        for row, photograph in enumerate(side):
            scene = named.find(photograph.name)
            if scene is not None:
                rows_of[scene].append(row)
    for rows in rows_of.values():
        for one, other in itertools.pairwise(rows):
            yield audit.Match(one, other, 0, 1.0, False)
