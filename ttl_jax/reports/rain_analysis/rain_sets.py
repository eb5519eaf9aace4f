"""Sets of rainy and clean images, and what is measured of each image.

Every image is measured twice: as its file is, and equalised, which is scaled to a common
smaller side, cut to its central square and re-encoded: resolution and JPEG move NIQE as
much as rain does.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from ttl_jax.data.loading import transforms
from ttl_jax.data.sets import audit
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import NoPairsError, Photograph
from ttl_jax.metrics import naturalness

AS_IS, EQUALISED = FORMS = ("as_is", "equalised")
REAL, SYNTHETIC, CLEAN = "real", "synthetic", "clean"

# Returns the features [D] of an image, uint8 [H, W, 3].
Embed = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images that are compared as one.

    Attributes:
      name: No other set has it.
      kind: `REAL`, `SYNTHETIC` or `CLEAN`.
      source: Where they come from, as `data.sources` names it.
      images: The rainy side; of a set of the kind `CLEAN`, the photographs.
      clean: The partners of `images`; None where there are none.
      num_found: How many the source holds, of which `images` may be a part.
    """

    name: str
    kind: str
    source: str
    images: Sequence[Photograph]
    clean: Sequence[Photograph] | None
    num_found: int

    @property
    def sides(self) -> dict[str, Sequence[Photograph]]:
        """What there is of "rainy" and "clean", row by row."""
        if self.kind == CLEAN:
            return {"clean": self.images}
        partners = {} if self.clean is None else {"clean": self.clean}
        return {"rainy": self.images, **partners}


class Reading(NamedTuple):
    """What is measured of an image in one of its forms.

    Attributes:
      niqe: Its NIQE, lower is more natural.
      features: float [D], a vector in the feature space.
    """

    niqe: float
    features: np.ndarray


class Measurement(NamedTuple):
    """What is known of an image.

    Attributes:
      readings: By form; `faults` has the others.
      faults: By form, why there is no reading.
      signs: As `audit.Fingerprints` has them of many.
      thumbnail: Likewise.
    """

    readings: Mapping[str, Reading]
    faults: Mapping[str, str]
    signs: np.ndarray
    thumbnail: np.ndarray


class SetReadings(NamedTuple):
    """What is measured of a set in one form: N images, one row for each.

    Attributes:
      names: Of the images.
      scenes: int [N], equal where the picture is.
      niqe: By side, "rainy" or "clean", float [N].
      features: Likewise, float [N, D].
      excluded: Why the other images are left out, by name.
    """

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
    """The sets that a command names, before anything is measured.

    Args:
      real: Each `SOURCE` or `NAME=SOURCE`, where an existing folder may stand for
        `folder:` and its path. Without a name, the last part of the source is it.
      synthetic: Likewise.
      clean: Sources of rain-free photographs, which are one set; none if empty.
      num_images: At most so many images of a set are drawn.
      seed: Of the drawing.

    Raises:
      ValueError: If two sets have one name, or as `sources.open_photographs`.
    """
    named = [(REAL, *_split_name(text)) for text in real]
    named += [(SYNTHETIC, *_split_name(text)) for text in synthetic]
    names = [name for _, name, _ in named] + [CLEAN] * bool(clean)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{', '.join(repeated)}: more than one set has this name; give each its "
            "own, as NAME=SOURCE."
        )
    sets = [_open_rainy(kind, name, source) for kind, name, source in named]
    if clean:
        photographs = source_names.open_photographs(clean, "clean")
        source = ", ".join(clean)
        sets.append(ImageSet(CLEAN, CLEAN, source, photographs, None, len(photographs)))
    return [_draw(image_set, num_images, seed) for image_set in sets]


def measure_all(
    sets: Sequence[ImageSet], *, side: int, quality: int, embed: Embed | None
) -> dict[str, Measurement]:
    """Measurements by the images' names, made in threads behind a progress bar.

    Args:
      sets: An image that is in several of them is measured once.
      side: Of the equalised form, in pixels.
      quality: Its JPEG quality.
      embed: The features; None for the mean of NIQE's own over its blocks.

    Raises:
      ValueError: If an image is gone or damaged.
    """
    photographs = {
        photograph.name: photograph
        for image_set in sets
        for side in image_set.sides.values()
        for photograph in side
    }
    measure = functools.partial(_measure, side=side, quality=quality, embed=embed)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        progress = tqdm.tqdm(
            pool.map(measure, photographs.values()),
            total=len(photographs),
            desc="Measuring",
            unit="image",
            disable=None,
        )
        return dict(zip(photographs, progress, strict=True))


def read_set(
    image_set: ImageSet,
    measurements: Mapping[str, Measurement],
    scenes: np.ndarray,
    form: str,
) -> SetReadings:
    """What was measured of a set in a form; of pairs, where both sides could be.

    Args:
      image_set: A set whose images were measured.
      measurements: As `measure_all` returns them.
      scenes: As `rain_scenes.find_scenes` returns them.
      form: One of `FORMS`.

    Raises:
      ValueError: If none of its images could be measured.
    """
    rows = [
        [measurements[photograph.name] for photograph in row]
        for row in zip(*image_set.sides.values(), strict=True)
    ]
    excluded = {
        image.name: one.faults[form]
        for image, row in zip(image_set.images, rows, strict=True)
        for one in row
        if form in one.faults
    }
    kept = [i for i, image in enumerate(image_set.images) if image.name not in excluded]
    if not kept:
        name, reason = next(iter(excluded.items()))
        raise ValueError(
            f"No image of {image_set.name} can be measured: {name} {reason}. Name "
            "larger photographs, or equalise to a smaller side."
        )
    readings = {
        side: [rows[i][column].readings[form] for i in kept]
        for column, side in enumerate(image_set.sides)
    }
    return SetReadings(
        [image_set.images[i].name for i in kept],
        scenes[kept],
        {side: np.array([one.niqe for one in of]) for side, of in readings.items()},
        {side: np.stack([one.features for one in of]) for side, of in readings.items()},
        excluded,
    )


def _split_name(text: str) -> tuple[str, str]:
    """The name and the source of `NAME=SOURCE` or `SOURCE`."""
    name, source = source_names.split_name(text)
    if name is None:
        name = pathlib.PurePath(text.rpartition(":")[2]).stem
    if not name:
        raise ValueError(f"Expected SOURCE or NAME=SOURCE, not {text!r}.")
    return name, source


def _open_rainy(kind: str, name: str, source: str) -> ImageSet:
    try:
        pairs = source_names.open_pairs(source)
    except NoPairsError:
        photographs = source_names.open_photographs(source, "rainy")
        return ImageSet(name, kind, source, photographs, None, len(photographs))
    rainy, clean = [pair.rainy for pair in pairs], [pair.clean for pair in pairs]
    return ImageSet(name, kind, source, rainy, clean, len(pairs))


def _draw(image_set: ImageSet, num_images: int, seed: int) -> ImageSet:
    """The set with `num_images` of its images at most, in the order they had."""
    if image_set.num_found <= num_images:
        return image_set
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(image_set.num_found, num_images, replace=False))
    images, clean = (
        side and [side[i] for i in drawn]
        for side in (image_set.images, image_set.clean)
    )
    return dataclasses.replace(image_set, images=images, clean=clean)


def _measure(
    photograph: Photograph, *, side: int, quality: int, embed: Embed | None
) -> Measurement:
    image = photograph.load()
    size = f"{image.shape[1]}x{image.shape[0]}"
    smallest = min(image.shape[:2])
    view = transforms.View(jpeg_quality=quality)
    forms = {
        AS_IS: (naturalness.MIN_SIDE, lambda: image),
        EQUALISED: (side, lambda: transforms.equalize(image, side, side, view)),
    }
    readings, faults = {}, {}
    for form, (least, make) in forms.items():
        if smallest < least:
            faults[form] = f"is {size}; each side needs at least {least} pixels"
            continue
        try:
            readings[form] = _read(make(), embed)
        except ValueError as error:
            faults[form] = f"is {size}: {error}"
    thumbnail = audit.make_thumbnail(image)
    return Measurement(readings, faults, audit.hash_windows(thumbnail), thumbnail)


def _read(image: np.ndarray, embed: Embed | None) -> Reading:
    blocks = naturalness.features(image)
    value = naturalness.distance(blocks)
    # Blocks of one colour have no features; NIQE leaves them out as well.
    features = np.nanmean(blocks, axis=0) if embed is None else embed(image)
    return Reading(value, features)
