"""The published sets of rainy and clean pairs, as they are distributed.

A set is a value: what is known about it, and how its files belong together. Nothing is
read here but the names of files.

Where a layout has been seen only in others' code that reads the set, or not at all, its
`note` says so.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from ttl_jax.data.files import image_folders, images

# Splits of anybody's own folders, by the name of the subfolder.
SPLIT_FOLDERS = ("train", "val", "validation", "test")
_NO_PART = "is no part of the expected folders"


@dataclasses.dataclass(frozen=True)
class RawExample:
    """A pair, or a photograph, of a set as distributed.

    Attributes:
      name: Unique within its split.
      scene: Shared by all examples of the split that show the same scene.
      files: Paths relative to the folder of the set: the rainy and the clean image, or
        the one that holds both side by side, or the photograph.
    """

    name: str
    scene: str
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds of a set.

    Attributes:
      splits: Examples of each split, in the order in which they are listed.
      unused: Image files that belong to no example, or lines of the set's own lists
        that name none, and why.
      others: Files that have no image suffix.
    """

    splits: Mapping[str, Sequence[RawExample]]
    unused: Sequence[tuple[str, str]]
    others: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawSet:
    """A set as it is distributed.

    Attributes:
      name: As the command line and the source "tfds:NAME" call it.
      kind: "pairs" of two files each, "halves" of one file each, or "photos".
      find: Maps the folder of the set to what it holds.
      tree: The expected folder, for people.
      counts: Published number of examples of each split.
      paper: Where it was published.
      terms: Of its licence, as far as they are stated.
      home: Where it is distributed.
      note: What is uncertain.
      rainy_half: Of halves, "left" or "right".
      views: Splits that are parts of another: their name, the split, and the first and
        the last number of the scenes that belong to them.
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
    """How the path of a rainy image leads to its name, scene and clean image.

    Attributes:
      rainy: Regular expression of the path without its suffix, below any folder, which
        the group `at` is.
      clean: Where the clean image may be, without its suffix, in terms of the groups;
        none for files that hold both halves.
      name: Of the example, in terms of the groups.
      scene: Likewise.
      split: Where the pattern, not the folders' names, tells it.
    """

    rainy: str
    clean: tuple[str, ...] = ()
    name: str = "{i}"
    scene: str = "{i}"
    split: str | None = None

    def match(self, stem: str) -> dict[str, str] | None:
        """The groups of a path that fits, "" where they took no part."""
        match = re.fullmatch(f"(?P<at>(?:.*/)?){self.rainy}", stem, re.IGNORECASE)
        return match and {key: text or "" for key, text in match.groupdict().items()}


def find_by_patterns(
    root: pathlib.Path, patterns: Sequence[Pattern], splits: Sequence[str]
) -> Found:
    """Examples whose paths fit a pattern; of several patterns the first.

    The split is the one that the last of the path's folders with "train", "val" or
    "test" in its name says; without such, or where there is no such split, the last.
    """
    paths, others = _list_files(root)
    by_stem = {os.path.splitext(path)[0]: path for path in reversed(paths)}
    examples: dict[str, dict[str, RawExample]] = {split: {} for split in splits}
    faults: dict[str, str] = {}
    for path in paths:
        pattern, found = _fit(path, patterns, by_stem)
        if pattern is None:
            faults[path] = found
            continue
        split = pattern.split or _split_of(os.path.dirname(path), splits)
        if examples[split].setdefault(found.name, found) != found:
            faults[path] = f"is {found.name} a second time"
    return _make_found(
        {split: list(named.values()) for split, named in examples.items() if named},
        paths,
        faults,
        others,
    )


def _fit(
    path: str, patterns: Sequence[Pattern], by_stem: Mapping[str, str]
) -> tuple[Pattern, RawExample] | tuple[None, str]:
    """The first pattern that a rainy file fits and its example, or why there is none."""
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
    """As `find_by_patterns`, but pairs that a text file of the set names come from it.

    Args:
      root: The folder of the set.
      lists: Name of the text file of each split that may have one; its lines are a
        rainy and a clean path with a space between, relative to its folder.
      patterns: For splits whose text file is not there.
      splits: All splits.
    """
    found = find_by_patterns(root, patterns, splits)
    by_list: dict[str, list[RawExample]] = {}
    passed_over: list[tuple[str, str]] = []
    for split, name in lists.items():
        for file in sorted(root.rglob(name)):
            if examples := _read_list(root, file, passed_over):
                by_list[split] = examples
    if by_list:
        paths, others = _list_files(root)
        found = _make_found(
            {**found.splits, **by_list}, paths, dict(found.unused), others
        )
    return dataclasses.replace(found, unused=[*found.unused, *passed_over])


def _read_list(
    root: pathlib.Path, file: pathlib.Path, passed_over: list[tuple[str, str]]
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
            passed_over.append((where, f"holds {len(columns)} paths, not two"))
    return list(examples.values())


# Anybody's own folders


def find_pairs(root: pathlib.Path) -> Found:
    """Pairs of the same path within rainy/ and clean/, or input/ and target/."""
    return _find_own(root, _pairs_below, image_folders.find_pair_layout)


def find_photos(root: pathlib.Path) -> Found:
    """All photographs below a folder."""
    return _find_own(root, _photos_below, lambda folder: None)


def _find_own(
    root: pathlib.Path, examples_below: Callable, is_split: Callable
) -> Found:
    """The examples of the folder, its split "train", or of subfolders named as splits."""
    paths, others = _list_files(root)
    if is_split(root):
        folders = {"train": ""}
    else:
        names = [name for name in SPLIT_FOLDERS if (root / name).is_dir()]
        folders = {name: f"{name}/" for name in names} or {"train": ""}
    faults: dict[str, str] = {}
    splits = {
        split: examples_below(root, folder, paths, faults)
        for split, folder in folders.items()
    }
    splits = {split: examples for split, examples in splits.items() if examples}
    return _make_found(splits, paths, faults, others)


def _photos_below(
    root: pathlib.Path, folder: str, paths: Iterable[str], faults: dict[str, str]
) -> list[RawExample]:
    return [
        RawExample(path[len(folder) :], path[len(folder) :], (path,))
        for path in paths
        if path.startswith(folder)
    ]


def _pairs_below(
    root: pathlib.Path, folder: str, paths: Iterable[str], faults: dict[str, str]
) -> list[RawExample]:
    layout = image_folders.find_pair_layout(root / folder)
    if layout is None:
        return []
    rainy, clean = (_by_stem(f"{folder}{side}/", paths, faults) for side in layout)
    for here, there, side in ((rainy, clean, layout[1]), (clean, rainy, layout[0])):
        for stem in here.keys() - there.keys():
            faults[here[stem]] = f"has no partner in {folder}{side}/"
    return [
        RawExample(stem, stem, (rainy[stem], clean[stem]))
        for stem in rainy
        if stem in clean
    ]


def _by_stem(side: str, paths: Iterable[str], faults: dict[str, str]) -> dict[str, str]:
    """Paths below one side by their path within it, less the suffix."""
    by_stem: dict[str, str] = {}
    for path in paths:
        if path.startswith(side):
            stem = os.path.splitext(path[len(side) :])[0]
            if by_stem.setdefault(stem, path) != path:
                faults[path] = f"differs from {by_stem[stem]} in its suffix only"
    return by_stem


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
    """Raises a ValueError that shows both trees where a folder holds nothing usable."""
    if any(found.splits.values()):
        return
    faults = [f"  {path} {why}" for path, why in found.unused[: images.MAX_NAMED]]
    others = [f"  {path}" for path in found.others[: images.MAX_NAMED - len(faults)]]
    beyond = len(found.unused) + len(found.others) - len(faults) - len(others)
    shown = "\n".join(faults + others) or "  no files"
    raise ValueError(
        f"{root} lacks the folders of {raw_set.name}. Expected is\n"
        f"{raw_set.tree}\nand found was\n{shown}"
        + (f"\n  and {beyond} files more" if beyond else "")
    )
