"""Which images of a set show one scene: intervals resample scenes, not images."""

import collections
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from ttl_jax.data.sets import audit
from ttl_jax.reports import scene_names
from ttl_jax.reports.rain_analysis.rain_sets import ImageSet, Measurement
from ttl_jax.reports.scene_names import SceneNames


def find_scenes(
    image_set: ImageSet,
    measurements: Mapping[str, Measurement],
    named: SceneNames = scene_names.NONE,
) -> np.ndarray:
    """Returns a scene number for each image of a set, int [N].

    Near-duplicates share a scene. For pairs the clean sides are compared, because rain
    hides the picture. Two views of one scene, such as distant frames of a video, are
    joined only if they are listed so.

    Args:
      image_set: Set whose images were measured.
      measurements: Result of `rain_sets.measure_all`.
      named: Listed scenes of images, rainy or clean.
    """
    *_, shown = image_set.sides.values()
    measured = [measurements[photograph.name] for photograph in shown]
    fingerprints = audit.Fingerprints(
        np.stack([one.signs for one in measured]),
        np.stack([one.thumbnail for one in measured]),
    )
    matches = [*audit.find_matches(fingerprints), *_match_names(image_set, named)]
    scenes = np.arange(len(measured))
    for members in audit.group(len(scenes), matches):
        scenes[members] = members[0]
    return scenes


def _match_names(image_set: ImageSet, named: SceneNames) -> Iterator[audit.Match]:
    """Pairs of images that are listed as one scene."""
    rows_of = collections.defaultdict(list)
    for photographs in image_set.sides.values():
        for row, photograph in enumerate(photographs):
            rows_of[named.find(photograph.name)].append(row)
    rows_of.pop(None, None)  # not listed
    for rows in rows_of.values():
        for one, other in itertools.pairwise(rows):
            yield audit.Match(one, other, 0, 1.0, False)
