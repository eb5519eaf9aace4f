"""The sources folder:PATH and list:FILE: image files, checked when they are opened."""

import functools
import os
import pathlib
from collections.abc import Sequence

from ttl_jax import suggestions, user_paths
from ttl_jax.data.files import decoding, image_folders, images
from ttl_jax.data.sources import pair_cues
from ttl_jax.data.sources.photographs import ROLES, NoPairsError, Pair, Photograph
from ttl_jax.data.sources.source import Source


class Folder(Source):
    """All images below a folder, or the pairs of two subfolders."""

    def __init__(self, name, path, parse):
        del parse
        super().__init__(name)
        self._folder = user_paths.expand(path)
        self.absolute = f"folder:{self._folder.absolute()}"
        self.root = f"{decoding.printable(self._folder)}/"

    def photographs(self, role: str) -> list[Photograph]:
        layout = self._find_layout()
        side = layout[ROLES.index(role)] if layout else ""
        found = self._find(os.path.join(self._folder, side))
        if not layout and (mixed := image_folders.find_pair_folders(found)):
            raise ValueError(
                f"{self.name!r} mixes rainy and clean images, since there are pairs in "
                f"{suggestions.name_some(mixed)}. Name one of these, such as "
                f"folder:{mixed[0]}, or name the images in a list:FILE."
            )
        return open_files(found)

    def pairs(self) -> list[Pair]:
        """Opens the pairs of the subfolders; partners have the same relative path."""
        if (layout := self._find_layout()) is None:
            layouts = [f"{r}/ and {c}/" for r, c in image_folders.PAIR_LAYOUTS]
            raise NoPairsError(
                f"{self.name!r} holds no pairs: they are expected in its subfolders "
                f"{' or '.join(layouts)}. Rename them so, or use a list:FILE."
            )
        folders = [os.path.join(self._folder, side) for side in layout]
        pairs, faults = image_folders.match_stems(
            *((f, self._find(f)) for f in folders)
        )
        if faults:
            named = [f"{path} {reason}" for path, reason in sorted(faults.items())]
            raise ValueError(
                f"{self.name!r}: {suggestions.name_some(named, '; ')}. Partners have the same "
                "path without the suffix; add them, or remove files without a partner."
            )
        return _open_file_pairs(list(pairs.values()))

    def _find_layout(self) -> tuple[str, str] | None:
        if not os.path.isdir(self._folder):  # False, too, if a name is too long
            raise ValueError(
                f"{self.name!r}: there is no folder {self._folder}; check the path, "
                f"which is relative to {pathlib.Path.cwd()}."
            )
        return image_folders.find_pair_layout(self._folder)

    def _find(self, folder: str) -> list[str]:
        found, others = image_folders.split(image_folders.walk(folder))
        if not found:
            raise ValueError(
                f"{self.name!r}: {folder.removesuffix('/')} holds no images; their names "
                f"are expected to end in {', '.join(decoding.SUFFIXES)}."
            )
        for line in image_folders.describe_others(others):
            decoding.warn_once(f"{self.name}: {line}")
        return found


class List(Source):
    """The images that a text file names, line by line."""

    def __init__(self, name, path, parse):
        del parse
        super().__init__(name)
        self._file = user_paths.expand(path)
        self.absolute = f"list:{self._file.absolute()}"
        folder = str(self._file.parent)
        self.root = "" if folder == "." else f"{decoding.printable(folder)}/"

    def photographs(self, role: str) -> list[Photograph]:
        lines = self._read()
        column = ROLES.index(role) if len(lines[0]) == 2 else 0
        # Several rainy photographs may share a clean one, which is listed once.
        paths = [line[column] for line in lines]
        return open_files(list(dict.fromkeys(paths)) if role == "clean" else paths)

    def pairs(self) -> list[Pair]:
        lines = self._read()
        if len(lines[0]) != 2:
            raise NoPairsError(
                f"{self.name!r} has one column; pairs need two, rainy and clean, "
                "with a TAB between them."
            )
        return _open_file_pairs(lines)

    def _read(self) -> list[list[str]]:
        """Returns the paths of each line; every line has one, or every line has two."""
        lines: list[list[str]] = []
        numbered = user_paths.read_text_lines(self._file, f"{self.name!r} is")
        for number, line in numbered:
            columns = [column.strip() for column in line.split("\t")]
            expected = {len(lines[0])} if lines else {1, 2}
            if len(columns) not in expected or "" in columns:
                raise ValueError(
                    f"{self.name!r}, line {number}: {line!r} has {len(columns)} columns, "
                    f"or an empty one; expected {' or '.join(map(str, sorted(expected)))}, "
                    "with TABs between."
                )
            lines.append(
                [str(self._file.parent / user_paths.expand(path)) for path in columns]
            )
        if not lines:
            raise ValueError(f"{self.name!r} names no images; expected one per line.")
        return lines


def open_files(paths: Sequence[str]) -> list[Photograph]:
    """Returns the photographs in files; raises ValueError as `images.check`."""
    return [
        Photograph(
            decoding.printable(path),
            facts.width,
            facts.height,
            facts.num_bytes,
            functools.partial(images.load, path),
        )
        for path, facts in zip(paths, images.check(paths), strict=True)
    ]


def _open_file_pairs(paths: Sequence[Sequence[str]]) -> list[Pair]:
    opened = open_files([path for pair in paths for path in pair])
    pairs = [Pair(*sides) for sides in zip(opened[0::2], opened[1::2], strict=True)]
    check_sizes(pairs)
    pair_cues.check(pairs)
    return pairs


def check_sizes(pairs: Sequence[Pair]) -> None:
    """Raises ValueError if the sides of a pair differ in size."""
    unequal = [
        f"{rainy.name} is {rainy.width}x{rainy.height}, "
        f"{clean.name} {clean.width}x{clean.height}"
        for rainy, clean in (pair.sides for pair in pairs)
        if (rainy.width, rainy.height) != (clean.width, clean.height)
    ]
    if unequal:
        raise ValueError(
            f"The sides of {len(unequal)} of {len(pairs)} pairs differ in size: "
            f"{suggestions.name_some(unequal, '; ')}. Crop the larger side, or remove them."
        )
