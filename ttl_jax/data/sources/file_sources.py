"""The sources folder:PATH and list:FILE: image files, checked when they are opened."""

import functools
import os
import pathlib
from collections.abc import Sequence

from ttl_jax import user_paths
from ttl_jax.data.files import decoding, image_folders, images
from ttl_jax.data.sources.photographs import ROLES, NoPairsError, Pair, Photograph


class Folder:
    """All images below a folder, or the pairs of two subfolders."""

    def __init__(self, source: str, root: pathlib.Path):
        if not root.is_dir():
            raise ValueError(
                f"{source!r}: there is no folder {root}; check the path, which is "
                f"relative to {pathlib.Path.cwd()}."
            )
        self._source, self._root = source, root
        self._layout = image_folders.find_pair_layout(root)

    def photographs(self, role: str) -> list[Photograph]:
        """As `sources.open_photographs`, of this source alone."""
        if self._layout is None:
            return _open_files(self._find(self._root))
        return _open_files(self._find(self._root / self._layout[ROLES.index(role)]))

    def pairs(self) -> list[Pair]:
        """As `sources.open_pairs`, of this source alone."""
        if self._layout is None:
            layouts = " or ".join(
                "/ and ".join(names) for names in image_folders.PAIR_LAYOUTS
            )
            raise NoPairsError(
                f"{self._source!r} holds no pairs: they are expected in its "
                f"subfolders {layouts}/. Rename them so, or use a list:FILE."
            )
        rainy, clean = (
            self._by_stem(self._root / subfolder) for subfolder in self._layout
        )
        for subfolder, alone in zip(
            reversed(self._layout),
            (rainy.keys() - clean.keys(), clean.keys() - rainy.keys()),
            strict=True,
        ):
            if alone:
                raise ValueError(
                    f"{self._source!r}: {subfolder}/ lacks the partners of "
                    f"{images.name_some(sorted(alone))}; partners have the same path "
                    "but for the suffix. Add them or remove those without."
                )
        return _open_file_pairs([(rainy[stem], clean[stem]) for stem in rainy])

    def _by_stem(self, side: pathlib.Path) -> dict[str, str]:
        """Files of one side by their path within it, less the suffix."""
        by_stem: dict[str, str] = {}
        for path in self._find(side):
            stem = os.path.splitext(os.path.relpath(path, side))[0]
            if stem in by_stem:
                raise ValueError(
                    f"{self._source!r}: {by_stem[stem]} and {path} differ in their "
                    "suffix only, so which is one of the pair? Remove or rename one."
                )
            by_stem[stem] = path
        return by_stem

    def _find(self, root: pathlib.Path) -> list[str]:
        """Paths of all images below a folder, in the order of their relative paths."""
        found = [
            path for path in image_folders.walk(root) if image_folders.is_image(path)
        ]
        if not found:
            raise ValueError(
                f"{self._source!r}: {root} holds no images; their names are expected "
                f"to end in {', '.join(images.SUFFIXES)}."
            )
        return found


class List:
    """The images that a text file names, line by line."""

    def __init__(self, source: str, file: pathlib.Path):
        self._source = source
        lines = user_paths.read_text_lines(file, f"{source!r} is")
        self._lines = [
            [str(file.parent / user_paths.expand(path)) for path in columns]
            for columns in self._split(lines)
        ]

    def photographs(self, role: str) -> list[Photograph]:
        """As `sources.open_photographs`, of this source alone."""
        column = ROLES.index(role) if len(self._lines[0]) == 2 else 0
        # Several rainy photographs may share a clean one, which still counts once.
        paths = [line[column] for line in self._lines]
        if role == "clean":
            paths = list(dict.fromkeys(paths))
        return _open_files(paths)

    def pairs(self) -> list[Pair]:
        """As `sources.open_pairs`, of this source alone."""
        if len(self._lines[0]) != 2:
            raise NoPairsError(
                f"{self._source!r} has one column; pairs need two, rainy and clean, "
                "with a TAB between them."
            )
        return _open_file_pairs([tuple(line) for line in self._lines])

    def _split(self, numbered: list[tuple[int, str]]) -> list[list[str]]:
        lines = []
        for number, line in numbered:
            columns = [column.strip() for column in line.split("\t")]
            expected = {len(lines[0])} if lines else {1, 2}
            if len(columns) not in expected or "" in columns:
                raise ValueError(
                    f"{self._source!r}, line {number}: {line!r} has {len(columns)} "
                    f"columns, or an empty one; expected are "
                    f"{' or '.join(map(str, sorted(expected)))}, with TABs between."
                )
            lines.append(columns)
        if not lines:
            raise ValueError(f"{self._source!r} names no images; one per line, please.")
        return lines


def _open_files(paths: Sequence[str]) -> list[Photograph]:
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


def _open_file_pairs(paths: Sequence[tuple[str, str]]) -> list[Pair]:
    opened = _open_files([path for pair in paths for path in pair])
    pairs = [Pair(*sides) for sides in zip(opened[0::2], opened[1::2], strict=True)]
    unequal = [
        f"{rainy.name} is {rainy.width}x{rainy.height}, "
        f"{clean.name} {clean.width}x{clean.height}"
        for rainy, clean in ((pair.rainy, pair.clean) for pair in pairs)
        if (rainy.width, rainy.height) != (clean.width, clean.height)
    ]
    if unequal:
        raise ValueError(
            f"{len(unequal)} of {len(pairs)} pairs are not of one size: "
            f"{images.name_some(unequal, '; ')}. Crop the larger side, or remove them."
        )
    return pairs
