"""Images to score or show, restored by each method: from sources or folders.

Every image is uint8 RGB [H, W, 3], since the protocols compare values of files.
"""

import collections
import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ttl_jax import suggestions
from ttl_jax.data.files import decoding, image_folders
from ttl_jax.data.sources import file_sources, pair_cues, source_names
from ttl_jax.data.sources.photographs import NoPairsError, Pair, Photograph
from ttl_jax.metrics import image_quality
from ttl_jax.reports import partners, scene_names

INPUT = "input"  # the method that returns the rainy image

Path = str | os.PathLike[str]
Load = Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A photograph to restore, read on demand.

    Attributes:
      name: Name within its set.
      size: Height and width in pixels.
      rainy: Function that reads the rainy image, or None if there are results alone.
      target: Function that reads the clean image, or None.
      rain_mask: Function that reads the mask of the rain, bool [H, W], or None.
      scene: Name shared by all photographs of one scene. With None, photographs with equal
        targets are one scene, and each photograph without a target is its own scene.
    """

    name: str
    size: tuple[int, int]
    rainy: Load | None
    target: Load | None = None
    rain_mask: Load | None = None
    scene: str | None = None


@dataclasses.dataclass(frozen=True)
class Example:
    """A subject and its restorations by all methods.

    Attributes:
      name: Name within its set.
      scene: Name shared by all images of the set that show the same scene.
      restored: Images by method; the first is `INPUT`, the rainy image itself, if given.
      target: Clean image, or None.
      rain_mask: Mask of the rain, bool [H, W], or None.
    """

    name: str
    scene: str
    restored: Mapping[str, np.ndarray]
    target: np.ndarray | None = None
    rain_mask: np.ndarray | None = None

    def compare(self, protocol: str) -> dict[str, dict[str, float]]:
        """Returns {method: {"psnr", "ssim"}} against the target; empty without a target.

        Args:
          protocol: Name in `image_quality.PROTOCOLS`.

        Raises:
          ValueError: As `image_quality.psnr` and `ssim`.
        """
        if self.target is None:
            return {}
        pairs = {m: (r[None], self.target[None]) for m, r in self.restored.items()}
        return {
            method: {
                "psnr": image_quality.psnr(*pair, protocol).item(),
                "ssim": image_quality.ssim(*pair, protocol).item(),
            }
            for method, pair in pairs.items()
        }


# An object with `restore(image) -> image`, or a mapping from names of subjects to files.
Method = Any


class Examples:
    """Iterates over examples, which are computed one after the other.

    Args:
      methods: Methods by name. A method is an object with `restore(image) -> image`, or a
        mapping from the names of subjects to the files of its results.

    Raises:
      ValueError: If there are no subjects, one is smaller than the window of SSIM, or one
        is too large for a method that has `check_pixels(num_pixels)`.
    """

    def __init__(self, subjects: Sequence[Subject], methods: Mapping[str, Method]):
        if not subjects:
            raise ValueError("There are no images to score.")
        smallest = image_quality.SSIM_WINDOW
        if small := [s for s in subjects if min(s.size) < smallest]:
            names = [f"{s.name} ({_format_size(s.size)})" for s in small]
            raise ValueError(
                f"SSIM needs at least {smallest} x {smallest} pixels; too small (height "
                f"x width): {suggestions.name_some(names)}."
            )
        for method in methods.values():
            if check := getattr(method, "check_pixels", None):
                _check_pixels(subjects, check)
        self._subjects, self._methods = subjects, methods

    def __len__(self) -> int:
        return len(self._subjects)

    def pick(self, names: Sequence[str]) -> "Examples":
        """Returns the examples with these names, in the order of the names.

        Raises:
          ValueError: If a name is unknown or given twice.
        """
        if len(set(names)) < len(names):
            raise ValueError(f"Name each image once; got {', '.join(names)}.")
        by_name = {subject.name: subject for subject in self._subjects}
        if unknown := [name for name in names if name not in by_name]:
            hint = suggestions.hint(unknown[0], by_name)
            raise ValueError(f"There is no image {unknown[0]!r}{hint}")
        return Examples([by_name[name] for name in names], self._methods)

    def __iter__(self) -> Iterator[Example]:
        for subject in self._subjects:
            restored = {INPUT: subject.rainy()} if subject.rainy else {}
            for name, method in self._methods.items():
                restored[name] = _restore(method, subject, restored.get(INPUT))
            target = subject.target and subject.target()
            yield Example(
                subject.name,
                subject.scene or _scene_of(target) or subject.name,
                restored,
                target,
                subject.rain_mask and subject.rain_mask(),
            )


def _check_pixels(subjects: Sequence[Subject], check: Callable[[int], None]) -> None:
    """Raises ValueError with the subjects that are too large, before any is restored."""
    large, reason = [], None
    for subject in subjects:
        try:
            check(math.prod(subject.size))
        except ValueError as error:
            large.append(subject.name)
            reason = error
    if large:
        raise ValueError(f"{suggestions.name_some(large)}: {reason}.") from reason


def _restore(method: Method, subject: Subject, rainy: np.ndarray | None) -> np.ndarray:
    if isinstance(method, Mapping):
        return decoding.read_rgb8(method[subject.name])
    try:
        return method.restore(rainy)
    except ValueError as error:
        raise ValueError(f"{subject.name}: {error}") from error


def _scene_of(target: np.ndarray | None) -> str | None:
    """Returns a name that equal targets share; None without a target."""
    if target is None:
        return None
    return hashlib.sha256(np.ascontiguousarray(target).data).hexdigest()[:16]


def check_names(methods: Sequence[str]) -> None:
    """Checks that each method has its own name.

    Raises:
      ValueError: If a name is used twice, or is `INPUT`.
    """
    if INPUT in methods:
        raise ValueError(
            f"{INPUT!r} is the name of the rainy images; rename the method."
        )
    if repeated := sorted({name for name in methods if methods.count(name) > 1}):
        raise ValueError(
            f"Each method needs its own name, but got {', '.join(methods)}; "
            f"rename {', '.join(repeated)}, with NAME=DIR."
        )


def open_source(source: str) -> list[Subject]:
    """Returns the pairs of a source, or its rainy photographs if it has no pairs.

    Raises:
      ValueError: If the source is unknown, or has no usable images.
    """
    try:
        pairs = source_names.open_pairs(source)
    except NoPairsError:
        photographs = source_names.open_photographs(source, "rainy")
        return [Subject(p.name, (p.height, p.width), p.load) for p in photographs]
    return [
        Subject(pair.name, (pair.height, pair.width), pair.rainy.load, pair.clean.load)
        for pair in pairs
    ]


def open_folders(
    rainy: Path | None, target: Path | None, results: Sequence[tuple[str, Path]]
) -> tuple[list[Subject], dict[str, partners.Paths], list[str]]:
    """Opens images in folders, and the results of methods in other folders.

    Files are matched by name; see `partners`.

    Args:
      rainy: Folder of the rainy images, or None.
      target: Folder of the clean images, or None; one of the two is needed.
      results: Names of methods and the folders of their results.

    Returns:
      Images, named as the targets, or as the rainy ones if there are none. Files of the
      results by method. Lines about files whose names differ from their partner's, and
      about results that show another scene.

    Raises:
      ValueError: As `check_names`. If a folder is missing or holds no images. If an
        image lacks a partner, is damaged, or differs from its partner in size. If rainy
        and clean images are no pairs (see `pair_cues`). All of this is checked before
        anything is scored.
    """
    check_names([name for name, _ in results])
    if (main := target or rainy) is None:
        raise ValueError("Name a folder of rainy or of clean images.")
    first = partners.find_images(main)
    folders = {INPUT: rainy} if rainy and target else {}
    found, notes = _match_folders(first, folders | dict(results))
    files = list({p: None for of in (first, *found.values()) for p in of.values()})
    opened = dict(zip(files, file_sources.open_files(files), strict=True))
    for method, paths in found.items():
        pairs = [Pair(opened[paths[n]], opened[path]) for n, path in first.items()]
        file_sources.check_sizes(pairs)
        if method == INPUT:
            pair_cues.check(pairs)
        elif unrelated := pair_cues.find_unrelated(pairs):
            notes.append(
                f"Warning: {method} shows another scene than the partner in "
                f"{suggestions.name_some(unrelated)}."
            )
    paths = found.pop(INPUT, first)
    subjects = [
        Subject(
            name,
            (opened[path].height, opened[path].width),
            opened[paths[name]].load if rainy else None,
            opened[path].load if target else None,
        )
        for name, path in first.items()
    ]
    return subjects, found, notes


def attach_masks(subjects: Sequence[Subject], folder: Path) -> list[Subject]:
    """Returns the subjects with their rain masks.

    Args:
      subjects: Photographs.
      folder: Folder of masks, which may be in subfolders. A mask has the size of its
        photograph and the last part of its name, and is bright where the rain is. A
        subject may lack a mask.

    Raises:
      ValueError: If the folder has no images, no mask belongs to a subject, a subject has
        several masks, several subjects share a name, or sizes differ.
    """
    stems = [_last_part(image_folders.without_suffix(s.name)) for s in subjects]
    paths = collections.defaultdict(list)
    for name, path in partners.find_images(folder).items():
        paths[_last_part(name)].append(path)
    matched = partners.match(dict.fromkeys(stems), paths)
    candidates = {stem: paths[other] for stem, other in matched.items()}
    if not candidates:
        raise ValueError(
            f"No mask in {folder} has the name of an image to score, such as {stems[0]}."
        )
    if repeated := [stem for stem in candidates if stems.count(stem) > 1]:
        raise ValueError(
            f"Several images to score are named {suggestions.name_some(repeated)}, so their "
            f"masks in {folder} are ambiguous; score them separately."
        )
    if several := [names for names in candidates.values() if len(names) > 1]:
        raise ValueError(
            f"Several masks belong to one image: {suggestions.name_some(several[0])}. Name the "
            "subfolder of the right ones, or remove the others."
        )
    found = {stem: path for stem, (path,) in candidates.items()}
    files = dict(zip(found, file_sources.open_files(list(found.values()))))
    sizes = {stem: s.size for stem, s in zip(stems, subjects, strict=True)}
    if faults := [
        f"{mask.name} is {mask.height} x {mask.width}, its partner {_format_size(sizes[stem])}"
        for stem, mask in files.items()
        if (mask.height, mask.width) != sizes[stem]
    ]:
        raise ValueError(
            "Masks must have the size of their partner (height x width): "
            f"{suggestions.name_some(faults, '; ')}."
        )
    masks = {stem: functools.partial(_read_mask, mask) for stem, mask in files.items()}
    return [
        dataclasses.replace(subject, rain_mask=masks.get(stem))
        for stem, subject in zip(stems, subjects, strict=True)
    ]


def attach_scenes(subjects: Iterable[Subject], file: Path) -> list[Subject]:
    """Returns the subjects with the scenes of a CSV file; see `scene_names.read`.

    Raises:
      ValueError: If the file cannot be read, or lacks an image.
    """
    scenes = scene_names.read(file)
    attached = [
        dataclasses.replace(subject, scene=scenes.find(subject.name))
        for subject in subjects
    ]
    if missing := [subject.name for subject in attached if subject.scene is None]:
        raise ValueError(
            f"{file} has no scene for {len(missing)} of {len(attached)} images: "
            f"{suggestions.name_some(missing)}. Its paths must be these names or the ends of "
            "them."
        )
    return attached


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _read_mask(mask: Photograph) -> np.ndarray:
    return mask.load().max(axis=-1) > 127


def _match_folders(
    first: partners.Paths, folders: Mapping[str, Path]
) -> tuple[dict[str, partners.Paths], list[str]]:
    """Returns the partners of the first folder's images by method, and notes on names."""
    found, notes, faults = {}, [], []
    for method, folder in folders.items():
        paths = partners.find_images(folder)
        try:
            matched = partners.match(first, paths)
        except ValueError as error:
            raise ValueError(f"{method}, in {folder}: {error}") from error
        found[method] = {name: paths[other] for name, other in matched.items()}
        renamed = [pair for pair in matched.items() if pair[0] != pair[1]]
        if renamed:
            name, other = renamed[0]
            notes.append(
                f"{method}: {len(renamed)} of {len(matched)} files matched without the "
                f"common parts of their names, such as {other} for {name}"
            )
        if missing := [name for name in first if name not in matched]:
            faults.append(f"{method} lacks {suggestions.name_some(missing)}")
        used = set(matched.values())
        if extra := [name for name in paths if name not in used]:
            faults.append(
                f"{method} has {suggestions.name_some(extra)} without a partner"
            )
    if faults:
        raise ValueError(
            "Images are matched by their path without the suffix and common parts of "
            f"names, and {'; '.join(faults)}."
        )
    return found, notes


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
