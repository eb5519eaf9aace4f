"""Published sets of rainy and clean pairs, and the user's own folders, on disk.

A set is a value: facts about it, and how its files belong together. Only the names of
files are read here. If a layout is known only from the code of others that reads the set,
or not at all, its `note` says so.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from ttl_jax.data.files import image_folders, images

# Splits of the user's own folders, by the name of the subfolder.
SPLIT_FOLDERS = ("train", "val", "validation", "test")
_NO_PART = "is not part of the expected folders"


@dataclasses.dataclass(frozen=True)
class RawExample:
    """A pair, or a photograph, of a set as distributed.

    Attributes:
      name: Name, unique within its split.
      scene: Name shared by all examples of the split that show the same scene.
      files: Paths relative to the folder of the set: the rainy and the clean image, or
        the file that holds both side by side, or the photograph.
    """

    name: str
    scene: str
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Found:
    """The examples of a set that a folder holds.

    Attributes:
      splits: Examples of each split, in the order in which they are listed.
      unused: Image files that belong to no example, or invalid lines of the set's own
        lists, and the reason for each.
      others: Files without an image suffix.
    """

    splits: Mapping[str, Sequence[RawExample]]
    unused: Sequence[tuple[str, str]]
    others: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawSet:
    """A set as it is distributed.

    Attributes:
      name: Name on the command line and in the source "tfds:NAME".
      kind: "pairs" of two files each, "halves" of one file each, or "photos".
      find: Maps the folder of the set to what it holds.
      tree: Expected folder, as text.
      counts: Published number of examples of each split.
      paper: Paper that published it.
      terms: Terms of its licence, as far as they are stated.
      home: Place of distribution.
      note: Uncertainties.
      rainy_half: Half with rain, "left" or "right".
      views: Splits that are parts of another: name, split, and the first and the last
        number of the scenes that belong to them.
    """

    name: str
    kind: str
    find: Callable[[pathlib.Path], Found]
    tree: str
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    paper: str = ""
    terms: str = ""
    home: str = ""
    note: str = ""
    rainy_half: str | None = None
    views: Mapping[str, tuple[str, int, int]] = dataclasses.field(default_factory=dict)


# Published sets: files by the pattern of their path


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Rule from the path of a rainy image to its name, scene and clean image.

    Attributes:
      rainy: Regular expression of the path without its suffix, below any folder, which
        becomes the group `at`.
      clean: Possible paths of the clean image without its suffix, in terms of the
        groups; empty for files that hold both halves.
      name: Name of the example, in terms of the groups.
      scene: Name of the scene, in terms of the groups.
      split: Split, if the pattern decides it and not the names of folders.
    """

    rainy: str
    clean: tuple[str, ...] = ()
    name: str = "{i}"
    scene: str = "{i}"
    split: str | None = None

    def match(self, stem: str) -> dict[str, str] | None:
        """The groups of a path that fits, "" for those that took no part."""
        match = re.fullmatch(f"(?P<at>(?:.*/)?){self.rainy}", stem, re.IGNORECASE)
        return match and {key: text or "" for key, text in match.groupdict().items()}


def find_by_patterns(
    root: pathlib.Path, patterns: Sequence[Pattern], splits: Sequence[str]
) -> Found:
    """Finds examples whose paths fit a pattern; of several patterns the first counts.

    The split is named by the last folder with "train", "val" or "test" in its name. It
    is the last split if no folder has such a name, or there is no such split.
    """
    paths, others = _list_files(root)
    by_stem = {os.path.splitext(path)[0]: path for path in reversed(paths)}
    examples: dict[str, dict[str, RawExample]] = {split: {} for split in splits}
    faults: dict[str, str] = {}
    for path in paths:
        fit = _fit(path, patterns, by_stem)
        if fit[0] is None:
            faults[path] = fit[1]
            continue
        pattern, found = fit
        split = pattern.split or _split_of(os.path.dirname(path), splits)
        if examples[split].setdefault(found.name, found) != found:
            faults[path] = f"is {found.name} a second time"
    by_split = {s: list(named.values()) for s, named in examples.items() if named}
    return _make_found(by_split, paths, faults, others)


def _fit(
    path: str, patterns: Sequence[Pattern], by_stem: Mapping[str, str]
) -> tuple[Pattern, RawExample] | tuple[None, str]:
    """The first pattern that a rainy file fits and its example; else None and why."""
    fault = _NO_PART
    for pattern in patterns:
        if (groups := pattern.match(os.path.splitext(path)[0])) is None:
            continue
        name, scene = (
            text.format(**groups).lower() for text in (pattern.name, pattern.scene)
        )
        if not pattern.clean:
            return pattern, RawExample(name, scene, (path,))
        wanted = [template.format(**groups) for template in pattern.clean]
        for stem in wanted:
            if stem in by_stem:
                return pattern, RawExample(name, scene, (path, by_stem[stem]))
        fault = f"lacks its clean image, {' or '.join(wanted)}"
    return None, fault


def _split_of(folders: str, splits: Sequence[str]) -> str:
    for part in reversed(folders.split("/")):
        if match := re.search("train|test|(?<![a-z])val", part, re.IGNORECASE):
            word = match[0].lower()
            for split in splits:
                if split.startswith(word):
                    return split
    return splits[-1]


def find_by_lists(
    root: pathlib.Path,
    lists: Mapping[str, str],
    patterns: Sequence[Pattern],
    splits: Sequence[str],
) -> Found:
    """As `find_by_patterns`, but text files of the set decide which files are pairs.

    Args:
      root: Folder of the set.
      lists: Name of the text file of each split that may have one; its lines are a
        rainy and a clean path with a space between them, relative to its folder.
      patterns: Patterns for splits without a text file.
      splits: All splits.
    """
    found = find_by_patterns(root, patterns, splits)
    by_list: dict[str, list[RawExample]] = {}
    invalid: list[tuple[str, str]] = []
    for split, name in lists.items():
        for file in sorted(root.rglob(name)):
            if examples := _read_list(root, file, invalid):
                by_list[split] = examples
    if by_list:
        paths, others = _list_files(root)
        by_split = {**found.splits, **by_list}
        found = _make_found(by_split, paths, dict(found.unused), others)
    return dataclasses.replace(found, unused=[*found.unused, *invalid])


def _read_list(
    root: pathlib.Path, file: pathlib.Path, invalid: list[tuple[str, str]]
) -> list[RawExample]:
    folder = file.parent.relative_to(root).as_posix()
    examples = {}
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        # Lines begin with ./ or with /, and mean the folder of the list either way.
        columns = [path.lstrip("./") for path in line.split()]
        if len(columns) == 2:
            rainy, clean = (os.path.normpath(f"{folder}/{path}") for path in columns)
            name = os.path.splitext(columns[0])[0]
            # real_world/000/000-1/000-1_0_0 is a crop of a frame of the video 000.
            video = name.split("/")[1] if name.count("/") == 3 else name
            examples[name] = RawExample(name, video, (rainy, clean))
        elif columns:
            where = f"{folder}/{file.name}, line {number}"
            invalid.append((where, f"holds {len(columns)} paths, not two"))
    return list(examples.values())


# The user's own folders


def find_pairs(root: pathlib.Path) -> Found:
    """Finds pairs of the same path within rainy/ and clean/, or input/ and target/."""

    def pairs_below(folder: str, paths: Sequence[str], faults: dict[str, str]):
        if (layout := image_folders.find_pair_layout(root / folder)) is None:
            return []
        sides = [
            (side, [path for path in paths if path.startswith(f"{side}/")])
            for side in (f"{folder}{name}" for name in layout)
        ]
        pairs, found = image_folders.match_stems(*sides)
        faults |= found
        return [RawExample(stem, stem, files) for stem, files in pairs.items()]

    return _find_own(root, pairs_below, image_folders.find_pair_layout)


def find_photos(root: pathlib.Path) -> Found:
    """Finds all photographs below a folder."""

    def photos_below(folder: str, paths: Sequence[str], faults: dict[str, str]):
        del faults
        return [
            RawExample(name, name, (path,))
            for path in paths
            if path.startswith(folder)
            for name in [path.removeprefix(folder)]
        ]

    return _find_own(root, photos_below, lambda folder: None)


def _find_own(
    root: pathlib.Path, examples_below: Callable, is_split: Callable
) -> Found:
    """The examples of the folder, its split "train", or of subfolders named as splits."""
    paths, others = _list_files(root)
    names = [name for name in SPLIT_FOLDERS if (root / name).is_dir()]
    if is_split(root) or not names:
        folders = {"train": ""}
    else:
        folders = {name: f"{name}/" for name in names}
    faults: dict[str, str] = {}
    splits = {
        split: examples
        for split, folder in folders.items()
        if (examples := examples_below(folder, paths, faults))
    }
    return _make_found(splits, paths, faults, others)


def _list_files(root: pathlib.Path) -> tuple[list[str], list[str]]:
    """Images and other files below a folder, relative to it, with / between parts."""
    if not root.is_dir():
        raise ValueError(
            f"There is no folder {root}; check the path, which is relative to "
            f"{pathlib.Path.cwd()}."
        )
    paths = [
        pathlib.Path(path).relative_to(root).as_posix()
        for path in image_folders.walk(root)
    ]
    return (
        [path for path in paths if image_folders.is_image(path)],
        [path for path in paths if not image_folders.is_image(path)],
    )


def _make_found(
    splits: Mapping[str, Sequence[RawExample]],
    paths: Iterable[str],
    faults: Mapping[str, str],
    others: Sequence[str],
) -> Found:
    used = {
        file
        for examples in splits.values()
        for example in examples
        for file in example.files
    }
    unused = [(path, faults.get(path, _NO_PART)) for path in paths if path not in used]
    return Found(splits, unused, others)


def require_examples(raw_set: RawSet, root: pathlib.Path, found: Found) -> None:
    """Raises a ValueError that shows both trees if a folder holds no example."""
    if any(found.splits.values()):
        return
    files = [f"{path} {why}" for path, why in found.unused] + [*found.others]
    shown = images.name_some(files, "\n  ") or "no files"
    raise ValueError(
        f"{root} lacks the folders of {raw_set.name}. Expected is\n"
        f"{raw_set.tree}\nand found was\n  {shown}"
    )
