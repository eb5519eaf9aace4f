"""Sets of photographs and pairs as files on disk: published ones and the user's own.

A set is a value: facts about the set, and rules that find its examples by the names of
files. Images are not read here. If a layout is unverified, or known only from code of
others, the `note` of the set says so.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ttl_jax import suggestions
from ttl_jax.data.files import image_folders

# Splits of the user's own folders, by the name of the subfolder, in any case.
SPLIT_FOLDERS = ("train", "val", "validation", "test")
_SPLIT_WORDS = "train|test|(?<![a-z])val"
_NO_PART = "is not part of the expected folders"

Splits = dict[str, list["RawExample"]]


class RawExample(NamedTuple):
    """A pair, or a photograph, of a set as distributed.

    Attributes:
      name: Name, unique within its split.
      scene: Name shared by all examples of the split that show the same scene.
      files: Paths relative to the folder of the set: the rainy and the clean image, or
        the file with both side by side, or the photograph.
    """

    name: str
    scene: str
    files: tuple[str, ...]


class Found(NamedTuple):
    """The examples of a set in a folder.

    Attributes:
      splits: Examples of each split, in the order in which they are listed.
      unused: Image files that belong to no example, and invalid lines of the set's own
        lists, each with the reason.
      others: Files without an image suffix.
    """

    splits: Mapping[str, Sequence[RawExample]]
    unused: Sequence[tuple[str, str]]
    others: Sequence[str]


class Pattern(NamedTuple):
    """Rule from the path of a rainy image to its name, scene and clean image.

    Attributes:
      rainy: Regular expression for the path without its suffix, below any folder; that
        folder becomes the group `at`.
      clean: Possible paths of the clean image without its suffix, as templates with the
        groups. Case is ignored. Empty for files with both halves.
      name: Name of the example, as a template with the groups.
      scene: Name of the scene, as a template with the groups.
      split: Split; None if folder names decide.
    """

    rainy: str
    clean: tuple[str, ...] = ()
    name: str = "{i}"
    scene: str = "{i}"
    split: str | None = None

    def match(self, stem: str) -> dict[str, str] | None:
        """Returns the groups of a path without its suffix, or None if it does not fit."""
        match = re.fullmatch(f"(?P<at>(?:.*/)?){self.rainy}", stem, re.IGNORECASE)
        return match and match.groupdict("")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawSet:
    """A set as it is distributed.

    Attributes:
      name: Name on the command line and in the source "tfds:NAME".
      kind: "pairs" of two files each, "halves" of one file each, or "photos".
      tree: Expected layout of the folder, as text.
      patterns: Rules for rainy files, of which the first match is used; empty for the
        user's own folders.
      lists: Names of the set's own text files by split. Each line has a rainy and a clean
        path, relative to the text file. If such a file exists, it replaces the patterns.
      counts: Published number of examples of each split.
      paper: Paper that published it.
      terms: Terms of its licence, as far as they are stated.
      home: Site or repository that distributes it.
      note: Uncertainties.
      rainy_half: Rainy half, "left" or "right".
      views: Splits that are parts of another, by name: that split, and the first and the
        last number of their scenes.
    """

    name: str
    kind: str = "pairs"
    tree: str
    patterns: Sequence[Pattern] = ()
    lists: Mapping[str, str] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    paper: str = ""
    terms: str = "none stated"
    home: str = ""
    note: str = ""
    rainy_half: str | None = None
    views: Mapping[str, tuple[str, int, int]] = dataclasses.field(default_factory=dict)

    def find(self, root: pathlib.Path) -> Found:
        """Finds the examples in a folder.

        Raises:
          ValueError: If there is no such folder, it has no example, it has the user's
            pairs in two layouts, or photographs are expected and it has pairs.
        """
        if not root.is_dir():
            raise ValueError(
                f"There is no folder {root}; check the path, which is relative to "
                f"{pathlib.Path.cwd()}."
            )
        files = [
            pathlib.Path(path).relative_to(root).as_posix()
            for path in image_folders.walk(root)
        ]
        paths, others = image_folders.split(files)
        splits, faults = (
            self._match(paths) if self.patterns else self._find_own(root, paths)
        )
        for split, name in self.lists.items():
            for file in sorted(root.rglob(name)):
                if examples := _read_list(root, file, faults):
                    splits[split] = examples
        used = {
            path
            for found in splits.values()
            for example in found
            for path in example.files
        }
        unused = [
            (path, faults.pop(path, _NO_PART)) for path in paths if path not in used
        ]
        unused += [(line, why) for line, why in faults.items() if line not in used]
        if not splits:
            named = [f"{path} {why}" for path, why in unused] + others
            shown = suggestions.name_some(named, "\n  ") or "no files"
            raise ValueError(
                f"{root} lacks the folders of {self.name}. Expected:\n{self.tree}\n"
                f"Found:\n  {shown}"
            )
        return Found(splits, unused, others)

    def _match(self, paths: Sequence[str]) -> tuple[Splits, dict[str, str]]:
        """Returns the examples of each split, and faults by path."""
        by_stem = {os.path.splitext(p)[0].lower(): p for p in reversed(paths)}
        splits: dict[str, dict[str, RawExample]] = {split: {} for split in self.counts}
        faults: dict[str, str] = {}
        for path in paths:
            for pattern in self.patterns:
                if (groups := pattern.match(os.path.splitext(path)[0])) is None:
                    continue
                wanted = [template.format(**groups) for template in pattern.clean]
                stems = [stem.lower() for stem in wanted]
                clean = [by_stem[stem] for stem in stems if stem in by_stem][:1]
                if wanted and not clean:
                    faults[path] = f"lacks its clean image, {' or '.join(wanted)}"
                    continue
                name, scene = (
                    text.format(**groups).lower()
                    for text in (pattern.name, pattern.scene)
                )
                example = RawExample(name, scene, (path, *clean))
                split = pattern.split or self._split_of(path)
                if split not in splits:
                    faults[path] = (
                        f"is in a folder of the split {split}, which this set lacks"
                    )
                elif splits[split].setdefault(name, example) != example:
                    faults[path] = f"is a second file for {name}"
                break
        return {s: list(named.values()) for s, named in splits.items() if named}, faults

    def _split_of(self, path: str) -> str:
        """Returns the split that the innermost folder with a word for a split names.

        This set may lack it. Without such a folder, or if no split of this set is named by
        such a word, it is the last split.
        """
        *_, last = self.counts
        if not any(re.match(_SPLIT_WORDS, split) for split in self.counts):
            return last
        for folder in reversed(path.split("/")[:-1]):
            if match := re.search(_SPLIT_WORDS, folder, re.IGNORECASE):
                word = match[0].lower()
                named = [split for split in self.counts if split.startswith(word)]
                return named[0] if named else {"val": "test"}.get(word, word)
        return last

    def _find_own(
        self, root: pathlib.Path, paths: Sequence[str]
    ) -> tuple[Splits, dict[str, str]]:
        """As `_match`, for the user's folder, or its subfolders named after splits."""
        is_pairs = self.kind == "pairs"
        if not is_pairs and (mixed := image_folders.find_pair_folders(paths)):
            named = suggestions.name_some([str(root / folder) for folder in mixed])
            raise ValueError(
                f"{root} mixes rainy and clean images, since there are pairs in {named}. "
                "Prepare the set pairs, or name one side, such as the clean one."
            )
        # Sorted, so that a name in lowercase comes last and wins.
        own = {
            p.name.lower(): f"{p.name}/" for p in sorted(root.iterdir()) if p.is_dir()
        }
        folders = {split: own[split] for split in SPLIT_FOLDERS if split in own}
        if not folders or (is_pairs and image_folders.find_pair_layout(root)):
            folders = {"train": ""}
        splits: Splits = {}
        faults: dict[str, str] = {}
        for split, folder in folders.items():
            found: dict[str, tuple[str, ...]] = {}
            if not is_pairs:
                found = {
                    path.removeprefix(folder): (path,)
                    for path in paths
                    if path.startswith(folder)
                }
            elif layout := image_folders.find_pair_layout(root / folder):
                sides = [
                    (side, [path for path in paths if path.startswith(f"{side}/")])
                    for side in (f"{folder}{name}" for name in layout)
                ]
                matched, lone = image_folders.match_stems(*sides)
                found |= matched
                faults |= lone
            if found:
                splits[split] = [RawExample(n, n, files) for n, files in found.items()]
        return splits, faults


def _read_list(
    root: pathlib.Path, file: pathlib.Path, faults: dict[str, str]
) -> list[RawExample]:
    """Returns the pairs of a list; adds lines without two paths to the faults."""
    folder = file.parent.relative_to(root).as_posix()
    examples = {}
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        # Lines begin with ./ or /; both mean the folder of the list.
        columns = [path.removeprefix(".").lstrip("/") for path in line.split()]
        if len(columns) == 2:
            rainy, clean = (os.path.normpath(f"{folder}/{path}") for path in columns)
            name = os.path.splitext(columns[0])[0]
            # For example, real_world/000/000-1/000-1_0_0 is a crop of the video 000.
            video = name.split("/")[1] if name.count("/") == 3 else name
            examples[name] = RawExample(name, video, (rainy, clean))
        elif columns:
            where = f"{folder}/{file.name}, line {number}"
            faults[where] = f"holds {len(columns)} paths, not two"
    return list(examples.values())
