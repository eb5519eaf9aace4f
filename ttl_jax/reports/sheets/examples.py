"""Images to score as every method restored them: of sources, or of folders.

Every image is uint8 RGB [H, W, 3]: the protocols compare what a file would hold.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ttl_jax import suggestions
from ttl_jax.data.files import decoding, image_folders, images
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import NoPairsError
from ttl_jax.metrics import image_quality
from ttl_jax.reports.scores import partners, scene_names

INPUT = "input"  # the method that leaves the rain in

Load = Callable[[], np.ndarray]
Sizes = dict[pathlib.Path, tuple[int, int]]  # height and width by file


@dataclasses.dataclass(frozen=True)
class Subject:
    """A photograph to restore, read when asked for.

    Attributes:
      name: Within its set.
      size: Height and width in pixels.
      rainy: Reads it.
      target: Reads the clean image, where there is one.
      rain_mask: Reads where the rain is, bool [H, W], where that is known.
      scene: Shared by all that show the same scene; None: told by the target's pixels,
        and without a target by the name.
    """

    name: str
    size: tuple[int, int]
    rainy: Load
    target: Load | None = None
    rain_mask: Load | None = None
    scene: str | None = None


@dataclasses.dataclass(frozen=True)
class Example:
    """One photograph as every method restored it.

    Attributes:
      name: The image's name within its set.
      scene: Shared by all images of the set that show the same scene.
      restored: Method to image; the first is `INPUT`, the rainy image itself.
      target: The clean image, or None.
      rain_mask: Where the rain is, bool [H, W], or None.
    """

    name: str
    scene: str
    restored: Mapping[str, np.ndarray]
    target: np.ndarray | None = None
    rain_mask: np.ndarray | None = None


Method = Callable[[Subject, np.ndarray], np.ndarray]


class Examples:
    """The examples that methods make of subjects, one after the other.

    Args:
      subjects: What to restore.
      methods: Name to a function from a subject and its rainy image to the restored one.

    Raises:
      ValueError: There is nothing to score, or an image is too small for SSIM's window.
    """

    def __init__(self, subjects: Sequence[Subject], methods: Mapping[str, Method]):
        if not subjects:
            raise ValueError("There are no images to score.")
        _check_sizes({subject.name: subject.size for subject in subjects})
        self._subjects, self._methods = subjects, methods

    def __len__(self) -> int:
        return len(self._subjects)

    def pick(self, names: Sequence[str]) -> "Examples":
        """The examples of these names, in their order.

        Raises:
          ValueError: One is named twice or not among them.
        """
        if len(set(names)) < len(names):
            raise ValueError(f"Name each image once; given are {', '.join(names)}.")
        by_name = {subject.name: subject for subject in self._subjects}
        for name in names:
            if name not in by_name:
                raise ValueError(
                    f"There is no image {name!r}{suggestions.hint(name, by_name)}"
                )
        return Examples([by_name[name] for name in names], self._methods)

    def __iter__(self) -> Iterator[Example]:
        for subject in self._subjects:
            rainy = subject.rainy()
            restored = {INPUT: rainy}
            for name, method in self._methods.items():
                restored[name] = method(subject, rainy)
            target = subject.target and subject.target()
            yield Example(
                subject.name,
                subject.scene or _scene_of(subject.name, target),
                restored,
                target,
                subject.rain_mask and subject.rain_mask(),
            )


def check_names(methods: Sequence[str]) -> None:
    """Checks that each method has a name of its own.

    Raises:
      ValueError: If one is used twice, or is the input's.
    """
    if INPUT in methods:
        raise ValueError(
            f"{INPUT!r} is what the rainy images are called; name the method otherwise."
        )
    if twice := sorted({name for name in methods if methods.count(name) > 1}):
        raise ValueError(
            f"Each method has a name of its own, but given are {', '.join(methods)}; "
            f"name {', '.join(twice)} otherwise, as NAME=DIR."
        )


def network_method(restorer) -> Method:
    """The method of an object with `restore(array) -> array`, as `inference.Restorer`."""

    def restore(subject: Subject, rainy: np.ndarray) -> np.ndarray:
        try:
            return restorer.restore(rainy)
        except ValueError as error:
            raise ValueError(f"{subject.name}: {error}") from error

    return restore


def open_source(source: str) -> list[Subject]:
    """The pairs of a source, or its rainy photographs, if it holds no pairs.

    Raises:
      ValueError: The source is unknown, or holds nothing usable.
    """
    try:
        pairs = source_names.open_pairs([source])
    except NoPairsError:
        return [
            Subject(item.name, (item.height, item.width), item.load)
            for item in source_names.open_photographs([source], "rainy")
        ]
    return [
        Subject(pair.name, (pair.height, pair.width), pair.rainy.load, pair.clean.load)
        for pair in pairs
    ]


class ResultFolders:
    """Images in folders, and what methods made of them in other folders.

    Partners are told by their names, see `partners`.

    Args:
      rainy: Folder of the rainy images.
      target: Folder of the clean images, or None.
      results: Each method and the folder of its results.

    Attributes:
      subjects: The images, by the names of the targets; of the rainy ones without.
      methods: What each method made of them.
      notes: Which names were matched that are not the same.

    Raises:
      ValueError: A folder is missing or holds no images, a partner is missing or has
        none, an image is damaged, sizes differ, or as `check_names`. Nothing has been
        scored by then.
    """

    def __init__(
        self,
        rainy: str | os.PathLike[str],
        target: str | os.PathLike[str] | None,
        results: Sequence[tuple[str, str | os.PathLike[str]]],
    ):
        check_names([name for name, _ in results])
        first = partners.find_images(rainy if target is None else target)
        folders = {} if target is None else {INPUT: rainy}
        folders |= dict(results)
        found = _match_folders(first, folders)
        self.notes = list(_describe_renamed(found))
        sizes = _read_sizes(first, *(matched.paths for matched in found.values()))
        _check_equal_sizes(first, found, sizes)
        rainy_paths = first if target is None else found[INPUT].paths
        self.subjects = [
            Subject(
                name,
                sizes[path],
                functools.partial(decoding.read_rgb8, rainy_paths[name]),
                target and functools.partial(decoding.read_rgb8, path),
            )
            for name, path in first.items()
        ]
        self.methods = {
            method: _folder_method(found[method].paths) for method, _ in results
        }


def attach_masks(
    subjects: Iterable[Subject], folder: str | os.PathLike[str]
) -> list[Subject]:
    """The subjects, those with a partner in a folder of rain masks with it.

    A mask is an image of the subject's size, bright where the rain is.

    Raises:
      ValueError: The folder holds no images, none belongs to a subject, or sizes differ.
    """
    subjects = list(subjects)
    masks = partners.find_images(folder)
    # A mask lies in its folder under the image's name alone.
    stems = [
        image_folders.without_suffix(subject.name).rpartition("/")[2]
        for subject in subjects
    ]
    found = partners.match(dict.fromkeys(stems), masks).paths
    if not found:
        raise ValueError(
            f"None of the masks in {folder} has the name of an image to score, such as "
            f"{stems[0]}."
        )
    if twice := [stem for stem in found if stems.count(stem) > 1]:
        raise ValueError(
            f"Several images to score are called {images.name_some(twice)}, so that it "
            f"is not clear whose the masks in {folder} are; score them apart."
        )
    sizes = _read_sizes(found)
    return [
        _with_mask(subject, found[stem], sizes[found[stem]])
        if stem in found
        else subject
        for subject, stem in zip(subjects, stems, strict=True)
    ]


def attach_scenes(
    subjects: Iterable[Subject], file: str | os.PathLike[str]
) -> list[Subject]:
    """The subjects with the scenes that a file tells, as `scene_names.read` takes it.

    Raises:
      ValueError: The file cannot be read, or tells no scene of an image.
    """
    scenes = scene_names.read(file)
    told = [
        dataclasses.replace(subject, scene=scenes.find(subject.name))
        for subject in subjects
    ]
    if missing := [subject.name for subject in told if subject.scene is None]:
        raise ValueError(
            f"{file} tells no scene of {len(missing)} of {len(told)} images: "
            f"{images.name_some(missing)}. Its paths have to be these names or their ends."
        )
    return told


def _scene_of(name: str, target: np.ndarray | None) -> str:
    if target is None:
        return name
    return hashlib.sha256(np.ascontiguousarray(target)).hexdigest()[:16]


def _with_mask(subject: Subject, path: pathlib.Path, size: tuple[int, int]) -> Subject:
    if size != subject.size:
        raise ValueError(
            f"The rain mask {path} is {size[0]} x {size[1]}, its image "
            f"{subject.size[0]} x {subject.size[1]} (height x width)."
        )
    return dataclasses.replace(
        subject, rain_mask=lambda: decoding.read_rgb8(path).max(axis=-1) > 127
    )


def _folder_method(paths: partners.Paths) -> Method:
    return lambda subject, rainy: decoding.read_rgb8(paths[subject.name])


def _match_folders(
    first: partners.Paths, folders: Mapping[str, str | os.PathLike[str]]
) -> dict[str, partners.Partners]:
    """The partners that the first folder's images have in each of the others.

    Raises:
      ValueError: Naming the images that have none.
    """
    found, faults = {}, []
    for method, folder in folders.items():
        paths = partners.find_images(folder)
        try:
            found[method] = partners.match(first, paths)
        except ValueError as error:
            raise ValueError(f"{method}, in {folder}: {error}") from error
        used = set(found[method].paths.values())
        missing = [name for name in first if name not in found[method].paths]
        extra = [name for name, path in paths.items() if path not in used]
        if missing:
            faults.append(f"{method} lacks {images.name_some(missing)}")
        if extra:
            faults.append(f"{method} has {images.name_some(extra)} without a partner")
    if faults:
        raise ValueError(
            "Images belong together by their path without the suffix and common parts "
            f"of names, and {'; '.join(faults)}."
        )
    return found


def _describe_renamed(found: Mapping[str, partners.Partners]) -> Iterator[str]:
    for method, matched in found.items():
        if matched.renamed:
            name, other = next(iter(matched.renamed.items()))
            yield (
                f"{method}: {len(matched.renamed)} of {len(matched.paths)} files matched "
                f"by the rest of their names, such as {other} for {name}"
            )


def _read_sizes(*folders: partners.Paths) -> Sizes:
    """Height and width of every file, each of which was decoded fully once.

    Raises:
      ValueError: Naming the files that cannot be used.
    """
    paths = [path for folder in folders for path in folder.values()]
    facts = images.check([str(path) for path in paths])
    return {p: (f.height, f.width) for p, f in zip(paths, facts, strict=True)}


def _check_equal_sizes(
    first: partners.Paths, found: Mapping[str, partners.Partners], sizes: Sizes
) -> None:
    """Refuses images that have not their partner's size."""
    faults = []
    for matched in found.values():
        for name, path in matched.paths.items():
            size, expected = sizes[path], sizes[first[name]]
            if size != expected:
                faults.append(
                    f"{path} is {size[0]} x {size[1]}, its partner "
                    f"{expected[0]} x {expected[1]}"
                )
    if faults:
        raise ValueError(
            "Images have to have their partner's size (height x width): "
            f"{images.name_some(faults, '; ')}."
        )


def _check_sizes(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Refuses images, height and width by name, that SSIM's window does not fit into."""
    smallest = image_quality.SSIM_WINDOW
    small = [
        f"{name} ({height} x {width})"
        for name, (height, width) in sizes.items()
        if min(height, width) < smallest
    ]
    if small:
        raise ValueError(
            f"SSIM needs at least {smallest} x {smallest} pixels; too small (height x "
            f"width): {images.name_some(small)}."
        )
