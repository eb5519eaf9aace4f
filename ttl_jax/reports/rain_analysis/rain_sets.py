"""Sets of rainy and clean images, and the measurements of each image.

Every image is measured in two forms: unchanged, and equalised. Equalised images are scaled
to a common smaller side, cut to the central square and re-encoded, because resolution and
JPEG change NIQE as much as rain does.
"""

import collections
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ttl_jax import progress, threads
from ttl_jax.data.files import decoding
from ttl_jax.data.loading import transforms
from ttl_jax.data.sets import audit
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import NoPairsError, Photograph
from ttl_jax.metrics import naturalness
from ttl_jax.reports import scene_names
from ttl_jax.reports.scene_names import SceneNames

AS_IS, EQUALISED = FORMS = ("as_is", "equalised")
REAL, SYNTHETIC, CLEAN = "real", "synthetic", "clean"

# Returns the features [D] of an image, uint8 [H, W, 3].
Embed = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A set of images.

    Attributes:
      name: Unique name.
      kind: `REAL`, `SYNTHETIC` or `CLEAN`.
      source: Name of the source, printable.
      sides: Photographs by side: "rainy", "clean", or for pairs both in this order.
      num_found: Number of images in the source; the set may have fewer.
    """

    name: str
    kind: str
    source: str
    sides: Mapping[str, Sequence[Photograph]]
    num_found: int

    @property
    def names(self) -> list[str]:
        """Names of the images; for pairs, of their rainy sides."""
        return [photograph.name for photograph in next(iter(self.sides.values()))]


class Measurement(NamedTuple):
    """Measurements of an image in all forms.

    Attributes:
      readings: NIQE and the vector in the feature space, float [D], by form.
      faults: Reasons by form, for forms without a reading.
      fingerprint: Rows of `audit.Fingerprints.signs` and of its `thumbnails`.
    """

    readings: Mapping[str, tuple[float, np.ndarray]]
    faults: Mapping[str, str]
    fingerprint: tuple[np.ndarray, np.ndarray]


class SetReadings(NamedTuple):
    """Measurements of N images of a set in one form.

    Attributes:
      kind: Kind of the set.
      names: Names of the images.
      scenes: Numbers of the scenes, int [N]; images of one scene share a number.
      niqe: NIQE by side, "rainy" or "clean", float [N].
      features: Features by side, float [N, D].
      excluded: Reasons by name, for images that could not be measured.
    """

    kind: str
    names: Sequence[str]
    scenes: np.ndarray
    niqe: Mapping[str, np.ndarray]
    features: Mapping[str, np.ndarray]
    excluded: Mapping[str, str]


def open_sets(
    real: Sequence[str],
    synthetic: Sequence[str],
    clean: Sequence[str] = (),
    *,
    num_images: int,
    seed: int,
) -> list[ImageSet]:
    """Opens sets, without measuring them.

    Args:
      real: Sources, each `SOURCE` or `NAME=SOURCE`. The path of an existing folder means
        `folder:PATH`. The default name is the last part of the source.
      synthetic: Sources, as for `real`.
      clean: Sources of rain-free photographs, which form one set; may be empty.
      num_images: Maximum number of images per set; from larger sets, images are drawn at
        random.

    Raises:
      ValueError: If two sets have one name, or a source cannot be opened.
    """
    named = [(REAL, *_split_name(text)) for text in real]
    named += [(SYNTHETIC, *_split_name(text)) for text in synthetic]
    names = [name for _, name, _ in named] + [CLEAN] * bool(clean)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{', '.join(repeated)}: more than one set has this name; give each its own "
            "name, with NAME=SOURCE."
        )
    draw = functools.partial(_draw, num_images=num_images, seed=seed)
    sets = [
        draw(name, kind, source, _open_rainy(source)) for kind, name, source in named
    ]
    if clean:
        sides = {"clean": source_names.open_photographs(clean, "clean")}
        sets.append(draw(CLEAN, CLEAN, ", ".join(clean), sides))
    return sets


def measure_all(
    sets: Sequence[ImageSet], *, side: int, quality: int, embed: Embed | None
) -> dict[str, Measurement]:
    """Returns the measurements of all images by name, computed in threads.

    Args:
      sets: Sets to measure; an image that is in several sets is measured once.
      side: Side of the equalised form, in pixels.
      quality: JPEG quality of the equalised form.
      embed: Function that computes features; None for the mean of NIQE's features over
        its blocks.

    Raises:
      ValueError: If an image is missing or damaged, or a set has no image with sides of
        `side` pixels; this is found before anything is measured.
    """
    for image_set in sets:
        _check_sizes(image_set, side)
    photographs = {
        photograph.name: photograph
        for image_set in sets
        for of_side in image_set.sides.values()
        for photograph in of_side
    }
    measure = functools.partial(_measure, side=side, quality=quality, embed=embed)
    measured = threads.map_ahead(measure, photographs.values())
    shown = progress.track(
        measured, what="Measuring", total=len(photographs), unit="image"
    )
    return dict(zip(photographs, shown, strict=True))


def _check_sizes(image_set: ImageSet, side: int) -> None:
    first, *_ = photographs = next(iter(image_set.sides.values()))
    if all(min(each.height, each.width) < side for each in photographs):
        raise ValueError(
            f"No image of {image_set.name} can be measured: {first.name} is "
            f"{first.width}x{first.height}; each side needs at least {side} pixels. Use "
            "larger photographs, or a smaller --side."
        )


def find_scenes(
    image_set: ImageSet,
    measurements: Mapping[str, Measurement],
    named: SceneNames = scene_names.NONE,
) -> np.ndarray:
    """Returns a scene number for each image of a set, int [N].

    Near-duplicates share a scene. For pairs, the clean sides are compared, because rain
    hides the picture. Different views of one scene, such as distant frames of a video,
    share a scene only if `named` lists them.

    Args:
      named: Listed scenes of rainy or clean images.
    """
    *_, shown = image_set.sides.values()
    measured = [measurements[photograph.name] for photograph in shown]
    signs, thumbnails = zip(*(one.fingerprint for one in measured), strict=True)
    fingerprints = audit.Fingerprints(np.stack(signs), np.stack(thumbnails))
    matches = [*audit.find_matches(fingerprints), *_match_names(image_set, named)]
    scenes = np.arange(len(measured))
    for members in audit.group(len(scenes), matches):
        scenes[members] = members[0]
    return scenes


def read_set(
    image_set: ImageSet,
    measurements: Mapping[str, Measurement],
    scenes: np.ndarray,
    form: str,
) -> SetReadings:
    """Returns the measurements of a set in one form; pairs need both sides.

    Raises:
      ValueError: If no image of the set could be measured.
    """
    names = image_set.names
    sides = {
        side: [measurements[photograph.name] for photograph in photographs]
        for side, photographs in image_set.sides.items()
    }
    excluded = {
        name: measured.faults[form]
        for name, row in zip(names, zip(*sides.values(), strict=True), strict=True)
        for measured in row
        if form in measured.faults
    }
    kept = [i for i, name in enumerate(names) if name not in excluded]
    if not kept:
        raise ValueError(
            f"No image of {image_set.name} can be measured: {names[0]} "
            f"{excluded[names[0]]}. Use larger photographs, or a smaller --side."
        )
    readings = {
        side: [of_side[i].readings[form] for i in kept]
        for side, of_side in sides.items()
    }
    return SetReadings(
        image_set.kind,
        [names[i] for i in kept],
        scenes[kept],
        {side: np.array([niqe for niqe, _ in of]) for side, of in readings.items()},
        {side: np.stack([vector for _, vector in of]) for side, of in readings.items()},
        excluded,
    )


def _split_name(text: str) -> tuple[str, str]:
    """Returns the name and the source of `NAME=SOURCE` or `SOURCE`."""
    name, source = source_names.split_name(text)
    name = name or pathlib.PurePath(text.rpartition(":")[2]).stem
    if not name:
        raise ValueError(f"Expected SOURCE or NAME=SOURCE, not {text!r}.")
    return decoding.printable(name), source


def _open_rainy(source: str) -> dict[str, list[Photograph]]:
    """Returns the photographs of a source by side."""
    try:
        pairs = source_names.open_pairs(source)
    except NoPairsError:
        return {"rainy": source_names.open_photographs(source, "rainy")}
    return {
        "rainy": [pair.rainy for pair in pairs],
        "clean": [pair.clean for pair in pairs],
    }


def _draw(
    name: str,
    kind: str,
    source: str,
    sides: Mapping[str, Sequence[Photograph]],
    *,
    num_images: int,
    seed: int,
) -> ImageSet:
    """Returns a set of at most `num_images` images, in their original order."""
    num_found = len(next(iter(sides.values())))
    if num_found > num_images:
        rng = np.random.default_rng(seed)
        drawn = np.sort(rng.choice(num_found, num_images, replace=False))
        sides = {side: [of_side[i] for i in drawn] for side, of_side in sides.items()}
    return ImageSet(name, kind, decoding.printable(source), sides, num_found)


def _measure(
    photograph: Photograph, *, side: int, quality: int, embed: Embed | None
) -> Measurement:
    image = photograph.load()
    height, width = image.shape[:2]
    size = f"{width}x{height}"
    view = transforms.View(jpeg_quality=quality)
    forms = {
        AS_IS: (naturalness.MIN_SIDE, lambda: image),
        EQUALISED: (side, lambda: transforms.equalize(image, side, side, view)),
    }
    readings, faults = {}, {}
    for form, (least, make) in forms.items():
        if min(height, width) < least:
            faults[form] = f"is {size}; each side needs at least {least} pixels"
            continue
        try:
            readings[form] = _read(make(), embed)
        except ValueError as error:
            faults[form] = f"is {size}: {error}"
    return Measurement(readings, faults, audit.fingerprint(image))


def _read(image: np.ndarray, embed: Embed | None) -> tuple[float, np.ndarray]:
    blocks = naturalness.features(image)
    niqe = naturalness.distance(blocks)  # raises if too few blocks have features
    # Blocks of one colour have NaN features; NIQE skips them too.
    features = np.nanmean(blocks, axis=0) if embed is None else embed(image)
    return niqe, features


def _match_names(image_set: ImageSet, named: SceneNames) -> Iterator[audit.Match]:
    """Yields pairs of images that are listed as one scene."""
    rows_of = collections.defaultdict(list)
    for photographs in image_set.sides.values():
        for row, photograph in enumerate(photographs):
            rows_of[named.find(photograph.name)].append(row)
    rows_of.pop(None, None)  # not listed
    for rows in rows_of.values():
        for one, other in itertools.pairwise(rows):
            yield audit.Match(one, other, 0, 1.0, False)
